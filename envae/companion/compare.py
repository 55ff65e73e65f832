"""Which loss for these images? A handful of objectives on a folder of anybody's images: one page.

Behind the command `envae compare FOLDER`. It executes the notebook `compare.ipynb` beside this
file, which trains and measures by :class:`Comparison`; :func:`page` makes one HTML file of it. Runs
are recorded as those of the book are, so that a second call goes on where the first one stopped.
"""

import dataclasses
import html
import json
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from envae import datasets
from envae._files import whole
from envae._unknown import extra
from envae.companion import differences
from envae.datasets import Dataset
from envae.experiments import kept_pictures, records
from envae.experiments.paper_rows import ALL_ROWS, Experiment
from envae.experiments.parallel import side_by_side
from envae.experiments.runs import Setting
from envae.metrics import frechet, random_convolutions
from envae.metrics.random_convolutions import RandomConvolutions
from envae.objectives.base import check_count, check_positive

NOTEBOOK = Path(__file__).with_suffix(".ipynb")
# Rows of `paper_rows` and what the page calls them.
COMPARED = {
    "L2": "L2",
    "EnVAE, M = 4, mirrored": "EnVAE (4 mirrored)",
    "Iso-I, mle": "Iso-I",
    "AE": "AE + mixture",
    "EnVAE, M = 2": "EnVAE (2 draws)",
    "SSIM": "SSIM",
}
SEEDS = (1, 2, 3)
TRIED = 3  # values of each row's free number
_LEAST_EPOCHS = 20  # below, images are left out
_FEWEST_TRAINED = 1000  # images that are kept where time is short
_MOST_EPOCHS, _MOST_STEPS = 300, 10_000  # no more than the larger of these
_SAMPLES = 2000  # images drawn for a distance, at most
_SHARE = 0.7  # of the time that training is granted; the rest is for measuring and the page
_NEARLY = 0.9  # the same once it is known what a row takes beside training
_TOO_LONG = 1.2  # times the time that is left: rows would be lost, and the plan is made anew
_FEWEST_EPOCHS = 5  # with fewer for all: better some rows now, others in the next call
_LITTLE = 0.5  # recall: samples are far from half of the test images
# A search measures distances on a fifth of the training images, which a fifth of all may leave.
_FEWEST_TO_TRAIN = 5 * (random_convolutions.FEWEST + 1)
_FEWEST_IMAGES = 156


def load(folder: str | Path, size: int = 32) -> Dataset:
    """Images of a folder as `datasets.load("imagefolder")` gives them, with enough for a test.

    Images without colour have one channel. Where the test images are too few for a distance, a
    fifth of all images takes their place.

    Raises
    ------
    ValueError, FileNotFoundError
        As `datasets.load`; and if there are too few images in all, they would be too small, or
        are all alike.
    """
    check_count(random_convolutions.SMALLEST, size=size)
    dataset = datasets.load("imagefolder", root=str(folder), size=size)
    if all((part == part[:, :1]).all() for part in (dataset.train, dataset.test)):
        grey = {name: getattr(dataset, name)[:, :1].contiguous() for name in ("train", "test")}
        dataset = dataclasses.replace(dataset, name=f"{dataset.name}-grey", **grey)
    if len(dataset.test) <= random_convolutions.FEATURES:
        images = torch.cat([dataset.train, dataset.test])
        labels = torch.cat([dataset.train_labels, dataset.test_labels])
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        test, train = order.split([len(images) // 5, len(images) - len(images) // 5])
        dataset = dataclasses.replace(
            dataset,
            name=f"{dataset.name}-fifth",
            train=images[train], train_labels=labels[train],
            test=images[test], test_labels=labels[test],
        )  # fmt: skip
    if len(dataset.train) < _FEWEST_TO_TRAIN:
        raise ValueError(
            f"{folder} has {len(dataset.train) + len(dataset.test)} images, {len(dataset.train)} "
            f"of them to train on: a comparison needs {_FEWEST_IMAGES} or more, and "
            f"{_FEWEST_TO_TRAIN} to train on"
        )
    if (dataset.train == dataset.train[:1]).all():
        raise ValueError(f"{folder} has {len(dataset.train)} training images that are all alike")
    return dataset


class Comparison:
    """Objectives on a folder of images: equal networks, epochs, and tries of their one free number.

    Parameters
    ----------
    folder, size
        As :func:`load` takes them.
    minutes
        What the training and measuring may take. It decides the epochs, and where these would be
        few, how many of the images are trained on, by a few steps of every row; and again after
        the first row, which is then trained anew, where the machine turned out to be slower. The
        plan is kept beside the records: a second call with as many minutes goes on with it.
    rows
        Keys of `COMPARED`.

    Raises
    ------
    ValueError
        If a number is out of range, or there are too few images.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        minutes: float = 10.0,
        size: int = 32,
        rows: tuple[str, ...] = tuple(COMPARED),
    ):
        check_positive(minutes=minutes)
        self.rows = rows
        self._seconds = 60 * minutes
        self._begun = time.monotonic()
        # Of the rows so far: training over what the plan has for it, and seconds beside training.
        self._pace, self._beside = 0.0, 0.0
        dataset = load(folder, size)
        self.place = dataset.place
        self.found = len(dataset.train), len(dataset.test)
        order = torch.randperm(len(dataset.test), generator=torch.Generator().manual_seed(0))
        dataset = dataclasses.replace(  # a folder's are sorted, and the first ones are measured
            dataset, test=dataset.test[order], test_labels=dataset.test_labels[order]
        )
        self._dataset = dataset
        self._file = records.folder() / f"plan-{dataset.name}-{minutes:g}.json"
        if self._file.is_file():
            self._follow(json.loads(self._file.read_text(encoding="utf-8")))
        else:
            self._keep(self._planned())

    def _keep(self, plan: dict[str, Any]) -> None:
        with whole(self._file) as partial:
            partial.write_text(json.dumps(plan), encoding="utf-8")
        self._follow(plan)

    def _follow(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self.experiment = self._experiment(plan["network"], plan["epochs"], plan["images"])

    def _experiment(self, network: str, epochs: int, images: int) -> Experiment:
        dataset = self._dataset
        if images < len(dataset.train):
            dataset = dataset.subset(images)
        fewest = min(len(dataset.train) // 5, len(dataset.test))
        return Experiment(
            dataset,
            Setting(
                network,
                latent_dim=16 if dataset.image_shape[0] == 1 else 32,
                epochs=epochs,
                batch_size=_batch_size(len(dataset.train)),
            ),
            RandomConvolutions(dataset.train, few=fewest <= random_convolutions.FEATURES),
            samples=min(len(dataset.train), _SAMPLES),
            seeds=SEEDS,
            prefix="compare",
            second_stage=(),
            likelihood_draws=0,
            draw=kept_pictures.draw,
            tried=TRIED,
            more=0,
            random_space=False,
        )

    def _planned(self) -> dict[str, Any]:
        """Network, epochs and images that the time allows, by a few steps of every row.

        With them, for each row, the seconds of a step, and those that an epoch on all images takes
        of its search and its runs. On a CPU a network whose models are trained as one stack.
        """
        network = "conv" if torch.cuda.is_available() else "mlp"
        short = self._experiment(network, 1, len(self._dataset.train))
        processes = joblib.effective_n_jobs(-1)
        steps = sum(
            -(-runs // processes) * short.steps(searched=searched)
            for runs, searched in ((TRIED, True), (len(SEEDS), False))
        )
        # As many at once as there will be: they share caches and memory.
        measured = side_by_side(
            joblib.delayed(short.step_seconds)(label)
            for label in self.rows
            for _ in range(processes)
        )
        step = {
            label: float(np.mean(measured[place * processes :][:processes]))
            for place, label in enumerate(self.rows)
        }
        seconds = {label: steps * value for label, value in step.items()}
        length = self._length(sum(seconds.values()), _SHARE * (self._seconds - self._passed()))
        return {"network": network, "step": step, "seconds": seconds} | length

    def _length(self, seconds: float, left: float) -> dict[str, int]:
        """Epochs and images for the time that is left, if an epoch on all takes so many seconds."""
        everything = len(self._dataset.train)
        epochs = max(left, 0) / seconds
        images = min(everything, max(_FEWEST_TRAINED, int(everything * epochs / _LEAST_EPOCHS)))
        epochs *= everything / images
        most = max(_MOST_EPOCHS, _MOST_STEPS // -(-images // _batch_size(images)))
        return {"epochs": max(1, min(int(epochs), most)), "images": images}

    def _passed(self) -> float:
        return time.monotonic() - self._begun

    def __str__(self) -> str:
        experiment, setting = self.experiment, self.experiment.setting
        shape = " x ".join(map(str, experiment.dataset.image_shape))
        return (
            f"{self.found[0]} training and {self.found[1]} test images of {shape}; "
            f"{len(experiment.dataset.train)} trained on, {_counted(setting.epochs)}, network "
            f"{setting.network} with a code of {setting.latent_dim}; for each loss {TRIED} values "
            f"of its one free number, the best of them from {len(SEEDS)} seeds"
        )

    def train(self, label: str) -> str:
        """Run what a row lacks, and say what came of it.

        Nothing, where it would end after the time by what those before it took.
        """
        start = self._passed()
        new, first = self.experiment.due(label) is not None, self.runs().empty
        if new and start + self._expected(label) > self._seconds:
            return f"{COMPARED[label]}: left for the next call, the time is over"
        found = self.experiment.complete(label)
        if not found["done"].all():
            return f"{COMPARED[label]}: {found['error'].max() or 'not run'}"
        told = ""
        if new:
            curves = [records.curves(self.experiment.name, key)["seconds"] for key in found["key"]]
            steps = self.experiment.steps(searched=False) / self._plan["epochs"]
            pace = float(np.mean(np.concatenate(curves))) / (self._plan["step"][label] * steps)
            self._pace = max(self._pace, pace)
            training = self._pace * self._epochs() * self._plan["seconds"][label]
            self._beside = max(self._beside, self._passed() - start - training)
        if first and self._is_shortened():
            told = f" (slower than planned, and trained anew: {_counted(self._plan['epochs'])})"
            found = self.experiment.complete(label)
        values = ", ".join(f"{value:.2f}" for value in found[ALL_ROWS[label].judged_by])
        return f"{COMPARED[label]}: distances {values}{told}"

    def _epochs(self) -> float:
        """Epochs on as many images as there are."""
        epochs: float = self._plan["epochs"] * self._plan["images"] / len(self._dataset.train)
        return epochs

    def _expected(self, *labels: str) -> float:
        """Seconds of what rows lack, by the pace of those before them; 0 before any."""
        left = [label for label in labels if self.experiment.due(label) is not None]
        seconds = sum(self._plan["seconds"][label] for label in left)
        expected: float = self._pace * self._epochs() * seconds + self._beside * len(left)
        return expected

    def _is_shortened(self) -> bool:
        """Whether a new plan was made, since rows would be lost, and it has time to train."""
        left = self._seconds - self._passed()
        if self._expected(*self.rows) < _TOO_LONG * left:
            return False
        seconds = self._pace * sum(self._plan["seconds"].values())
        shorter = self._length(seconds, _NEARLY * left - self._beside * len(self.rows))
        if shorter["epochs"] < _FEWEST_EPOCHS:
            return False
        self._keep(self._plan | shorter)
        return True

    def runs(self) -> pd.DataFrame:
        """The reported runs that are done, in the column `label`; `distance` is the row's own."""
        found = self.experiment.all_runs(self.rows)
        done = found[found["state"] == "done"].copy()
        if done.empty:
            return done.assign(distance=[])
        done["distance"] = [
            row[ALL_ROWS[row["label"]].judged_by] for row in done.to_dict("records")
        ]
        return done

    def floors(self) -> dict[str, float]:
        """What samples may be measured by, in the same distance."""
        experiment = self.experiment
        data, network, count = experiment.dataset, experiment.extractor, experiment.samples
        if network is None or count is None:
            raise ValueError("no distances, no floors")
        mean = data.train.mean(0).expand(count, *data.image_shape)
        return {
            "as many test images drawn anew": frechet.floor(network, data.test, count),
            "the training images": frechet.fd(network, data.train, data.test),
            "the mean image alone": frechet.fd(network, mean, data.test),
        }

    def table(self) -> pd.DataFrame:
        """A row per loss, the smallest distance first: means over seeds, and their range."""
        runs = self.runs()
        parts = {}
        for label, found in runs.groupby("label"):
            drawn = "squared_error_draw" in found and found["squared_error_draw"].notna().all()
            parts[COMPARED[str(label)]] = {
                "distance of samples": found["distance"].mean(),
                "smallest": found["distance"].min(),
                "largest": found["distance"].max(),
                "from a mixture": found["fd_gmm10"].mean(),
                "recall": found["recall"].mean(),
                "squared error": found["squared_error"].mean(),
                "of a draw": found["squared_error_draw"].mean() if drawn else np.nan,
                "spread / error": self._calibration(found) if drawn else np.nan,
                "chosen": f"{ALL_ROWS[str(label)].free} {self.experiment.chosen(str(label)):g}"
                + ("" if self.experiment.inside(str(label)) else " (at an end)"),
                "minutes": found["seconds"].sum() / 60,
            }
        table = pd.DataFrame.from_dict(parts, orient="index")
        return table.sort_values("distance of samples") if len(table) else table

    def _calibration(self, runs: pd.DataFrame) -> float:
        """Root mean square of the spread over that of the error of the means, of kept pictures."""
        kept = self._kept(runs)
        return ((kept["spread"].square().mean() / _error(kept).square().mean()) ** 0.5).item()

    def _kept(self, runs: pd.DataFrame) -> dict[str, Tensor]:
        first = runs[runs["seed"] == SEEDS[0]]
        return kept_pictures.load(self.experiment.name, first["key"].iloc[0])

    def pictures(self) -> dict[str, dict[str, Tensor]]:
        """For each loss what `kept_pictures.load` gives, of the first seed, in the table's order.

        Samples are those of the row's own: of the prior, or of a mixture.
        """
        runs, order = self.runs(), list(self.table().index)
        found = {}
        for label, rows in runs.groupby("label"):
            kept = self._kept(rows)
            own = ALL_ROWS[str(label)].judged_by.removeprefix("fd_")
            found[COMPARED[str(label)]] = kept | {
                "samples": kept["prior" if own == "generated" else own],
                "error": _error(kept).mean(1, keepdim=True),
            }
        return dict(sorted(found.items(), key=lambda item: order.index(item[0])))

    def conclusion(self) -> str:
        """One paragraph of what the numbers allow to conclude, as Markdown."""
        runs = self.runs()
        by_label = {
            COMPARED[str(label)]: np.log(found["distance"].clip(lower=1e-9)).tolist()
            for label, found in runs.groupby("label")
            if len(found) > 1
        }
        left = [COMPARED[label] for label in self.rows if COMPARED[label] not in by_label]
        told = f"Not run yet, or from one seed: {'; '.join(left)}. " if left else ""
        if len(by_label) < 2:
            return f"{told}Too few losses are done to compare any."
        table, floors = self.table().loc[list(by_label)], self.floors()
        table = table.sort_values("distance of samples")
        best = str(table.index[0])
        found = differences.simultaneous(by_label)
        worse = [label for label in table.index[1:] if found[best, label].below]
        alike = [label for label in table.index[1:] if not found[best, label].below]
        sharpest = str(table["squared error"].idxmin())
        closest = table["distance of samples"].iloc[0]
        if closest > floors["the mean image alone"]:
            return told + (
                f"No loss has learned to draw these images: the closest samples, of {best}, have a "
                f"distance of {closest:.2f}, the mean image alone "
                f"{floors['the mean image alone']:.2f}. Give it more minutes, or more images."
            )
        if self._plan["epochs"] < _LEAST_EPOCHS:
            told += (
                f"**Only {_counted(self._plan['epochs'])} fit into the time**: with more minutes "
                "the order may be another. "
            )
        if (reached := table["recall"].max()) < _LITTLE:
            told += (
                f"**No loss draws most of what is in these images**: samples are near "
                f"{reached:.0%} of the test images at most. A longer training, or more images, may "
                "change the order. "
            )
        told += f"Samples of **{best}** came closest to the test images in the mean"
        if worse:
            told += f", closer than those of {_listed(worse)} beyond what seeds explain"
        told += f"; from {_listed(alike)} these runs do not tell it apart" if alike else ""
        given_back = floors["the training images"]
        told += (
            f". Its distance is {closest:.2f}; a model that gave the training images back would "
            f"have {given_back:.2f}, and differences of that size mean nothing. In the mean, "
            "reconstructions from posterior means have the least squared error with "
            f"{sharpest}, and samples from a mixture are closest with "
            f"{table['from a mixture'].idxmin()}. "
        )
        idle = table.index[table["distance of samples"] > floors["the mean image alone"]]
        if len(idle):
            told += f"Samples of {_listed(list(idle))} are further away than the mean image alone. "
        if any("at an end" in chosen for chosen in table["chosen"]):
            told += (
                "Where the chosen number stands at an end of those tried, the loss may do better "
                "with another. "
            )
        return told + (
            f"This holds for these images at this size, this network and "
            f"{_counted(self._plan['epochs'])}, with {len(SEEDS)} seeds at a simultaneous level of "
            "95 %; a distance by random convolutions is not an FID."
        )


def _counted(count: int) -> str:
    return f"{count} epoch{'' if count == 1 else 's'}"


def _batch_size(images: int) -> int:
    return 64 if images >= 2000 else 32


def _error(kept: dict[str, Tensor]) -> Tensor:
    """Error of the decoded means of test images, `(N, C, H, W)`."""
    return (kept["means"] - kept["test"]).abs()


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; --text: #222; --page: #fff; --aside: #555; }}
@media (prefers-color-scheme: dark) {{ :root {{ --text: #ddd; --page: #161616; --aside: #aaa; }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto;
  padding: 0 1rem; color: var(--text); background: var(--page); }}
h1, h2 {{ line-height: 1.2; }}
img {{ display: block; max-width: 100%; height: auto; background: #fff; }}
@media (max-width: 40rem) {{ img {{ max-width: none; max-height: 26rem; }} }}
div.wide {{ overflow-x: auto; }}
table {{ border: 0; border-collapse: collapse; font-size: .85rem; }}
th, td {{ padding: .3rem .6rem; text-align: right; border: 0; border-bottom: 1px solid #8886; }}
th:first-child {{ text-align: left; }}
pre {{ white-space: pre-wrap; color: var(--aside); font-size: .85rem; margin: .3rem 0; }}
</style></head><body>
{body}
</body></html>
"""


def page(executed: Path, output: Path) -> None:
    """Write one HTML file of the text, tables and pictures of an executed notebook."""
    with extra("book"):
        from markdown_it import MarkdownIt

    render = MarkdownIt().enable("table").render
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        if cell["cell_type"] == "markdown":
            parts.append(render("".join(cell["source"])))
        parts += [
            _shown(result, render)
            for result in cell.get("outputs", [])
            if result.get("name") != "stderr"
        ]
    title = "Which loss for these images?"
    with whole(output) as partial:
        partial.write_text(_PAGE.format(title=title, body="\n".join(parts)), encoding="utf-8")


def _shown(output: dict[str, Any], render: Any) -> str:
    """An output of a cell as HTML."""
    if output["output_type"] == "stream":
        return f"<pre>{html.escape(''.join(output['text']))}</pre>"
    data = {kind: "".join(text) for kind, text in output.get("data", {}).items()}
    if "image/png" in data:
        alt = html.escape(output["metadata"].get("alt", data.get("text/plain", "a figure")))
        source = f"data:image/png;base64,{data['image/png'].strip()}"
        return f'<div class="wide" tabindex="0"><img alt="{alt}" src="{source}"></div>'
    if "text/markdown" in data:
        return str(render(data["text/markdown"]))
    if "text/html" in data:
        return f'<div class="wide" tabindex="0">{data["text/html"]}</div>'
    return f"<pre>{html.escape(data.get('text/plain', ''))}</pre>"
