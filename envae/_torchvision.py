"""Make `import torchvision` work beside a CPU-only torch.

PyPI's torchvision is a CUDA build: beside a CPU build of torch its compiled operators cannot be
loaded, and the import fails with "operator torchvision::nms does not exist", taking pytorch-fid,
torchmetrics and lightning with it. Nothing here needs those operators; declared, they satisfy the
import. Import this module before any of those packages.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def _declare_operators() -> torch.library.Library | None:
    """Declare torchvision's two operators where its own library cannot be loaded."""
    spec = importlib.util.find_spec("torchvision")  # finds the package without importing it
    if spec is None or spec.origin is None:
        return None
    compiled = sorted(Path(spec.origin).parent.glob("_C*.so"))
    try:
        for library in compiled:
            torch.ops.load_library(library)
    except OSError:
        compiled = []
    if compiled:
        return None
    declared = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        declared.define(operator + _SCHEMA)
    return declared


# The declarations live as long as this object.
_library = _declare_operators()
