"""Lists of operations on tensors without those that change nothing."""

from typing import Any

import torch
from torch.fx import GraphModule, Node

_ops = torch.ops.aten
# What gives its first argument again, where the shape stays.
_VIEWS = (_ops.detach.default, _ops.expand.default, _ops.view.default, _ops._unsafe_view.default)
# And where its second argument is this number.
_NEUTRAL = {
    _ops.mul.Scalar: 1, _ops.mul.Tensor: 1, _ops.div.Scalar: 1, _ops.div.Tensor: 1,
    _ops.pow.Tensor_Scalar: 1, _ops.add.Tensor: 0, _ops.sub.Tensor: 0,
}  # fmt: skip


def simplified(written: GraphModule) -> GraphModule:
    """Leave out what `make_fx` wrote down and what gives its input again.

    Of a small network's step that is every third operation: views of the same shape, factors of
    one, matrices transposed twice. The values stay the same to the last bit. Changed in place, and
    given back.
    """
    graph = written.graph
    for node in list(graph.nodes):
        if _writes(node) and _is_of_no_use(node):
            graph.erase_node(node)
    if any(_writes(node) for node in graph.nodes):
        return written  # a copy that is left out would be written into with its original
    for node in graph.nodes:
        same = _same(node)
        if same is not None:
            node.replace_all_uses_with(same)
    graph.eliminate_dead_code()
    written.recompile()
    return written


def _writes(node: Any) -> bool:
    return isinstance(node.target, torch._ops.OpOverload) and node.target._schema.is_mutable


def _is_of_no_use(node: Any) -> bool:
    """Whether a node writes into a new tensor that nobody reads."""
    into = node.args[0]
    new = isinstance(into, Node) and into.target is _ops.empty.memory_format
    return new and not node.users and len(into.users) == 1


def _same(node: Any) -> Any:
    """The node whose tensor this one gives again, if it does."""
    given = node.args[0] if node.args else None
    if not isinstance(given, Node):
        return None
    if node.target is _ops.transpose.int and given.target is _ops.transpose.int:
        back = _axes(node) == _axes(given)
        return given.args[0] if back else None
    if _kind(node) != _kind(given):
        return None
    if node.target in _VIEWS:
        return given
    neutral = node.target in _NEUTRAL and node.args[1] == _NEUTRAL[node.target]
    # What is given back to the caller may be written into there.
    returned = any(user.op == "output" for user in node.users)
    return given if neutral and not node.kwargs and not returned else None


def _axes(transpose: Any) -> set[int]:
    return {axis % transpose.meta["val"].ndim for axis in transpose.args[1:]}


def _kind(node: Any) -> Any:
    value = node.meta.get("val")
    return (value.shape, value.dtype) if isinstance(value, torch.Tensor) else node
