"""The ways back of the kernels of csrc/, beside those that torch finds by itself, in float64."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from onward.errors import ConfigError
from onward.model import kernels
from onward.model.config import ModelConfig
from onward.model.norm import RMSNorm
from onward.model.position import Rotation
from onward.training.loss import summed_loss
from tests.conftest import random_decoder
from tests.model.test_kernels import FORMS, exact, normal, threads

__all__ = ["threads"]


def gradients(function: Callable[..., Tensor], inputs: list[Tensor], seed: int = 9) -> list[Tensor]:
    """What `function` gives, and the gradients of its inputs for a random gradient of that."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    out = function(*leaves)
    out.backward(normal(*out.shape, seed=seed).to(out.dtype))
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf.grad is not None)]


def assert_as_exact(
    kernel: Callable[..., Tensor], twin: Callable[..., Tensor], inputs: list[Tensor], atol: float = 1e-5
) -> None:
    found = gradients(kernel, inputs)
    for x, expected in zip(found, gradients(twin, [x.double() for x in inputs]), strict=True):
        torch.testing.assert_close(x.double(), expected, atol=atol, rtol=1e-5)


@given(
    batch=st.integers(0, 3),
    kv_heads=st.integers(1, 3),
    groups=st.integers(1, 3),
    n_queries=st.integers(0, 140),
    n_before=st.integers(0, 70),
    d_head=st.integers(1, 20),
    d_value=st.integers(1, 20),
    is_causal=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_attention(
    batch: int,
    kv_heads: int,
    groups: int,
    n_queries: int,
    n_before: int,
    d_head: int,
    d_value: int,
    is_causal: bool,
    seed: int,
) -> None:
    q = normal(batch, kv_heads * groups, n_queries, d_head, seed=seed)
    k = normal(batch, kv_heads, n_before + n_queries, d_head, seed=seed + 1)
    v = normal(batch, kv_heads, n_before + n_queries, d_value, seed=seed + 2)
    assert_as_exact(
        lambda q, k, v: kernels.attention(q, k, v, is_causal), lambda q, k, v: exact(q, k, v, is_causal), [q, k, v]
    )


@pytest.mark.parametrize("is_causal", [True, False])
def test_attention_in_any_layout(is_causal: bool) -> None:
    """Heads split from a projection, and numbers of a vector that lie apart, in what comes in and comes back."""
    q, k = (normal(2, 70, 3, 8, seed=seed).transpose(1, 2) for seed in (1, 2))
    v = normal(5, 2, 70, 3).permute(1, 3, 2, 0)
    assert v.stride(3) != 1
    assert_as_exact(
        lambda q, k, v: kernels.attention(q, k, v, is_causal).mT.contiguous().mT,
        lambda q, k, v: exact(q, k, v, is_causal),
        [q, k, v],
    )


def test_attention_with_huge_scores() -> None:
    """One key takes all: its value has the whole gradient, queries and keys none, and nothing overflows."""
    k = torch.linspace(-1e15, 1e15, 101).view(1, 1, 101, 1)
    q, v = torch.full((1, 1, 101, 1), 1e15), normal(1, 1, 101, 3)
    _, q_gradient, k_gradient, v_gradient = gradients(lambda q, k, v: kernels.attention(q, k, v, True), [q, k, v])
    assert not q_gradient.any()
    assert not k_gradient.any()
    torch.testing.assert_close(v_gradient, normal(1, 1, 101, 3, seed=9))


def test_attention_is_the_same_on_any_number_of_threads(threads: int) -> None:
    inputs = [normal(2, 4, 200, 13), normal(2, 2, 200, 13, seed=2), normal(2, 2, 200, 9, seed=3)]
    together = gradients(lambda q, k, v: kernels.attention(q, k, v, True), inputs)
    torch.set_num_threads(3 - threads)
    again = gradients(lambda q, k, v: kernels.attention(q, k, v, True), inputs)
    assert all(map(torch.equal, together, again))


ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "gelu": (kernels.gelu, lambda x: F.gelu(x, approximate="tanh")),
    "relu_squared": (kernels.relu_squared, lambda x: F.relu(x).square()),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
@given(n=st.integers(0, 40), scale=st.sampled_from([1e-30, 1e-3, 1.0, 5.0, 1e3]), seed=st.integers(0, 1000))
def test_activations(name: str, n: int, scale: float, seed: int) -> None:
    kernel, twin = ACTIVATIONS[name]
    assert_as_exact(kernel, twin, [normal(n, seed=seed) * scale], atol=2e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_at_the_ends_and_in_any_layout(name: str) -> None:
    kernel, twin = ACTIVATIONS[name]
    assert_as_exact(kernel, twin, [normal(5, 40_001).T], atol=2e-6)
    x = torch.tensor([-3e38, -20.0, -10.0, -0.0, 0.0, 10.0, 20.0, 1e15]).requires_grad_()
    kernel(x).sum().backward()
    slopes = {"gelu": torch.ones(3), "relu_squared": 2 * x.detach()[-3:]}[name]
    assert x.grad is not None
    torch.testing.assert_close(
        x.grad, torch.cat([torch.zeros(3), torch.tensor([0.5, 0.5] if name == "gelu" else [0.0, 0.0]), slopes])
    )
    for infinite in (torch.nan, torch.inf):
        x = torch.tensor([infinite]).requires_grad_()
        kernel(x).sum().backward()
        assert x.grad is not None
        assert x.grad.isnan().all() or infinite == torch.inf


@given(n=st.integers(0, 40), scale=st.sampled_from([1e-30, 1e-3, 1.0, 5.0, 1e3]), seed=st.integers(0, 1000))
def test_swiglu(n: int, scale: float, seed: int) -> None:
    inputs = [normal(n, seed=seed) * scale, normal(n, seed=seed + 1)]
    assert_as_exact(kernels.swiglu, lambda gate, up: F.silu(gate) * up, inputs, atol=2e-6)


def test_swiglu_at_the_ends_and_in_any_layout() -> None:
    def twin(gate: Tensor, up: Tensor) -> Tensor:
        return F.silu(gate) * up

    assert_as_exact(kernels.swiglu, twin, [normal(5, 40_001).T, normal(40_001, 5, seed=2)], atol=2e-6)
    gate = torch.tensor([-3e38, -200.0, -80.0, -0.0, 0.0, 80.0, 200.0, 1e15])
    assert_as_exact(kernels.swiglu, twin, [gate, normal(8)], atol=2e-6)
    with pytest.raises(ConfigError, match="one shape"):
        inspect.unwrap(kernels.swiglu)(normal(4, 1), normal(1, 3))  # before jaxtyping refuses it
    assert kernels.swiglu(torch.tensor([-50.0]), torch.tensor([1e37])).isfinite().all()
    for place in range(2):
        inputs = [torch.ones(3), torch.ones(3)]
        inputs[place][1] = torch.nan
        assert all(x.isnan().tolist()[::2] == [False, False] for x in gradients(kernels.swiglu, inputs))
        assert gradients(kernels.swiglu, inputs)[0].isnan()[1]


@given(axes=st.lists(st.integers(0, 4), max_size=3), size=st.integers(1, 70), seed=st.integers(0, 1000))
def test_rms_norm(axes: list[int], size: int, seed: int) -> None:
    x = normal(*axes, size, seed=seed)
    assert_as_exact(
        lambda x: kernels.rms_norm(x, 1e-5), lambda x: F.rms_norm(x, (size,), None, 1e-5), [x], atol=1e-5 * size
    )


def test_rms_norm_of_heads_stays_as_it_lies() -> None:
    heads = normal(2, 50, 3, 8).transpose(1, 2)
    assert kernels.rms_norm(heads, 1e-5).stride() == heads.stride()
    last = normal(2, 50, 8)[:, -1:]
    for x in (heads, last, normal(8, 6).T):
        assert_as_exact(lambda x: kernels.rms_norm(x, 1e-5), lambda x: F.rms_norm(x, x.shape[-1:], None, 1e-5), [x])


def test_rms_norm_with_a_gain() -> None:
    norm = RMSNorm(8, gain=True)
    torch.nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(3))  # type: ignore[arg-type]
    x = normal(5, 8).requires_grad_()
    gradient = normal(5, 8, seed=2)
    norm(x).backward(gradient)
    twin, weight = x.detach().clone().requires_grad_(), norm.weight.detach().clone().requires_grad_()  # type: ignore[union-attr]
    F.rms_norm(twin, (8,), weight, norm.epsilon).backward(gradient)
    torch.testing.assert_close(x.grad, twin.grad)
    torch.testing.assert_close(norm.weight.grad, weight.grad)  # type: ignore[union-attr]


@given(
    batch=st.integers(1, 3),
    heads=st.integers(1, 3),
    n_positions=st.integers(1, 20),
    half=st.integers(1, 20),
    own_tables=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_rotation(batch: int, heads: int, n_positions: int, half: int, own_tables: bool, seed: int) -> None:
    angles = normal(batch if own_tables else 1, 1, n_positions + 2, half, seed=seed)
    x = normal(batch, n_positions, heads, 2 * half, seed=seed + 1).transpose(1, 2)
    fast, slow = (Rotation(table.cos(), table.sin()) for table in (angles, angles.double()))
    assert_as_exact(fast, slow, [x])
    assert_as_exact(fast, slow, [x.contiguous()])


def test_no_second_derivative() -> None:
    """It is refused: what comes back from a kernel is no function of what went in, as far as torch knows."""
    x = normal(2, 8).requires_grad_()
    with pytest.raises(ConfigError, match="no second derivative; ask for it in float64"):
        torch.autograd.grad(kernels.gelu(x).sum(), x, create_graph=True)


@pytest.mark.parametrize("form", [*FORMS, "onward", "llama"])
def test_a_model_with_and_without(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradients of all parameters are the same within 1e-5 of the largest of each."""
    of_forms = {**FORMS, "onward": {}, "llama": {"norm": "rms_gain", "activation": "swiglu", "qk_norm": False}}
    settings = {"vocab_size": 50, "context_length": 150, "n_layers": 2, "d_model": 16, "n_heads": 4, **of_forms[form]}
    model = random_decoder(ModelConfig(**settings))  # type: ignore[arg-type]
    model.requires_grad_()
    tokens = torch.randint(50, (2, 130), generator=torch.Generator().manual_seed(1))

    def backward() -> dict[str, Tensor]:
        model.zero_grad()
        summed_loss(model(tokens[:, :-1]), tokens[:, 1:]).backward()
        return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}

    fast = backward()
    monkeypatch.setattr(kernels, "suits_kernels", lambda *x: False)
    slow = backward()
    assert fast.keys() == slow.keys()
    for name, gradient in fast.items():
        largest = float(slow[name].abs().max())
        assert math.isfinite(largest)
        torch.testing.assert_close(gradient, slow[name], rtol=0, atol=1e-5 * largest + 1e-7, msg=name)
