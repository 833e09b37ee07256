"""What generation returns beside the plain text."""

from __future__ import annotations

import dataclasses
from typing import Literal

from onward.generation.explain import Explanation

FinishReason = Literal["stop", "length"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenLogprobs:
    """The log-probability of a chosen token, and the likeliest ones, as the model gave them before any setting."""

    token: int
    logprob: float
    best: dict[int, float]
    """The likeliest tokens and their log-probabilities, the likeliest first."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Completion:
    """One text that a model wrote after a prompt."""

    prompt: list[int]
    """The tokens of the prompt, the one that begins a document among them."""
    text: str
    """Without the prompt, and without what ended it; empty for a model without a tokenizer."""
    tokens: list[int]
    """All tokens that were chosen, those of a stop string too, but not the token that ended the text."""
    finish_reason: FinishReason
    """`stop`: by a token that ends a text, or a stop string; `length`: by max_tokens."""
    logprobs: list[TokenLogprobs] | None = None
    """One for each of `tokens`, where they were asked for."""
    explanations: list[Explanation] | None = None
    """One for each of `tokens` and for the token that ended the text, where they were asked for."""
    score: float | None = None
    """What beam search ranked it by."""
