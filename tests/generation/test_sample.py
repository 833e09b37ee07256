from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from onward.generation.sample import (
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise_counts,
    penalise_repetition,
    with_temperature,
)

PROBABILITIES = torch.tensor([0.1, 0.4, 0.2, 0.3])
LOGITS = PROBABILITIES.log()
RANDOM_LOGITS = 3 * torch.randn(4, 1000, generator=torch.Generator().manual_seed(1))
LONG_LOGITS = 3 * torch.randn(4, 10_000, generator=torch.Generator().manual_seed(1))
NO_TOKENS = torch.zeros(4, 0, dtype=torch.long)

logit_vectors = arrays("float32", st.integers(1, 30), elements=st.floats(-30, 30, width=32)).map(torch.from_numpy)


def kept(logits: Tensor) -> list[int]:
    return logits.isfinite().nonzero().flatten().tolist()


# ---- against transformers ----


@pytest.mark.parametrize("k", [1, 7, 999, 5000])
def test_top_k_is_transformers(k: int) -> None:
    assert torch.equal(keep_top_k(RANDOM_LOGITS, k), TopKLogitsWarper(k)(NO_TOKENS, RANDOM_LOGITS))


@pytest.mark.parametrize("spread", [0.01, 1, 3])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.9, 0.999])
def test_top_p_is_transformers(p: float, spread: float) -> None:
    """A small spread keeps more than the first look sees, and then more than the second."""
    logits = spread * LONG_LOGITS.double()  # in float32 their sums of 10,000 numbers are rounded at the edge
    assert torch.equal(keep_top_p(logits, p), TopPLogitsWarper(p)(NO_TOKENS, logits))


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 1.0])
def test_min_p_is_transformers(p: float) -> None:
    assert torch.equal(keep_min_p(RANDOM_LOGITS, p), MinPLogitsWarper(p)(NO_TOKENS, RANDOM_LOGITS))


@pytest.mark.parametrize("penalty", [0.5, 1.3, 5.0])
def test_repetition_penalty_is_transformers(penalty: float) -> None:
    tokens = torch.tensor([[1, 2, 2], [3, 3, 3], [0, 999, 5], [7, 8, 9]])
    seen = torch.zeros(4, 1000, dtype=torch.bool).scatter(1, tokens, value=True)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(tokens, RANDOM_LOGITS)
    assert torch.equal(penalise_repetition(RANDOM_LOGITS, seen, penalty), expected)


@pytest.mark.parametrize("temperature", [0.1, 0.7, 1.0, 4.0])
def test_temperature_is_transformers(temperature: float) -> None:
    expected = TemperatureLogitsWarper(temperature)(NO_TOKENS, RANDOM_LOGITS).softmax(-1)
    torch.testing.assert_close(with_temperature(RANDOM_LOGITS, temperature).softmax(-1), expected)


# ---- by hand ----


def test_softmax_with_temperature_by_hand() -> None:
    """At temperature 1/2 the probabilities are squared, and made to sum to 1 again."""
    expected = torch.tensor([0.01, 0.16, 0.04, 0.09]) / 0.3
    torch.testing.assert_close(with_temperature(LOGITS, 0.5).softmax(-1), expected)


@pytest.mark.parametrize("temperature", [1e-300, 5e-324, 1e-40])
def test_tiny_temperatures_do_not_overflow(temperature: float) -> None:
    logits = torch.tensor([1e4, -1e4, 9.9e3, -torch.inf, 1e4])
    assert with_temperature(logits, temperature).softmax(-1).tolist() == [0.5, 0, 0, 0, 0.5]


def test_huge_temperatures_make_all_equal() -> None:
    torch.testing.assert_close(with_temperature(LOGITS, 1e300).softmax(-1), torch.full((4,), 0.25))


def test_frequency_and_presence_by_hand() -> None:
    """OpenAI: logit - count * frequency_penalty - (count > 0) * presence_penalty."""
    counts = torch.tensor([0.0, 1.0, 4.0, 0.0])
    changed = penalise_counts(torch.full((4,), 2.0), counts, presence=0.5, frequency=-0.25)
    assert changed.tolist() == [2.0, 1.75, 2.5, 2.0]


@pytest.mark.parametrize(
    ("p", "tokens"), [(0.1, [1]), (0.39, [1]), (0.5, [1, 3]), (0.75, [1, 2, 3]), (1.0, [0, 1, 2, 3])]
)
def test_top_p_keeps_the_fewest_that_reach_p(p: float, tokens: list[int]) -> None:
    assert kept(keep_top_p(LOGITS, p)) == tokens


@pytest.mark.parametrize(("p", "tokens"), [(0.2, [0, 1, 2, 3]), (0.3, [1, 2, 3]), (0.6, [1, 3]), (1.0, [1])])
def test_min_p_is_a_share_of_the_likeliest(p: float, tokens: list[int]) -> None:
    assert kept(keep_min_p(LOGITS, p)) == tokens


@pytest.mark.parametrize(
    ("chance", "token"), [(0.0, 0), (0.09, 0), (0.11, 1), (0.49, 1), (0.51, 2), (0.71, 3), (1.0, 3)]
)
def test_a_chance_falls_into_the_share_of_a_token(chance: float, token: int) -> None:
    assert draw(PROBABILITIES, torch.tensor([chance])).tolist() == [token]


def test_draws_follow_the_probabilities() -> None:
    chances = torch.rand(20_000, 1, generator=torch.Generator().manual_seed(1))
    shares = draw(PROBABILITIES.expand(20_000, 4), chances).flatten().bincount(minlength=4) / 20_000
    torch.testing.assert_close(shares, PROBABILITIES, atol=0.015, rtol=0)


# ---- properties ----


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0, 2.5]), min_size=1, max_size=20), st.integers(1, 25))
def test_top_k_keeps_k_and_none_smaller_than_one_left_out(values: list[float], k: int) -> None:
    logits = torch.tensor(values)
    mask = keep_top_k(logits, k).isfinite()
    assert int(mask.sum()) == min(k, len(values))
    if not mask.all():
        assert logits[mask].min() >= logits[~mask].max()


@given(logit_vectors, st.floats(0.001, 1))
def test_top_p_reaches_p_and_would_not_with_one_less(logits: Tensor, p: float) -> None:
    probabilities = logits.double().softmax(-1)
    mask = keep_top_p(logits, p).isfinite()
    assert probabilities[mask].sum() >= p - 1e-6
    if p < 1:
        assert probabilities[mask].sum() - probabilities[mask].min() < p + 1e-6
    if not mask.all():
        assert logits[mask].min() >= logits[~mask].max()


@given(logit_vectors, st.floats(0.001, 1))
def test_min_p_always_keeps_the_likeliest_and_changes_no_logit(logits: Tensor, p: float) -> None:
    changed = keep_min_p(logits, p)
    assert changed[logits.argmax()] == logits.max()
    assert torch.equal(changed[changed.isfinite()], logits[changed.isfinite()])


@given(logit_vectors, st.floats(1e-12, 1e12))
def test_temperature_keeps_the_order(logits: Tensor, temperature: float) -> None:
    changed = with_temperature(logits, temperature)
    assert not changed.isnan().any()
    order = logits.argsort(stable=True)
    assert (changed[order].diff() >= 0).all()


@given(logit_vectors, st.floats(0, 1, exclude_max=True), st.integers(1, 5))
def test_a_draw_never_takes_what_is_impossible(logits: Tensor, chance: float, k: int) -> None:
    probabilities = keep_top_k(logits, k).softmax(-1)
    token = int(draw(probabilities, torch.tensor([chance], dtype=torch.float64)))
    assert probabilities[token] > 0
