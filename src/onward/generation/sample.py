"""Which token comes next: penalties, temperature, top-k, top-p, min-p and the draw, as pure functions on logits."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_LOOKS = (256, 4096)


def penalise_repetition(
    logits: Float[Tensor, "*batch vocab"], seen: Bool[Tensor, "*batch vocab"], penalty: float
) -> Float[Tensor, "*batch vocab"]:
    """Make the tokens in `seen` less likely, for a penalty above 1: positive logits are divided by it.

    Source: Keskar et al., CTRL, 2019, section 4.1. A negative logit, which a division would raise, is multiplied
    instead, as everybody has done since.

    >>> penalise_repetition(torch.tensor([1.0, -1.0, 1.0]), torch.tensor([True, True, False]), 2.0).tolist()
    [0.5, -2.0, 1.0]
    """
    return torch.where(seen, torch.where(logits > 0, logits / penalty, logits * penalty), logits)


def penalise_counts(
    logits: Float[Tensor, "*batch vocab"],
    counts: Float[Tensor, "*batch vocab"],
    *,
    presence: float = 0.0,
    frequency: float = 0.0,
) -> Float[Tensor, "*batch vocab"]:
    """Subtract `presence` from each token that was written before, and `frequency` for every time that it was.

    Source: the OpenAI API reference, "Frequency and presence penalties".

    >>> penalise_counts(torch.zeros(3), torch.tensor([0.0, 1.0, 3.0]), presence=0.5, frequency=0.25).tolist()
    [0.0, -0.75, -1.25]
    """
    return logits - frequency * counts - presence * (counts > 0)


def with_temperature(logits: Float[Tensor, "*batch vocab"], temperature: float) -> Float[Tensor, "*batch vocab"]:
    """The logits, less the largest of them, divided by a temperature above 0.

    >>> with_temperature(torch.tensor([1.0, 3.0]), 0.5).tolist()
    [-4.0, 0.0]
    """
    # A largest logit of 0 and a factor below infinity: no temperature makes anything not a number.
    factor = min(1 / temperature, torch.finfo(logits.dtype).max)
    return (logits - logits.amax(dim=-1, keepdim=True)).mul_(factor)


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
    if p >= 1:
        return logits
    vocab_size = logits.shape[-1]
    total = logits.logsumexp(dim=-1, keepdim=True)
    # The likeliest few hundred nearly always reach p, and to find them takes a twentieth of the time that a sort does.
    for n_looked_at in (*_LOOKS, vocab_size):
        values, tokens = logits.topk(min(n_looked_at, vocab_size), dim=-1)
        probabilities = (values - total).exp()
        reached_before = probabilities.cumsum(dim=-1, dtype=torch.float64) - probabilities >= p
        if bool(reached_before[..., -1].all()):
            break
    reached_before[..., 0] = False
    return torch.full_like(logits, -torch.inf).scatter(-1, tokens, values.masked_fill(reached_before, -torch.inf))


def keep_min_p(logits: Float[Tensor, "*batch vocab"], p: float) -> Float[Tensor, "*batch vocab"]:
    """The logits of tokens at least p times as probable as the likeliest one, all others -inf.

    Source: Nguyen et al., Turning Up the Heat: Min-p Sampling for Creative and Coherent LLM Outputs, 2024.

    >>> keep_min_p(torch.tensor([2.0, 1.0, 0.0]), 0.3).tolist()
    [2.0, 1.0, -inf]
    """
    probabilities = logits.softmax(dim=-1)
    return logits.masked_fill(probabilities < p * probabilities.amax(dim=-1, keepdim=True), -torch.inf)


def draw(probabilities: Float[Tensor, "*batch vocab"], chance: Float[Tensor, "*batch 1"]) -> Int[Tensor, "*batch 1"]:
    """The first token at which the probabilities, added up, exceed `chance`, a number from 0 to below 1.

    >>> draw(torch.tensor([0.25, 0.0, 0.75]), torch.tensor([0.25])).tolist()
    [2]
    """
    reached = probabilities.cumsum(dim=-1, dtype=torch.float64)
    total = reached[..., -1:]
    # Below the total even where rounding would lift it there: what lies beyond the last possible token is never drawn.
    below = torch.minimum(chance.double() * total, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(reached, below, right=True)
