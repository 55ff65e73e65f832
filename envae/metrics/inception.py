"""pytorch-fid's Inception network: the one extractor that makes a Fréchet distance an FID.

Its weights are not part of any package: pytorch-fid downloads them into torch hub's cache, and
that is where they are looked for.
"""

import hashlib
from pathlib import Path
from unittest.mock import patch

import torch
from torch import Tensor, nn

from envae import _torchvision as _torchvision  # before pytorch_fid, which imports torchvision
from envae._unknown import extra
from envae.evaluation import single_precision
from envae.objectives.base import check_count, check_images
from envae.scores import check_floats

with extra("book"):
    from pytorch_fid import inception as pytorch_fid

FEATURES = 2048
_SHA256 = pytorch_fid.FID_WEIGHTS_URL.rpartition("-")[2].removesuffix(".pth")  # its beginning
_BATCH_SIZE = 64


class Inception(nn.Module):
    """Features and class probabilities by pytorch-fid's network.

    Images are rounded to 8 bits first, as the image files are that pytorch-fid reads, and grey
    ones are repeated in three channels.

    Parameters
    ----------
    weights
        State of pytorch-fid's network, with its last layer `fc`.
    sha256
        Of the file that held them, in hexadecimal digits; tells whether they are pytorch-fid's.
    """

    classes: Tensor

    @single_precision()
    def __init__(self, weights: dict[str, Tensor], sha256: str):
        super().__init__()
        self.measures_fid = sha256.startswith(_SHA256)
        self.name = "inception" if self.measures_fid else f"inception with weights {sha256[:8]}"
        # pytorch-fid's network takes weights from its URL alone.
        with patch.object(pytorch_fid, "load_state_dict_from_url", lambda *_, **__: weights):
            self.body = pytorch_fid.InceptionV3()
        # Without the bias, as in the code that defined the Inception Score.
        self.register_buffer("classes", weights["fc.weight"])
        self.eval()

    def features(self, images: Tensor) -> Tensor:
        """Features `(N, 2048)`, float32, on the CPU, of images `(N, 1 or 3, H, W)` in [0, 1].

        Raises
        ------
        ValueError
            If the images have another shape, or are no floats in [0, 1].
        """
        if images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                f"Inception takes images (N, 1 or 3, H, W), received {tuple(images.shape)}"
            )
        check_images(images=images)
        with torch.no_grad():
            return torch.cat([self._features(batch) for batch in images.split(_BATCH_SIZE)])

    def _features(self, images: Tensor) -> Tensor:
        as_stored = (255 * images.to(self.classes)).round() / 255
        return self.body(as_stored.expand(-1, 3, -1, -1))[0].flatten(1).cpu()

    def probabilities(self, images: Tensor) -> Tensor:
        """Probabilities `(N, 1008)` of Inception's classes, for the Inception Score."""
        return (self.features(images) @ self.classes.cpu().T).softmax(1)


def load(path: str | Path | None = None) -> Inception:
    """The network with its weights, on the accelerator if there is one.

    Parameters
    ----------
    path
        File of weights; by default where pytorch-fid has them, in torch hub's cache. Other
        weights than pytorch-fid's are taken, but what they measure is not called FID.

    Raises
    ------
    FileNotFoundError
        If there is no such file; says how to get it.
    ValueError
        If the file does not hold weights of this network.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / pytorch_fid.FID_WEIGHTS_URL.split("/")[-1]
    file = cached if path is None else Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"no Inception weights at {file}, so FID cannot be measured: "
            f"curl -L --create-dirs -o {cached} {pytorch_fid.FID_WEIGHTS_URL} (91 MB)"
        )
    try:
        network = Inception(
            torch.load(file, map_location="cpu", weights_only=True),
            hashlib.sha256(file.read_bytes()).hexdigest(),
        )
    except Exception as error:  # torch.load and load_state_dict raise half a dozen kinds
        raise ValueError(
            f"{file} does not hold weights of pytorch-fid's Inception network: {error}"
        ) from error
    return network.to("cuda" if torch.cuda.is_available() else "cpu")


def inception_score(probabilities: Tensor, *, splits: int = 10) -> tuple[float, float]:
    """Inception Score (Salimans et al., 2016): mean and standard deviation over parts.

    .. math:: \\exp E_x KL(p(y|x) \\| p(y))

    Parameters
    ----------
    probabilities
        p(y|x) of each image, `(N, classes)`.
    splits
        Number of parts the images are dealt into, in their order.

    Raises
    ------
    ValueError
        If splits is no integer from 1 up, there are fewer images than parts, or a row is no
        distribution over classes.
    """
    check_count(splits=splits)
    check_floats(probabilities=probabilities)
    if len(probabilities) < splits:
        raise ValueError(
            f"needs at least one image in each split, received {splits} splits of "
            f"{len(probabilities)} images"
        )
    probabilities = probabilities.double()
    sums = probabilities.sum(1)
    bad = ~((probabilities >= 0).all(1) & ((sums - 1).abs() < 1e-3))  # also what is not a number
    if bad.any():
        row = int(bad.nonzero()[0])
        raise ValueError(
            "each row must hold probabilities of classes, not negative and adding up to 1, as "
            f"softmax(1) of logits does; row {row} has {probabilities[row].min().item():.3g} to "
            f"{probabilities[row].max().item():.3g} and adds up to {sums[row].item():.5g}"
        )
    scores = torch.stack([_score(part) for part in probabilities.tensor_split(splits)])
    return scores.mean().item(), scores.std(correction=0).item()


def _score(conditional: Tensor) -> Tensor:
    marginal = conditional.mean(0)
    divergence = torch.xlogy(conditional, conditional) - torch.xlogy(conditional, marginal)
    return divergence.sum(1).mean().exp()
