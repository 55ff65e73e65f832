"""What changes nothing is left out of a written step, and nothing else."""

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from envae.experiments._graphs import simplified


def operations(graph):
    return [str(node.target) for node in graph.graph.nodes if node.op == "call_function"]


def written(function, *tensors):
    return simplified(make_fx(function)(*[tensor.clone() for tensor in tensors]))


@pytest.mark.parametrize(
    ("nothing", "something"),
    [
        (lambda x: x.detach().sin(), lambda x: x.abs().sin()),
        (lambda x: x.expand(3, 4).sin(), lambda x: x[:, :1].expand(3, 4).sin()),
        (lambda x: x.view(3, 4).sin(), lambda x: x.view(4, 3).sin()),
        (lambda x: (x * 1).sin(), lambda x: (x * 2).sin()),
        (lambda x: (x / 1).sin(), lambda x: (x / 2).sin()),
        (lambda x: (x + 0).sin(), lambda x: (x + 1).sin()),
        (lambda x: (x - 0).sin(), lambda x: (x - 1).sin()),
        (lambda x: x.pow(1.0).sin(), lambda x: x.pow(3.0).sin()),
        (lambda x: x.mT.mT.sin(), lambda x: x.mT.sin()),
        (lambda x: x.transpose(0, 1).mT.sin(), lambda x: (x.mT * 1).mT.exp().mT.sin()),
    ],
)
def test_what_gives_its_input_again_is_left_out(nothing, something):
    x = torch.randn(3, 4)
    assert operations(written(nothing, x)) == ["aten.sin.default"]
    assert len(operations(written(something, x))) > 1
    for function in (nothing, something):
        torch.testing.assert_close(written(function, x)(x), function(x), rtol=0, atol=0)


def test_a_number_that_widens_its_input_stays():
    """One times a row, spread over a matrix, and a product that changes the type."""
    row, whole = torch.randn(1, 4), torch.arange(3)
    for function, x in ((lambda x: (x * torch.ones(3, 1)).sin(), row), (lambda x: x * 1.0, whole)):
        result = written(function, x)(x)
        assert result.shape == function(x).shape
        assert result.dtype == function(x).dtype


def test_what_is_given_back_is_no_part_of_the_input():
    """Adam writes into the weights while it reads their gradients."""
    x = torch.ones(3)
    result = written(lambda x: x.detach() * 1, x)(x)
    x.zero_()
    assert result.tolist() == [1, 1, 1]


def test_a_copy_that_is_written_into_stays_one():
    x = torch.ones(3)
    result = written(lambda x: (x * 1).add_(1) + x, x)(x)
    assert result.tolist() == [3, 3, 3]
    assert x.tolist() == [1, 1, 1]


def test_a_new_tensor_that_nobody_reads_is_not_made():
    def function(x):
        torch.empty(2).fill_(torch.nan)
        return x.sin()

    assert operations(written(function, torch.ones(3))) == ["aten.sin.default"]
