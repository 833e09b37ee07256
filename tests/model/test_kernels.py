"""The kernels of csrc/: attention beside its explicit twin and torch's own, GELU beside torch's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from onward.model import kernels
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.kv_cache import KVCache
from onward.model.mask import causal_mask
from tests.conftest import random_decoder


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def exact(q: Tensor, k: Tensor, v: Tensor, is_causal: bool) -> Tensor:
    """Step by step, in float64."""
    groups = q.shape[1] // k.shape[1]
    q, k, v = q.double(), k.double().repeat_interleave(groups, 1), v.double().repeat_interleave(groups, 1)
    scores = q @ k.mT / math.sqrt(q.shape[3])
    if is_causal:
        scores = scores.masked_fill(~causal_mask(q.shape[2], k.shape[2]), -torch.inf)
    return scores.softmax(-1) @ v


@given(
    batch=st.integers(0, 3),
    kv_heads=st.integers(1, 3),
    groups=st.integers(1, 3),
    n_queries=st.integers(0, 70),
    n_before=st.integers(0, 70),
    d_head=st.integers(1, 20),
    d_value=st.integers(1, 20),
    is_causal=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_attention_is_what_it_is_step_by_step(
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
    z = kernels.attention(q, k, v, is_causal)
    assert z.shape == (batch, kv_heads * groups, n_queries, d_value)
    torch.testing.assert_close(z.double(), exact(q, k, v, is_causal), atol=5e-6, rtol=0)


@pytest.mark.parametrize("is_causal", [True, False])
@pytest.mark.parametrize("n_positions", [16, 48, 49, 512, 1100])
def test_attention_is_torchs_own(n_positions: int, is_causal: bool) -> None:
    q, k, v = (normal(1, 2, n_positions, 64, seed=seed) for seed in (1, 2, 3))
    theirs = F.scaled_dot_product_attention(q, k, v, is_causal=is_causal)
    torch.testing.assert_close(kernels.attention(q, k, v, is_causal), theirs, atol=3e-6, rtol=0)


def test_a_query_gathers_the_same_whatever_stands_beside_it(threads: int) -> None:
    """Bit for bit: other rows, heads, queries before it, and keys that it does not see."""
    q, k, v = normal(3, 4, 100, 13), normal(3, 2, 100, 13, seed=2), normal(3, 2, 100, 9, seed=3)
    together = kernels.attention(q, k, v, is_causal=True)
    torch.set_num_threads(3 - threads)
    assert torch.equal(kernels.attention(q, k, v, is_causal=True), together)
    torch.set_num_threads(threads)
    for row, head in itertools.product(range(3), range(4)):
        places = slice(row, row + 1), slice(head // 2, head // 2 + 1)
        alone = kernels.attention(q[row : row + 1, head : head + 1], k[places], v[places], is_causal=True)
        assert torch.equal(alone[0, 0], together[row, head])
    for end in (1, 15, 16, 17, 48, 49, 77):
        earlier = kernels.attention(q[:, :, :end], k[:, :, :end], v[:, :, :end], is_causal=True)
        assert torch.equal(earlier, together[:, :, :end])
        later = kernels.attention(q[:, :, end:], k, v, is_causal=True)
        assert torch.equal(later, together[:, :, end:])


@pytest.mark.parametrize("is_causal", [True, False])
def test_any_layout(is_causal: bool) -> None:
    """Heads split from a projection, part of a cache, and numbers of a vector that lie apart."""
    q, k, v = normal(2, 50, 3, 8), normal(2, 50, 3, 8, seed=2), normal(2, 50, 3, 5, seed=3)
    expected = exact(*(x.transpose(1, 2) for x in (q, k, v)), is_causal).float()
    room = torch.full((2, 3, 64, 8), torch.nan)
    room[:, :, :50] = k.transpose(1, 2)
    apart = v.permute(3, 0, 1, 2).contiguous().permute(1, 3, 2, 0)
    assert apart.stride(3) != 1
    for keys in (k.transpose(1, 2), room[:, :, :50]):
        for values in (v.transpose(1, 2), apart):
            z = kernels.attention(q.transpose(1, 2), keys, values, is_causal)
            torch.testing.assert_close(z, expected, atol=3e-6, rtol=0)
            assert z.transpose(1, 2).is_contiguous()
    shared = k[:1, :1].transpose(1, 2).expand(2, 3, 50, 8)
    z = kernels.attention(q.transpose(1, 2), shared, v.transpose(1, 2), is_causal)
    torch.testing.assert_close(z, exact(q.transpose(1, 2), shared, v.transpose(1, 2), is_causal).float())


def test_its_powers_are_off_by_less_than_a_millionth() -> None:
    """With keys 0 and -x, and values (1, 0) and (0, 1), z is (1, e^-x) / (1 + e^-x), rounded."""
    x = torch.cat([torch.linspace(0, 87, 20_001), torch.logspace(-30, 0, 1000)])
    k = torch.stack([torch.zeros_like(x), -x], dim=1).view(-1, 1, 2, 1)
    v = torch.eye(2).expand(len(x), 1, 2, 2)
    z = kernels.attention(torch.ones(len(x), 1, 1, 1), k, v, is_causal=False).flatten(1)
    powers = torch.exp2((x * torch.tensor(1.4426950408889634)).double().neg())
    torch.testing.assert_close(z[:, 1].double() / z[:, 0].double(), powers, atol=0, rtol=5e-7)


def test_huge_scores() -> None:
    """The largest takes all, however large; the first block's may be far below the last's."""
    k = torch.linspace(-1e18, 1e18, 101).view(1, 1, 101, 1)
    v = normal(1, 1, 101, 3)
    for q, chosen in ((1e18, 100), (-1e18, 0)):
        z = kernels.attention(torch.full((1, 1, 1, 1), q), k, v, is_causal=False)
        torch.testing.assert_close(z[0, 0, 0], v[0, 0, chosen])
    causal = kernels.attention(torch.full((1, 1, 101, 1), 1e18), k, v, is_causal=True)
    torch.testing.assert_close(causal, v)
    equal = kernels.attention(torch.full((1, 1, 1, 1), 1e38), torch.full_like(k, -1.0), v, is_causal=False)
    torch.testing.assert_close(equal[0, 0, 0], v[0, 0].mean(0))


@pytest.mark.parametrize("place", ["q", "k", "v"])
def test_not_a_number_stays_one_where_it_is_seen(place: str) -> None:
    """In the layout that hides it best: a key or value of position 60, the query of position 60."""
    vectors = {"q": normal(1, 2, 100, 8), "k": normal(1, 2, 100, 8, seed=2), "v": normal(1, 2, 100, 8, seed=3)}
    vectors[place][0, 1, 60, 3] = torch.nan
    z = kernels.attention(**vectors, is_causal=True)
    seen = z[0, 1, 60:61] if place == "q" else z[0, 1, 60:]
    assert (seen[..., 3] if place == "v" else seen).isnan().all()
    assert z[0, 0].isfinite().all()
    assert z[0, 1, :48].isfinite().all()


FORMS: dict[str, dict[str, object]] = {
    "gpt2": {"norm": "layer", "positions": "learned", "activation": "gelu", "qk_norm": False, "bias": True},
    "sizes apart": {"d_head": 6, "d_value": 3, "n_kv_heads": 2},
    "full": {"attention": "full"},
}


@pytest.mark.parametrize("form", FORMS)
def test_a_model_with_and_without(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits are the same within 1e-6 of the largest; uncached, cached at once, and token by token."""
    settings = {"vocab_size": 50, "context_length": 150, "n_layers": 2, "d_model": 16, "n_heads": 4, **FORMS[form]}
    model: Decoder = random_decoder(ModelConfig(**settings))  # type: ignore[arg-type]
    tokens = torch.randint(50, (2, 130), generator=torch.Generator().manual_seed(1))
    calls: list[str] = []
    monkeypatch.setattr(kernels, "attention", counted(kernels.attention, calls))
    logits = model(tokens)
    assert len(calls) == 2
    monkeypatch.setattr(kernels, "suits_kernels", lambda *x: False)
    expected = model(tokens)
    assert len(calls) == 2
    largest = float(expected.abs().max())
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6 * largest)
    monkeypatch.undo()
    if form != "full":
        state: KVCache = model.start(2)
        at_once = model(tokens[:, :100], state)
        one_by_one = [model(tokens[:, i : i + 1], state) for i in range(100, 130)]
        torch.testing.assert_close(torch.cat([at_once, *one_by_one], 1), logits, rtol=0, atol=1e-5 * largest)


def counted(function: Callable[..., Tensor], calls: list[str]) -> Callable[..., Tensor]:
    def call(*args: object, **keywords: object) -> Tensor:
        calls.append(function.__name__)
        return function(*args, **keywords)

    return call


def test_what_suits_them() -> None:
    assert kernels.suits_kernels(torch.zeros(1))
    assert not kernels.suits_kernels(torch.zeros(1, dtype=torch.bfloat16))
    assert kernels.suits_kernels(torch.zeros(1, requires_grad=True))
    assert not kernels.suits_kernels(torch.zeros(1), torch.zeros(1, dtype=torch.float64))
    assert not kernels.suits_kernels(torch.zeros(1, device="meta"))


@given(n=st.integers(0, 40), scale=st.sampled_from([1e-30, 1e-3, 1.0, 5.0, 1e3, 1e30]), seed=st.integers(0, 1000))
def test_gelu_is_torchs(n: int, scale: float, seed: int) -> None:
    x = normal(n, seed=seed) * scale
    theirs = F.gelu(x.double(), approximate="tanh")
    torch.testing.assert_close(kernels.gelu(x).double(), theirs, atol=1e-7, rtol=1e-6)


def test_gelu_at_the_ends_and_beside_others(threads: int) -> None:
    x = torch.tensor([-torch.inf, -3e38, -10.0, -0.0, 0.0, 10.0, 3e38, torch.inf, torch.nan])
    expected = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 10.0, 3e38, torch.inf, torch.nan])
    torch.testing.assert_close(kernels.gelu(x), expected, equal_nan=True)
    many = normal(5, 40_001).T
    assert not many.is_contiguous()
    torch.testing.assert_close(kernels.gelu(many), F.gelu(many, approximate="tanh"))
    assert torch.equal(kernels.gelu(many)[-3:], kernels.gelu(many[-3:]))
