"""A device that computes like the CPU and refuses to meet tensors of the CPU, as a GPU does.

Its tensors say that they lie on `cpu:1`, so that code under test needs no knowledge of it:
`with FakeDevice(): model.to("cpu:1"); ...`.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("cpu", 1)


class OnDevice(torch.Tensor):
    """A tensor of the fake device; `held` has its values."""

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(
            cls, held.shape, strides=held.stride(), storage_offset=held.storage_offset(),
            dtype=held.dtype, device=DEVICE, requires_grad=False,
        )  # fmt: skip

    def __init__(self, held):
        self.held = held

    def __repr__(self):
        return f"OnDevice({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return run(function, args, kwargs or {})


COPIES = {"aten::_to_copy", "aten::copy_"}  # what may take from one device to the other
FROM_INDEX = {"aten::index.Tensor", "aten::index_put_"}  # indices may lie on the CPU


def run(function, args, kwargs):
    leaves = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
    there = [isinstance(leaf, OnDevice) for leaf in leaves]
    target = kwargs.get("device")
    name = function._schema.name
    if any(there) and name not in COPIES | FROM_INDEX:
        strangers = [leaf for leaf, on in zip(leaves, there, strict=True) if not on and leaf.ndim]
        if strangers:
            raise RuntimeError(
                f"{name}: tensors of two devices, {[tuple(s.shape) for s in strangers]}"
            )
    if target is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
        stays = torch.device(target) == DEVICE
    else:
        stays = any(there)
    if name == "aten::_to_copy" and target is None:
        stays = bool(there) and there[0]
    if name == "aten::copy_":
        stays = bool(there) and there[0]
    inner = tree_map(lambda leaf: leaf.held if isinstance(leaf, OnDevice) else leaf, (args, kwargs))
    result = function(*inner[0], **inner[1])
    if function._schema.name.endswith("_") and isinstance(args[0], OnDevice):
        return args[0]
    if not stays:
        return result
    return tree_map(lambda leaf: OnDevice(leaf) if isinstance(leaf, torch.Tensor) else leaf, result)


class FakeDevice(TorchDispatchMode):
    """Makes `tensor.to("cpu:1")` a tensor of the fake device for as long as it is active."""

    def __enter__(self):
        # Else a module would keep its parameters and take over their values alone.
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        return super().__enter__()

    def __exit__(self, *error):
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        return super().__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return run(function, args, kwargs or {})
