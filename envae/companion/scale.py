"""The scale of a replication: what was trained here, and what the paper trained.

A measurement on small images says what was found there. The line that a :class:`Scale` makes
stands beside its verdict everywhere, so that nobody takes it for more.
"""

import dataclasses
from typing import TYPE_CHECKING

from envae._unknown import unknown

if TYPE_CHECKING:
    from envae.datasets import Dataset


@dataclasses.dataclass(frozen=True)
class Published:
    """How a paper trained.

    Parameters
    ----------
    data
        Its data sets, in words.
    images
        Training images of the smallest of them.
    epochs
        Passes over these; None where the paper gives no length of training.
    smallest
        Which of its data sets is the smallest, where there are several.
    """

    data: str
    images: int
    epochs: int | None = None
    smallest: str = ""


# Training images: the standard splits, for the papers give none.
PUBLISHED = {
    "takida2022 Sec. 4.2": Published("MNIST", 60_000, 200),  # App. D.1
    "takida2022 Sec. 5.3": Published("MNIST", 60_000),
    "takida2022 Sec. 6": Published("MNIST and CelebA", 60_000, 100, "MNIST"),  # App. I
    "xu2025": Published("CelebA, CIFAR-10 and LSUN Church", 50_000, None, "CIFAR-10"),
}


@dataclasses.dataclass(frozen=True)
class Scale:
    """What a measurement was tried on; as text, one line.

    >>> print(Scale("digits", "8 x 8", "mlp", 1297, 50, 3, PUBLISHED["takida2022 Sec. 4.2"]))
    digits 8 x 8, mlp, 64,850 images seen, 0.54 % of the paper's (MNIST), 3 seeds

    Parameters
    ----------
    data
        Name of the data set.
    pixels
        Size of its images, such as `28 x 28`.
    network
        Name of the network.
    images
        Training images.
    epochs
        Passes over them: the longest run's. None where single steps were timed and nothing was
        trained: images and seeds then say nothing.
    seeds
        Runs of each row.
    paper
        What the paper trained; None for a claim of the book's own, which has no paper's run.
    """

    data: str
    pixels: str
    network: str
    images: int
    epochs: int | None
    seeds: int
    paper: Published | None

    def __post_init__(self) -> None:
        counts = {"images": self.images, "epochs": self.epochs or 0, "seeds": self.seeds}
        wrong = {name: count for name, count in counts.items() if not count >= 0}
        if wrong or not isinstance(self.paper, Published | None):
            raise ValueError(f"a scale has counts and a Published or None, received {self!r}")

    @classmethod
    def of(
        cls, data: "Dataset", network: str, *, epochs: int | None, seeds: int, paper: str | None
    ) -> "Scale":
        """The scale of runs on a data set.

        Parameters
        ----------
        data
            Data set with its training images, `(N, C, H, W)`.
        network, epochs, seeds
            As above.
        paper
            Key of `PUBLISHED`, or None.

        Raises
        ------
        ValueError
            If it is no such key.
        """
        pixels = " x ".join(str(side) for side in data.train.shape[-2:])
        if paper is not None and paper not in PUBLISHED:
            raise ValueError(unknown("paper", paper, PUBLISHED))
        published = None if paper is None else PUBLISHED[paper]
        return cls(data.name, pixels, network, len(data.train), epochs, seeds, published)

    def on_mnist(self, images: int, *, epochs: int, seeds: int) -> "Scale":
        """The same network and paper on so many images of MNIST, which need not be here."""
        return dataclasses.replace(
            self,
            data=f"mnist-{images}",
            pixels="28 x 28",
            images=images,
            epochs=epochs,
            seeds=seeds,
        )

    @property
    def seen(self) -> int:
        """Images seen in training: training images times epochs."""
        return self.images * (self.epochs or 0)

    @property
    def share(self) -> str | None:
        """Images seen over those of the paper's training, in percent; None where it gives none."""
        if self.paper is None or self.paper.epochs is None or self.epochs is None:
            return None
        return _percent(self.seen / (self.paper.images * self.paper.epochs))

    def __str__(self) -> str:
        parts = [f"{self.data} {self.pixels}", self.network]
        trained = self.epochs is not None
        parts.append(f"{self.seen:,} images seen" if trained else "single steps, no training")
        if self.paper is not None:
            parts.append(self._beside(self.paper))
        if trained:
            parts.append(f"{self.seeds} seed{'s' if self.seeds > 1 else ''}")
        return ", ".join(parts)

    def _beside(self, paper: Published) -> str:
        if self.epochs is None:
            return f"the paper's data: {paper.data}"
        if self.share is not None:
            where = (
                f"on {paper.smallest} (of {paper.data})" if paper.smallest else f"({paper.data})"
            )
            return f"{self.share} of the paper's {where}"
        share = _percent(self.images / paper.images)
        whose = f"{paper.smallest}'s" if paper.smallest else "its"
        return (
            f"the paper ({paper.data}) gives no training length, {share} of {whose} training images"
        )


def _percent(share: float) -> str:
    """Two significant digits; all of a percentage from 100 on."""
    percent = 100 * share
    return f"{percent:.0f} %" if percent > 99 else f"{percent:.2g} %"
