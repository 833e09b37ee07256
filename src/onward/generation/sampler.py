"""The tokens of one text, chosen one after the other as its Sampling says."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from onward.errors import ConfigError
from onward.generation.completion import TokenLogprobs
from onward.generation.config import Sampling
from onward.generation.explain import Explanation, FilterStep, explain_step, likeliest
from onward.generation.sample import (
    draw,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise_counts,
    penalise_repetition,
    with_temperature,
)

Filter = tuple[str, Callable[[Tensor], Tensor]]


class Sampler:
    """Chooses the tokens of one text, and remembers what the penalties and the draw depend on.

    Args:
        sampling: the settings.
        prompt: the tokens before the text.
        vocab_size: how many tokens there are to choose from.
        ends: the tokens that end the text.
        sample: which of the `n` texts of a prompt this is; each has chances of its own.
        pieces: gives the texts of tokens, for explanations.
    """

    def __init__(
        self,
        sampling: Sampling,
        prompt: Sequence[int],
        vocab_size: int,
        ends: Sequence[int] = (),
        *,
        sample: int = 0,
        pieces: Callable[[list[int]], list[str]] | None = None,
    ) -> None:
        sampling.check_vocabulary(vocab_size)
        self.sampling = sampling
        self.n_tokens = 0
        self.logprobs: list[TokenLogprobs] = []
        self.explanations: list[Explanation] = []
        self._pieces = pieces or (lambda tokens: [""] * len(tokens))
        # Python's generator gives the same numbers on every machine and costs a thousandth of a kernel call.
        self._random = random.Random(None if sampling.seed is None else f"{sampling.seed} {sample}")  # a str: SHA-512
        self._counts_matter = sampling.repetition_penalty != 1 or bool(
            sampling.presence_penalty or sampling.frequency_penalty
        )
        if self._counts_matter:
            self._seen = torch.zeros(vocab_size, dtype=torch.bool)
            self._seen[list(prompt)] = True
            self._counts = torch.zeros(vocab_size)
        self._filters = [*self._shifts(vocab_size, ends), *self._cuts()]

    def choose(self, logits: Float[Tensor, " vocab"]) -> int:
        """The next token.

        Raises:
            ConfigError: the banned tokens leave nothing to choose.
        """
        raw, steps = logits, list[FilterStep]()
        for setting, change in self._filters:
            changed = change(logits)
            if self.sampling.explain and changed is not logits:
                steps.append(explain_step(setting, logits, changed, self._pieces))
            logits = changed
        token = self._draw(logits)
        if self.sampling.logprobs is not None:
            self.logprobs.append(_logprobs(raw, token, self.sampling.logprobs))
        if self.sampling.explain:
            self.explanations.append(self._explain(raw, logits, token, steps))
        self.n_tokens += 1
        if self._counts_matter:
            self._seen[token] = True
            self._counts[token] += 1
        return token

    def _draw(self, logits: Float[Tensor, " vocab"]) -> int:
        token = int(logits.argmax())
        if not logits[token] > -torch.inf:  # -inf, or not a number once it is divided
            raise ConfigError("banned_tokens and min_tokens leave no token to choose; ban fewer")
        if self.sampling.temperature == 0:
            return token
        chance = torch.tensor([self._random.random()], dtype=torch.float64)
        return int(draw(logits.softmax(dim=-1), chance))

    def _explain(self, raw: Tensor, logits: Tensor, token: int, steps: list[FilterStep]) -> Explanation:
        greedy = self.sampling.temperature == 0
        return Explanation(
            token=token,
            text=self._pieces([token])[0],
            model=likeliest(raw.softmax(dim=-1), self._pieces),
            steps=tuple(steps),
            probability=1.0 if greedy else float(logits.softmax(dim=-1)[token]),
            n_candidates=1 if greedy else int(logits.isfinite().sum()),
        )

    def _shifts(self, vocab_size: int, ends: Sequence[int]) -> list[Filter]:
        """What moves logits, each token's on its own."""
        s, filters = self.sampling, list[Filter]()
        if s.repetition_penalty != 1:
            name = f"repetition_penalty = {s.repetition_penalty:g}"
            filters.append((name, lambda logits: penalise_repetition(logits, self._seen, s.repetition_penalty)))
        if s.presence_penalty:
            name = f"presence_penalty = {s.presence_penalty:g}"
            filters.append((name, lambda logits: penalise_counts(logits, self._counts, presence=s.presence_penalty)))
        if s.frequency_penalty:
            name = f"frequency_penalty = {s.frequency_penalty:g}"
            filters.append((name, lambda logits: penalise_counts(logits, self._counts, frequency=s.frequency_penalty)))
        if s.logit_bias:
            bias = torch.zeros(vocab_size)
            for token, value in s.logit_bias:
                bias[token] += value
            filters.append(("logit_bias", lambda logits: logits + bias))
        if s.banned_tokens:
            banned = torch.tensor(s.banned_tokens)
            filters.append(("banned_tokens", lambda logits: logits.index_fill(-1, banned, -torch.inf)))
        if s.min_tokens and ends:
            banned_at_first = torch.tensor(ends)

            def keep_writing(logits: Tensor) -> Tensor:
                return logits.index_fill(-1, banned_at_first, -torch.inf) if self.n_tokens < s.min_tokens else logits

            filters.append((f"min_tokens = {s.min_tokens}", keep_writing))
        return filters

    def _cuts(self) -> list[Filter]:
        """What shapes the distribution that is drawn from; greedy choice has none."""
        s, filters = self.sampling, list[Filter]()
        if s.temperature == 0:
            return filters
        if s.temperature != 1:
            filters.append((f"temperature = {s.temperature:g}", lambda logits: with_temperature(logits, s.temperature)))
        if s.top_k is not None:
            top_k = s.top_k
            filters.append((f"top_k = {top_k}", lambda logits: keep_top_k(logits, top_k)))
        if s.top_p is not None:
            top_p = s.top_p
            filters.append((f"top_p = {top_p:g}", lambda logits: keep_top_p(logits, top_p)))
        if s.min_p is not None:
            min_p = s.min_p
            filters.append((f"min_p = {min_p:g}", lambda logits: keep_min_p(logits, min_p)))
        return filters


def _logprobs(logits: Float[Tensor, " vocab"], token: int, n_best: int) -> TokenLogprobs:
    logprobs = logits.log_softmax(dim=-1)
    values, tokens = logprobs.topk(min(n_best, logits.shape[-1]))
    best = dict(zip(tokens.tolist(), values.tolist(), strict=True))
    return TokenLogprobs(token=token, logprob=float(logprobs[token]), best=best)
