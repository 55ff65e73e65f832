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
from envae.experiments.runs import Setting
from envae.metrics import frechet, random_convolutions
from envae.metrics.random_convolutions import RandomConvolutions
from envae.objectives.base import check_count, check_positive

NOTEBOOK = Path(__file__).with_suffix(".ipynb")
# Rows of `paper_rows` and what the page calls them.
COMPARED = {
    "L2": "L2",
    "Iso-I, mle": "Iso-I",
    "SSIM": "SSIM",
    "AE": "AE, mixture",
    "EnVAE, M = 2": "EnVAE, 2 draws",
    "EnVAE, M = 4, mirrored": "EnVAE, 4 mirrored",
}
SEEDS = (1, 2, 3)
TRIED = 3  # values of each row's free number
_LEAST_EPOCHS = 20  # below, images are left out
_FEWEST_TRAINED = 1000  # images that are kept where time is short
_MOST_EPOCHS, _MOST_STEPS = 300, 10_000  # no more than the larger of these
_SAMPLES = 2000  # images drawn for a distance, at most
_SHARE = 0.7  # of the time that training is granted; the rest is for measuring and the page
_TEST_IMAGES = 30  # at least: so many are shown


def load(folder: str | Path, size: int = 32) -> Dataset:
    """Images of a folder as `datasets.load("imagefolder")` gives them, with enough for a test.

    Images without colour have one channel. Where the test images are too few for a distance, a
    fifth of all images takes their place.

    Raises
    ------
    ValueError, FileNotFoundError
        As `datasets.load`; and if there are too few images in all.
    """
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
    if len(dataset.test) < _TEST_IMAGES or len(dataset.train) // 5 <= random_convolutions.FEWEST:
        raise ValueError(
            f"{folder} has {len(dataset.train) + len(dataset.test)} images: a comparison needs "
            f"{5 * _TEST_IMAGES} or more"
        )
    return dataset


class Comparison:
    """Objectives on a folder of images: equal networks, epochs, and tries of their one free number.

    Parameters
    ----------
    folder, size
        As :func:`load` takes them.
    minutes
        What the training and measuring may take. It decides the epochs, and where these would be
        few, how many of the images are trained on. The plan is kept beside the records: a second
        call with as many minutes goes on with it.
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
        check_count(random_convolutions.SMALLEST, size=size)
        self.rows = rows
        self._seconds = 60 * minutes
        self._begun, self._longest = time.monotonic(), 0.0
        dataset = load(folder, size)
        self.place = dataset.place
        self.found = len(dataset.train), len(dataset.test)
        order = torch.randperm(len(dataset.test), generator=torch.Generator().manual_seed(0))
        dataset = dataclasses.replace(  # a folder's are sorted, and the first ones are measured
            dataset, test=dataset.test[order], test_labels=dataset.test_labels[order]
        )
        plan = records.folder() / f"plan-{dataset.name}-{minutes:g}.json"
        if not plan.is_file():
            with whole(plan) as partial:
                partial.write_text(json.dumps(self._planned(dataset)), encoding="utf-8")
        told = json.loads(plan.read_text(encoding="utf-8"))
        self.experiment = self._experiment(dataset, **told)

    def _experiment(self, dataset: Dataset, network: str, epochs: int, images: int) -> Experiment:
        if images < len(dataset.train):
            dataset = dataset.subset(images)
        fewest = min(len(dataset.train) // 5, len(dataset.test))
        return Experiment(
            dataset,
            Setting(
                network,
                latent_dim=16 if dataset.image_shape[0] == 1 else 32,
                epochs=epochs,
                batch_size=64 if len(dataset.train) >= 2000 else 32,
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

    def _planned(self, dataset: Dataset) -> dict[str, Any]:
        """Network, epochs and training images that the time allows, by a few steps of every row.

        On a CPU a network whose models are trained as one stack.
        """
        network = "conv" if torch.cuda.is_available() else "mlp"
        short = self._experiment(dataset, network, epochs=1, images=len(dataset.train))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # as runs side by side have
        step = sum(short.step_seconds(label) for label in self.rows)
        torch.set_num_threads(threads)
        side_by_side = joblib.effective_n_jobs(-1)
        steps = sum(
            -(-runs // side_by_side) * short.steps(searched=searched)
            for runs, searched in ((TRIED, True), (len(SEEDS), False))
        )
        left = self._seconds - (time.monotonic() - self._begun)
        epochs = _SHARE * left / (step * steps)
        images = len(dataset.train)
        if epochs < _LEAST_EPOCHS:
            images = min(images, max(_FEWEST_TRAINED, int(images * epochs / _LEAST_EPOCHS)))
            epochs *= len(dataset.train) / images
        most = max(_MOST_EPOCHS, _MOST_STEPS // short.steps(searched=False))
        return {"network": network, "epochs": max(1, min(int(epochs), most)), "images": images}

    def __str__(self) -> str:
        experiment, setting = self.experiment, self.experiment.setting
        shape = " x ".join(map(str, experiment.dataset.image_shape))
        return (
            f"{self.found[0]} training and {self.found[1]} test images of {shape}; "
            f"{len(experiment.dataset.train)} trained on, {setting.epochs} epochs, network "
            f"{setting.network} with a code of {setting.latent_dim}; for each loss {TRIED} values "
            f"of its one free number, the best of them from {len(SEEDS)} seeds"
        )

    def train(self, label: str) -> str:
        """Run what a row lacks, and say what came of it.

        Nothing, where it would end after the time if it took as long as the longest before it.
        """
        start = time.monotonic()
        if start - self._begun + self._longest > self._seconds:
            return f"{COMPARED[label]}: left for the next call, the time is over"
        found = self.experiment.complete(label)
        self._longest = max(self._longest, time.monotonic() - start)
        if not found["done"].all():
            return f"{COMPARED[label]}: {found['error'].max() or 'not run'}"
        values = found[ALL_ROWS[label].judged_by]
        return f"{COMPARED[label]}: distances {', '.join(f'{value:.2f}' for value in values)}"

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
        mean = data.train.mean(0, keepdim=True).expand(count, *data.image_shape)
        return {
            "as many test images drawn anew": frechet.floor(network, data.test, count),
            "the training images": frechet.fd(network, data.train, data.test),
            "the mean image alone": frechet.fd(network, mean, data.test),
        }

    def table(self) -> pd.DataFrame:
        """A row per loss, the smallest distance first: means over seeds, and their range."""
        runs = self.runs()
        parts = {}
        for label, found in runs.groupby("label", sort=False):
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
        for label, rows in runs.groupby("label", sort=False):
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
            for label, found in runs.groupby("label", sort=False)
        }
        left = [COMPARED[label] for label in self.rows if COMPARED[label] not in by_label]
        told = f"Not run yet: {'; '.join(left)}. " if left else ""
        if len(by_label) < 2:
            return f"{told}Too few losses are done to compare any."
        table, floors = self.table(), self.floors()
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
        told += f"Samples of **{best}** came closest to the test images in the mean"
        if worse:
            told += f", closer than those of {_listed(worse)} beyond what seeds explain"
        told += f"; from {_listed(alike)} these runs do not tell it apart" if alike else ""
        given_back = floors["the training images"]
        told += (
            f". Its distance is {closest:.2f}; a model that gave the training images back would "
            f"have {given_back:.2f}, and differences of that size mean nothing. Reconstructions "
            f"from posterior means have the least squared error with {sharpest}; samples from a "
            f"mixture are closest with {table['from a mixture'].idxmin()}. "
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
            "This holds for these images at this size, this network and this many epochs, with "
            f"{len(SEEDS)} seeds at a simultaneous level of 95 %; a longer training can change the "
            "order, and a distance by random convolutions is not an FID."
        )


def _error(kept: dict[str, Tensor]) -> Tensor:
    """Error of the decoded means of test images, `(N, C, H, W)`."""
    return (kept["means"] - kept["test"]).abs()


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 64rem; margin: 2rem auto;
  padding: 0 1rem; color: #222; background: #fff; }}
h1, h2 {{ line-height: 1.2; }}
img {{ max-width: 100%; height: auto; }}
div.table {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .85rem; }}
th, td {{ padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #ddd; }}
th:first-child {{ text-align: left; }}
pre {{ white-space: pre-wrap; color: #555; font-size: .85rem; }}
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
        return f'<img alt="{alt}" src="data:image/png;base64,{data["image/png"].strip()}">'
    if "text/markdown" in data:
        return str(render(data["text/markdown"]))
    if "text/html" in data:
        return f'<div class="table">{data["text/html"]}</div>'
    return f"<pre>{html.escape(data.get('text/plain', ''))}</pre>"
