from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onward.errors import ConfigError, NonFiniteError
from onward.generation.sample import Sampling, choose, keep_top_k, keep_top_p, next_probabilities

LOGITS = torch.tensor([0.1, 0.4, 0.2, 0.3]).log()


def test_softmax_with_temperature_by_hand() -> None:
    """At temperature 1/2 the probabilities are squared, and made to sum to 1 again."""
    expected = torch.tensor([0.01, 0.16, 0.04, 0.09], dtype=torch.float64) / 0.3
    torch.testing.assert_close(next_probabilities(LOGITS, Sampling(temperature=0.5)), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(next_probabilities(LOGITS, Sampling(temperature=1)), LOGITS.double().exp())


def test_temperature_0_is_greedy_and_takes_the_first_of_equals() -> None:
    assert next_probabilities(LOGITS, Sampling(temperature=0)).tolist() == [0, 1, 0, 0]
    assert next_probabilities(torch.zeros(3), Sampling(temperature=0)).tolist() == [1, 0, 0]


def test_tiny_temperatures_do_not_overflow() -> None:
    probabilities = next_probabilities(torch.tensor([1e4, -1e4, 9.9e3]), Sampling(temperature=1e-300))
    assert probabilities.tolist() == [1, 0, 0]


@pytest.mark.parametrize(("p", "kept"), [(0.1, [1]), (0.4, [1]), (0.5, [1, 3]), (0.75, [1, 2, 3]), (1.0, [0, 1, 2, 3])])
def test_top_p_keeps_the_fewest_that_reach_p(p: float, kept: list[int]) -> None:
    assert keep_top_p(LOGITS, p).isfinite().nonzero().flatten().tolist() == kept


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0, 2.5]), min_size=1, max_size=20), st.integers(1, 25))
def test_top_k_keeps_k_and_none_smaller_than_one_left_out(values: list[float], k: int) -> None:
    logits = torch.tensor(values)
    kept = keep_top_k(logits, k).isfinite()
    assert int(kept.sum()) == min(k, len(values))
    if not kept.all():
        assert logits[kept].min() >= logits[~kept].max()


def test_draws_follow_the_probabilities() -> None:
    random = torch.Generator().manual_seed(1)
    draws = choose(LOGITS.expand(20_000, 4), Sampling(temperature=1), random)
    shares = draws.bincount(minlength=4) / 20_000
    torch.testing.assert_close(shares, LOGITS.exp(), atol=0.015, rtol=0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": -1.0}, "temperature must be 0"),
        ({"temperature": math.nan}, "temperature must be 0"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"top_p": 0.0}, "top_p must be above 0"),
        ({"top_p": 1.1}, "top_p must be above 0"),
        ({"seed": 10**20}, "seed must be at least 0 and below"),
    ],
)
def test_values_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Sampling(**settings)  # type: ignore[arg-type]


def test_logits_that_are_not_finite() -> None:
    for logits in (torch.tensor([[0.0, math.nan]]), torch.full((1, 3), -torch.inf), torch.tensor([[torch.inf, 0.0]])):
        with pytest.raises(NonFiniteError, match="logits are not finite"):
            choose(logits, Sampling(), torch.Generator())
