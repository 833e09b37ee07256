from __future__ import annotations

import math
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onward.model.config import ModelConfig
from onward.model.hook import Hooks, name_hook_points
from onward.model.language_model import Pass
from onward.model.mlp import ACTIVATIONS, make_mlp

SHARED = Pass(positions=torch.zeros(1, 1, dtype=torch.long))


def mlp(activation: str, d_model: int = 1, d_mlp: int = 1, **changes: Any) -> nn.Module:
    sizes = {"vocab_size": 9, "context_length": 8, "n_layers": 1, "n_heads": 1, "d_head": 2}
    return make_mlp(ModelConfig(**sizes, d_model=d_model, d_mlp=d_mlp, activation=activation, **changes))  # type: ignore[arg-type]


def fill(layer: nn.Module, **weights: list[list[float]]) -> nn.Module:
    with torch.no_grad():
        for name, weight in weights.items():
            getattr(layer, name).weight.copy_(torch.tensor(weight))
    return layer


def test_by_hand() -> None:
    """Two numbers through three: up_proj gives -1, 2 and 3 for (1, 2)."""
    up, down = [[3.0, -2.0], [0.0, 1.0], [1.0, 1.0]], [[5.0, 1.0, 1.0], [0.0, 1.0, -1.0]]
    numbers = torch.tensor([[[1.0, 2.0]]])
    relu = fill(mlp("relu", 2, 3), up_proj=up, down_proj=down)
    assert relu(numbers, SHARED).tolist() == [[[5.0, -1.0]]]
    squared = fill(mlp("relu_squared", 2, 3), up_proj=up, down_proj=down)
    assert squared(numbers, SHARED).tolist() == [[[13.0, -5.0]]]


def test_swiglu_by_hand() -> None:
    """silu(ln 3) = ln 3 * 3 / 4, since the sigmoid of ln 3 is 3 / (1 + 3)."""
    layer = fill(mlp("swiglu"), gate_proj=[[1.0]], up_proj=[[2.0]], down_proj=[[10.0]])
    out = layer(torch.tensor([[[math.log(3)]]]), SHARED)
    assert out.item() == pytest.approx(10 * (math.log(3) * 3 / 4) * (2 * math.log(3)))


def test_gelu_is_gpt2s() -> None:
    numbers = torch.linspace(-4, 4, 33)
    torch.testing.assert_close(ACTIVATIONS["gelu"](numbers), nn.GELU(approximate="tanh")(numbers))
    assert not torch.allclose(ACTIVATIONS["gelu"](numbers), nn.GELU()(numbers), atol=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_hooks_see_the_nonlinearity_from_both_sides(activation: str) -> None:
    layer = mlp(activation, 3, 5)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    name_hook_points(layer)
    hooks = Hooks(record="*")
    resid = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(2))
    out = layer(resid, Pass(positions=SHARED.positions, hooks=hooks))
    pre, post = hooks.cache["pre"], hooks.cache["post"]
    assert pre.shape == post.shape == (2, 4, 5)
    if activation == "swiglu":
        torch.testing.assert_close(pre, layer.gate_proj(resid))
        torch.testing.assert_close(post, pre * pre.sigmoid() * layer.up_proj(resid))
    else:
        torch.testing.assert_close(pre, layer.up_proj(resid))
        torch.testing.assert_close(post, ACTIVATIONS[activation](pre))
    torch.testing.assert_close(out, layer.down_proj(post))
    assert torch.equal(out, hooks.cache["out"])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients(activation: str, bias: bool) -> None:
    layer = mlp(activation, 2, 3, bias=bias).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))

    def call(resid: Tensor, *parameters: Tensor) -> Tensor:
        return layer(resid, SHARED)

    resid = torch.randn(1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    assert torch.autograd.gradcheck(call, (resid, *layer.parameters()))


@pytest.mark.parametrize("activation", ["gelu", "relu_squared", "swiglu"])
def test_what_the_activation_made_is_not_kept_and_changes_no_gradient(activation: str) -> None:
    layer = mlp(activation, 3, 20)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    resid = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(2), requires_grad=True)
    bend, made = layer.activation, []

    def watched(*pre: Tensor) -> Tensor:
        made.append(weakref.ref(post := bend(*pre)))
        return post

    layer.activation = watched
    out = layer(resid, SHARED)
    assert [post() for post in made] == [None]
    remade = torch.autograd.grad(out.sin().sum(), (resid, *layer.parameters()))
    assert len(made) == 2
    name_hook_points(layer)
    kept = layer(resid, Pass(positions=SHARED.positions, hooks=Hooks(record="post")))
    assert len(made) == 3
    expected = torch.autograd.grad(kept.sin().sum(), (resid, *layer.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(remade, expected, strict=True))
    with torch.no_grad():
        assert torch.equal(layer(resid, SHARED), kept)


def test_weights_that_change_before_the_way_back_are_noticed() -> None:
    layer = fill(mlp("swiglu"), gate_proj=[[1.0]], up_proj=[[2.0]], down_proj=[[10.0]])
    out = layer(torch.ones(1, 1, 1, requires_grad=True), SHARED)
    with torch.no_grad():
        layer.down_proj.weight.mul_(2)
    with pytest.raises(RuntimeError, match="changed in place"):
        out.sum().backward()


def test_the_second_derivative_of_relu() -> None:
    """Which the kernels of the others refuse: half the square of 2 * 3 x, whose slope changes by 36."""
    layer = fill(mlp("relu"), up_proj=[[3.0]], down_proj=[[2.0]])
    x = torch.ones(1, 1, 1, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x, SHARED).square().sum() / 2, x, create_graph=True)
    assert torch.autograd.grad(slope.sum(), [x, layer.down_proj.weight])[0].item() == 36.0
    (slope,) = torch.autograd.grad(layer(x, SHARED).sum(), layer.down_proj.weight, create_graph=True)
    assert torch.autograd.grad(slope.sum(), x)[0].item() == 3.0
