from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers.generation import logits_process as theirs

from onward.errors import ConfigError
from onward.generation.config import Sampling
from onward.generation.sampler import Sampler

PROMPT = [3, 5, 5]
LOGITS = 2 * torch.randn(10, 40, generator=torch.Generator().manual_seed(1))


def candidates(sampler: Sampler, logits: Tensor) -> Tensor:
    for _, change in sampler._filters:
        logits = change(logits)
    return logits.softmax(-1)


def test_all_filters_in_their_order_are_those_of_transformers() -> None:
    """Ten tokens of a text under every setting that transformers has too."""
    sampling = Sampling(
        repetition_penalty=1.3,
        logit_bias=[(7, 1.5), (8, -2)],
        banned_tokens=[1, 2],
        min_tokens=4,
        temperature=0.8,
        top_k=20,
        top_p=0.9,
        min_p=0.05,
        seed=1,
    )
    expected = theirs.LogitsProcessorList(
        [
            theirs.RepetitionPenaltyLogitsProcessor(1.3),
            theirs.SequenceBiasLogitsProcessor([[[7], 1.5], [[8], -2.0]]),
            theirs.SuppressTokensLogitsProcessor([1, 2]),
            theirs.MinNewTokensLengthLogitsProcessor(3, 4, [0]),
            theirs.TemperatureLogitsWarper(0.8),
            theirs.TopKLogitsWarper(20),
            theirs.TopPLogitsWarper(0.9),
            theirs.MinPLogitsWarper(0.05),
        ]
    )
    sampler, text = Sampler(sampling, PROMPT, 40, ends=[0]), list(PROMPT)
    for logits in LOGITS:
        probabilities = expected(torch.tensor([text]), logits[None]).softmax(-1)[0]
        torch.testing.assert_close(candidates(sampler, logits), probabilities)
        text.append(sampler.choose(logits))
        assert probabilities[text[-1]] > 0


def test_counts_are_of_the_text_and_seen_of_the_prompt_too() -> None:
    sampler = Sampler(Sampling(temperature=0, presence_penalty=1, frequency_penalty=0.5, max_tokens=9), [2], 3)
    flat = torch.tensor([0.9, 0.0, 0.5])
    # 0 loses 1 + 0.5, then 2 does, and then 1; after that all lose the same, and 0.5 more each time they come.
    assert [sampler.choose(flat) for _ in range(6)] == [0, 2, 1, 0, 2, 0]
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=2), [2], 3)
    assert [sampler.choose(torch.tensor([0.9, 0.6, 1.7])) for _ in range(3)] == [0, 2, 2]


@pytest.mark.parametrize(
    ("settings", "token"),
    [
        ({}, 2),
        ({"logit_bias": [(1, 5)]}, 1),
        ({"banned_tokens": [2]}, 0),
        ({"logit_bias": [(1, 5)], "banned_tokens": [1]}, 2),
    ],
)
def test_greedy_choice_obeys_bias_and_bans(settings: dict[str, Any], token: int) -> None:
    assert Sampler(Sampling(temperature=0, **settings), [0], 3).choose(torch.tensor([1.0, 0.0, 2.0])) == token


def test_greedy_takes_the_first_of_equals() -> None:
    assert Sampler(Sampling(temperature=0), [0], 3).choose(torch.zeros(3)) == 0


@settings(max_examples=15)
@given(st.integers(0, 2**63 - 1), st.integers(0, 127))
def test_a_seed_decides_every_draw(seed: int, sample: int) -> None:
    def drawn(seed: int, sample: int) -> list[int]:
        sampler = Sampler(Sampling(seed=seed, temperature=1), [0], 40, sample=sample)
        return [sampler.choose(logits) for logits in LOGITS]

    assert drawn(seed, sample) == drawn(seed, sample)
    assert drawn(seed, sample) != drawn(seed, sample + 1)


def test_draws_follow_the_candidates() -> None:
    sampler = Sampler(Sampling(temperature=0.7, top_k=4, seed=1), [0], 40)
    shares = torch.tensor([sampler.choose(LOGITS[0]) for _ in range(800)]).bincount(minlength=40) / 800
    torch.testing.assert_close(shares, candidates(sampler, LOGITS[0]), atol=0.06, rtol=0)


def test_bans_that_leave_nothing() -> None:
    with pytest.raises(ConfigError, match="leave no token to choose"):
        Sampler(Sampling(banned_tokens=[0, 1], temperature=1), [0], 2).choose(torch.zeros(2))


# ---- why this token? ----


def explained(**settings: Any) -> tuple[Sampler, int]:
    pieces = "abcdefgh"
    sampler = Sampler(
        Sampling(explain=True, seed=1, **settings), [0], 4, ends=[3], pieces=lambda ids: [pieces[i] for i in ids]
    )
    return sampler, sampler.choose(torch.tensor([0.4, 0.3, 0.2, 0.1]).log())


def test_every_step_says_what_it_removed() -> None:
    sampler, token = explained(banned_tokens=[1], temperature=0.5, top_k=2, min_p=0.5)
    (why,) = sampler.explanations
    assert [step.setting for step in why.steps] == ["banned_tokens", "temperature = 0.5", "top_k = 2", "min_p = 0.5"]
    assert [(step.n_before, step.n_after) for step in why.steps] == [(4, 3), (3, 3), (3, 2), (2, 1)]
    assert [[gone.text for gone in step.removed] for step in why.steps] == [["b"], [], ["d"], ["c"]]
    assert [step.removed_probability for step in why.steps] == pytest.approx([0.3, 0, 1 / 21, 0.2])
    before, after = why.steps[1].before, why.steps[1].after
    assert [one.probability for one in before] == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    assert [one.probability for one in after] == pytest.approx([16 / 21, 4 / 21, 1 / 21])
    assert [one.probability for one in why.model] == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert (token, why.token, why.text, why.probability, why.n_candidates) == (0, 0, "a", 1.0, 1)


def test_an_explanation_reads_as_a_table() -> None:
    sampler, _ = explained(min_tokens=2, temperature=1, top_k=1)
    assert str(sampler.explanations[0]) == "\n".join(
        [
            "'a' (0), probability 1.000 among 1",
            "  the model                           'a' 0.400 · 'b' 0.300 · 'c' 0.200 · 'd' 0.100",
            "  min_tokens = 2                   3  'a' 0.444 · 'b' 0.333 · 'c' 0.222",
            "                                      1 removed, 0.100 together: 'd' 0.100",
            "  top_k = 1                        1  'a' 1.000",
            "                                      2 removed, 0.556 together: 'b' 0.333 · 'c' 0.222",
        ]
    )


def test_explaining_changes_nothing() -> None:
    same: dict[str, Any] = {"seed": 1, "top_p": 0.8, "repetition_penalty": 1.5}
    plain, explained = (Sampler(Sampling(explain=explain, **same), PROMPT, 40) for explain in (False, True))
    assert [plain.choose(logits) for logits in LOGITS] == [explained.choose(logits) for logits in LOGITS]
