"""Which token comes next: temperature, top-k and top-p, as pure functions on logits."""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from onward.errors import ConfigError, NonFiniteError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Raises:
        ConfigError: a value out of its range.
    """

    temperature: float = 0.8
    """Logits are divided by it: below 1 the likely gets likelier; 0 always takes the likeliest."""
    top_k: int | None = None
    """Keep the k likeliest tokens."""
    top_p: float | None = None
    """Keep the fewest likeliest tokens whose probabilities reach p together."""
    seed: int | None = None
    """The same seed gives the same text; None: another text each time."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ConfigError(f"temperature must be 0 (greedy) or above; got {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError(f"top_k must be at least 1; got {self.top_k}")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ConfigError(f"top_p must be above 0 and at most 1; got {self.top_p}")
        if self.seed is not None and not 0 <= self.seed < 1 << 63:
            raise ConfigError(f"seed must be at least 0 and below 2**63; got {self.seed}")


def keep_top_k(logits: Float[Tensor, "*batch vocab"], k: int) -> Float[Tensor, "*batch vocab"]:
    """The k largest logits as they are, all others -inf; of equal ones, as many as make k.

    >>> keep_top_k(torch.tensor([1.0, 3.0, 2.0]), 2).tolist()
    [-inf, 3.0, 2.0]
    """
    values, tokens = logits.topk(min(k, logits.shape[-1]), dim=-1)
    return torch.full_like(logits, -torch.inf).scatter(-1, tokens, values)


def keep_top_p(logits: Float[Tensor, "*batch vocab"], p: float) -> Float[Tensor, "*batch vocab"]:
    """The fewest largest logits whose probabilities sum to p or more, all others -inf.

    Source: Holtzman et al., The Curious Case of Neural Text Degeneration, 2019 (nucleus sampling).

    >>> keep_top_p(torch.tensor([2.0, 1.0, 0.0]), 0.7).tolist()
    [2.0, 1.0, -inf]
    """
    values, tokens = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = values.softmax(dim=-1)
    reached_before = probabilities.cumsum(dim=-1) - probabilities >= p
    reached_before[..., 0] = False
    return torch.full_like(logits, -torch.inf).scatter(-1, tokens, values.masked_fill(reached_before, -torch.inf))


def next_probabilities(logits: Float[Tensor, "*batch vocab"], sampling: Sampling) -> Float[Tensor, "*batch vocab"]:
    """The distribution that the next token is drawn from; at temperature 0, all on the first of the largest logits."""
    logits = logits.double()  # so that no temperature above 0 makes a logit infinite or not a number
    if sampling.temperature == 0:
        return torch.nn.functional.one_hot(logits.argmax(dim=-1), logits.shape[-1]).double()
    logits = (logits - logits.amax(dim=-1, keepdim=True)) / sampling.temperature
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = keep_top_p(logits, sampling.top_p)
    return logits.softmax(dim=-1)


def choose(logits: Float[Tensor, "batch vocab"], sampling: Sampling, random: torch.Generator) -> Int[Tensor, " batch"]:
    """Draw the next token of each row.

    Raises:
        NonFiniteError: a logit is not a number, or all are -inf: the weights are broken.
    """
    if not logits.amax(dim=-1).isfinite().all():
        raise NonFiniteError("the model's logits are not finite: its weights are broken; load another checkpoint")
    return torch.multinomial(next_probabilities(logits, sampling), 1, generator=random).squeeze(-1)
