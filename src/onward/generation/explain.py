"""Why this token? What each setting of Sampling made of the candidates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

_MOST_SHOWN = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Candidate:
    """A token, its text, and how probable it is; the text is empty where there is no tokenizer."""

    token: int
    text: str
    probability: float

    def __str__(self) -> str:
        return f"{self.text!r} {self.probability:.3f}" if self.text else f"{self.token} {self.probability:.3f}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FilterStep:
    """What one setting did: the likeliest candidates before and after it, and those that it removed."""

    setting: str
    n_before: int
    n_after: int
    before: tuple[Candidate, ...]
    after: tuple[Candidate, ...]
    removed: tuple[Candidate, ...]
    """The likeliest of those removed, with their probabilities before."""
    removed_probability: float
    """What all that were removed had together."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a token was chosen: every step from what the model said to the candidates of the draw."""

    token: int
    text: str
    model: tuple[Candidate, ...]
    """The likeliest tokens as the model gave them."""
    steps: tuple[FilterStep, ...]
    probability: float
    """Of the chosen token, in the draw."""
    n_candidates: int
    """How many tokens the draw was among."""

    def __str__(self) -> str:
        chosen = repr(self.text) if self.text else "token"
        lines = [f"{chosen} ({self.token}), probability {self.probability:.3f} among {self.n_candidates:,}"]
        lines.append(f"  {'the model':<26} {'':>7}  {_row(self.model)}")
        for step in self.steps:
            lines.append(f"  {step.setting:<26} {step.n_after:>7,}  {_row(step.after)}")
            if step.removed:
                removed = f"{step.n_before - step.n_after:,} removed, {step.removed_probability:.3f} together"
                lines.append(f"  {'':<26} {'':>7}  {removed}: {_row(step.removed)}")
        return "\n".join(lines)


def explain_step(
    setting: str,
    before: Float[Tensor, " vocab"],
    after: Float[Tensor, " vocab"],
    pieces: Callable[[list[int]], list[str]],
) -> FilterStep:
    """What a setting made of the logits `before`; a logit of -inf is no candidate."""
    probabilities = before.softmax(dim=-1)
    gone = before.isfinite() & ~after.isfinite()
    return FilterStep(
        setting=setting,
        n_before=int(before.isfinite().sum()),
        n_after=int(after.isfinite().sum()),
        before=likeliest(probabilities, pieces),
        after=likeliest(after.softmax(dim=-1), pieces),
        removed=likeliest(torch.where(gone, probabilities, 0), pieces),
        removed_probability=float(probabilities[gone].sum()),
    )


def likeliest(
    probabilities: Float[Tensor, " vocab"], pieces: Callable[[list[int]], list[str]], n: int = _MOST_SHOWN
) -> tuple[Candidate, ...]:
    """The n likeliest tokens, the impossible left out."""
    values, tokens = probabilities.topk(min(n, probabilities.shape[-1]))
    tokens = tokens[values > 0]
    named = zip(tokens.tolist(), pieces(tokens.tolist()), values.tolist(), strict=False)
    return tuple(Candidate(token=token, text=text, probability=value) for token, text, value in named)


def _row(candidates: tuple[Candidate, ...]) -> str:
    return " · ".join(str(candidate) for candidate in candidates)
