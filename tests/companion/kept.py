"""What functions give, in numbers and names, and whether it is what it was when somebody looked.

Of a figure positions, colours, limits, ticks set by hand, legends and names; not what
`plant_faults.SHOWN` calls looks: sizes, widths, opacity.
"""

import functools
import json
import re
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_hex, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

FOLDER = Path(__file__).parent / "kept"
_FEW = 16  # numbers that are kept as they are; of more, what says that they are the same

_OF_THE_RUN = ("commit", "data", "date", "device", "dirty", "packages", "python", "seconds")


def numbers(values: Any) -> list[float]:
    flat = np.ma.filled(np.ma.asarray(values, dtype=float), np.nan).ravel()
    if len(flat) > _FEW:
        weighted = flat * np.cos(np.arange(len(flat)))  # another order has another sum
        flat = np.array([len(flat), np.nanmin(flat), np.nanmax(flat), np.nansum(weighted)])
    return [float(f"{value:.6g}") for value in flat]


def colours(values: Any) -> list[str]:
    given = [to_hex(colour) for colour in to_rgba_array(values)]
    return sorted(set(given)) if len(given) > _FEW else given


def ticks(axis: Axis) -> dict[str, Any]:
    chosen = type(axis.get_major_locator()).__name__
    if not isinstance(axis.get_major_locator(), FixedLocator | NullLocator):
        return {"ticks": chosen}  # other ones in other versions of matplotlib
    labels = [label.get_text() for label in axis.get_ticklabels()]
    minor = isinstance(axis.get_minor_locator(), NullLocator)
    return {"ticks": numbers(axis.get_ticklocs()), "labels": labels, "no minor ticks": minor}


def in_panel(panel: Axes) -> Iterator[dict[str, Any]]:
    """Every line, area, point, image and text of a panel, in the order in which it was drawn."""
    for line in panel.lines:
        yield {
            "line": [numbers(line.get_xdata()), numbers(line.get_ydata())],
            "across": line.get_transform() != panel.transData,
            "colour": colours(line.get_color()),
            "style": [line.get_linestyle(), str(line.get_marker()), line.get_drawstyle()],
        }
    for drawn in panel.collections:
        values = drawn.get_array()
        yield {
            "at": numbers(drawn.get_offsets()),
            "paths": [numbers(path.vertices) for path in drawn.get_paths()[:_FEW]],
            "colours": [colours(drawn.get_facecolor()), colours(drawn.get_edgecolor())],
            "values": None if values is None else [numbers(values), drawn.get_cmap().name],
        }
    for patch in panel.patches:
        yield {
            "patch": numbers(patch.get_path().transformed(patch.get_patch_transform()).vertices),
            "colours": [colours(patch.get_facecolor()), colours(patch.get_edgecolor())],
            "hatch": patch.get_hatch(),
        }
    for image in panel.images:
        yield {
            "image": [list(image.get_array().shape), numbers(image.get_array())],
            "range": [numbers(image.get_clim()), image.get_cmap().name],
            "extent": numbers(image.get_extent()),
            "smooth": image.get_interpolation(),
        }
    for text in panel.texts:
        yield {"text": text.get_text(), "at": numbers(text.get_position())}


def legend(box: Legend | None) -> list[list[Any]]:
    """Each name of a legend, and the colours and marks beside it."""
    handles = box.legend_handles if box is not None else []
    names = [text.get_text() for text in box.get_texts()] if box is not None else []
    marks = [
        [colours(handle.get_color()), handle.get_linestyle(), str(handle.get_marker())]
        if isinstance(handle, Line2D)
        else [colours(handle.get_facecolor()), colours(handle.get_edgecolor())]
        for handle in handles
    ]
    return [[name, *mark] for name, mark in zip(names, marks, strict=True)]


def of_panel(panel: Axes) -> dict[str, Any]:
    others = panel.figure.axes
    shared = [
        [others.index(one) for one in group.get_siblings(panel) if one in others]
        for group in (panel.get_shared_x_axes(), panel.get_shared_y_axes())
    ]
    sides = {}
    for name, axis in (("x", panel.xaxis), ("y", panel.yaxis)):
        sides[name] = {
            "name": axis.get_label_text(),
            "scale": axis.get_scale(),
            "limits": numbers(axis.get_view_interval()),
            "visible": axis.get_visible(),
            "grid": any(line.get_visible() for line in axis.get_gridlines()),
            **ticks(axis),
        }
    return {
        "title": [panel.get_title(place) for place in ("left", "center", "right")],
        "aspect": str(panel.get_aspect()),
        "frame": panel.axison,
        "shares": shared,
        **sides,
        "legend": legend(panel.get_legend()),
        "drawn": list(in_panel(panel)),
    }


def of_figure(figure: Figure) -> list[dict[str, Any]]:
    named = figure.get_suptitle(), figure.get_supxlabel(), figure.get_supylabel()
    legends = [legend(box) for box in figure.legends]
    texts = [text.get_text() for text in figure.texts]
    whole = {"names": list(named), "legends": legends, "texts": texts}
    return [whole, *(of_panel(panel) for panel in figure.axes)]


def described(value: Any) -> Any:
    """What a function gave, as JSON has it; of what is none of these, its kind."""
    match value:
        case Figure():
            return of_figure(value)
        case None | str() | bool():
            return value
        case np.bool_():
            return bool(value)
        case int() | float() | np.number():
            return numbers(value)
        case pd.DataFrame():
            columns = {str(name): described(column) for name, column in value.items()}
            kept = {name: of for name, of in columns.items() if name not in _OF_THE_RUN}
            return {"index": described(value.index), **kept}
        case pd.Series() | pd.Index():
            if pd.api.types.is_numeric_dtype(value) and not pd.api.types.is_bool_dtype(value):
                return numbers(value)
            return [described(each) for each in value.tolist()]
        case torch.Tensor() | np.ndarray():
            return {"shape": list(value.shape), "values": numbers(value)}
        case Mapping():
            return {str(name): described(each) for name, each in value.items()}
        case list() | tuple():
            return [described(each) for each in value]
    return type(value).__name__


class Calls:
    """What functions of modules give where they are called from outside, in the order of calls."""

    def __init__(self) -> None:
        self.given: list[Any] = []
        self._inside = False

    def watch(self, module: types.ModuleType, replace: Callable[..., None]) -> None:
        """Watch the public functions of a module; `replace` sets an attribute."""
        for name, function in vars(module).copy().items():
            of_module = getattr(function, "__module__", "") == module.__name__
            if isinstance(function, types.FunctionType) and of_module and name[0] != "_":
                replace(module, name, self._watched(function))

    def _watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            outermost, self._inside = not self._inside, True
            try:
                value = function(*arguments, **options)
            finally:
                self._inside = not outermost
            if outermost and value is not None:
                self.given.append({function.__name__: described(value)})
            return value

        return call


def differences(now: Any, before: Any, at: str = "") -> Iterator[str]:
    """Where two descriptions differ; numbers up to what processors do differently."""
    if isinstance(now, dict) and isinstance(before, dict):
        if list(now) != list(before):
            yield f"{at}: {list(now)} for {list(before)}"
        for key in now.keys() & before.keys():
            yield from differences(now[key], before[key], f"{at}.{key}")
    elif isinstance(now, list) and isinstance(before, list) and len(now) == len(before):
        for place, (one, other) in enumerate(zip(now, before, strict=True)):
            yield from differences(one, other, f"{at}[{place}]")
    elif isinstance(now, float) and isinstance(before, float):
        if not np.isclose(now, before, rtol=1e-4, atol=1e-5, equal_nan=True):
            yield f"{at}: {now} for {before}"
    elif now != before:
        yield f"{at}: {now!r} for {before!r}"


def check(name: str, now: list[Any]) -> None:
    """That a test's functions gave what its file in `kept/` says.

    Where there is no file it is written, and the test fails once: look at what was given, figures
    above all, and commit the file. What is meant to be another: remove its file.
    """
    file = FOLDER / f"{re.sub(r'[^a-z0-9]+', '_', name.lower()).strip('_')}.json"
    if not file.exists():
        FOLDER.mkdir(exist_ok=True)
        lines = [json.dumps(each, ensure_ascii=False) for each in now]
        file.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")
        raise AssertionError(f"{file} was written: look at what it holds, and commit it")
    before = json.loads(file.read_text(encoding="utf-8"))
    assert list(differences(now, before)) == [], f"other than before; if meant, remove {file}"
