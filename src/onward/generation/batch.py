"""Texts that are written together; each may begin and end while others go on."""

from __future__ import annotations

import itertools
import numbers
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from onward.errors import ConfigError, ContextLengthError, DataError, NonFiniteError
from onward.generation.completion import Completion, FinishReason
from onward.generation.config import Sampling
from onward.generation.sampler import Sampler
from onward.generation.text import TextStream
from onward.model.language_model import LanguageModel

_MOST_PREFILL_TOKENS = 8192  # in one pass, so that many long prompts do not need memory for all at once


class Row:
    """One text that is being written.

    Args:
        model: who writes it.
        prompt: the tokens before the text.
        sampling: how it is written.
        sample: which of the n texts of the prompt it is.

    Raises:
        ContextLengthError: the prompt is longer than the context, or the text may become so and must not.
        DataError: an id in the prompt that the model does not have.
        ConfigError: an empty prompt, or settings that the model cannot follow.
    """

    def __init__(self, model: LanguageModel, prompt: Sequence[int], sampling: Sampling, sample: int = 0) -> None:
        check_prompt(model, prompt)
        if sampling.context == "refuse":
            check_room(model, prompt, sampling.max_tokens)
        if sampling.stop and model.tokenizer is None:
            raise ConfigError("stop strings need a model with a tokenizer; this one has none: use stop_tokens")
        self.prompt, self.sampling = list(prompt), sampling
        self.tokens: list[int] = []
        self.text = ""
        self.finish_reason: FinishReason | None = None
        self.n_seen = 0
        """How many tokens the model remembers of it."""
        self._ends = end_tokens(model, sampling.stop_tokens)
        self._shown = None if model.tokenizer is None else TextStream(model.tokenizer, sampling.stop)
        pieces = None if model.tokenizer is None else model.tokenizer.pieces
        self._sampler = Sampler(sampling, prompt, n_choices(model), self._ends, sample=sample, pieces=pieces)

    def take(self, logits: Float[Tensor, " vocab"]) -> str:
        """Choose the next token; the text that may be shown then."""
        token = self._sampler.choose(logits)
        if token in self._ends:
            self.finish_reason, piece = "stop", ""
        else:
            self.tokens.append(token)
            piece = "" if self._shown is None else self._shown.push(token)
            if len(self.tokens) == self.sampling.max_tokens:
                self.finish_reason = "length"
        if self._shown is not None and self.finish_reason is not None:
            piece += self._shown.finish()
        if self._shown is not None and self._shown.stopped:
            self.finish_reason = "stop"
        self.text += piece
        return piece

    def unseen(self, context_length: int) -> list[int]:
        """The tokens that the model is to read next; from the last half of the context on, if it was full."""
        if self.n_seen:
            return self.tokens[-1:]
        text = self.prompt + self.tokens
        return text if len(text) <= context_length else text[-max(context_length // 2, 1) :]

    def completion(self) -> Completion:
        """What was written."""
        assert self.finish_reason is not None
        return Completion(
            prompt=self.prompt,
            text=self.text,
            tokens=self.tokens,
            finish_reason=self.finish_reason,
            logprobs=None if self.sampling.logprobs is None else self._sampler.logprobs[: len(self.tokens)],
            explanations=self._sampler.explanations if self.sampling.explain else None,
        )


class Batch:
    """Rows that are decoded together, each as if it were alone; they join and leave between steps.

    The state of the model must offer `select` and `append` (see LanguageModel), unless there is never more than one
    row.
    """

    def __init__(self, model: LanguageModel) -> None:
        self.model = model
        self.rows: list[Row] = []
        self._joining: list[Row] = []
        self._state: Any = None

    def __len__(self) -> int:
        return len(self.rows) + len(self._joining)

    def add(self, rows: Iterable[Row]) -> None:
        """Let rows join at the next step."""
        self._joining += rows

    def remove(self, gone: Collection[Row]) -> None:
        """Let rows leave, finished or not."""
        self._joining = [row for row in self._joining if row not in gone]
        kept = [i for i, row in enumerate(self.rows) if row not in gone]
        if len(kept) < len(self.rows):
            self.rows = [self.rows[i] for i in kept]
            self._state = self._state.select(kept) if kept else None

    @torch.inference_mode()
    def step(self) -> list[tuple[Row, str]]:
        """Write one token in every row; each row with the text that it lets show. Finished rows leave.

        Raises:
            NonFiniteError: the model's logits are not numbers.
            ConfigError: a row's settings leave no token to choose.
        """
        full = [row for row in self.rows if row.n_seen >= self.model.context_length]
        self.remove(full)
        self.add(full)
        for row in full:
            row.n_seen = 0
        logits = [self._read(self._state, self.rows)] if self.rows else []
        logits += [self._join(copies) for copies in _passes(self._joining, self.model.context_length)]
        self._joining = []
        of_rows = itertools.chain.from_iterable(logits)
        written = [(row, row.take(row_logits)) for row, row_logits in zip(self.rows, of_rows, strict=True)]
        self.remove([row for row in self.rows if row.finish_reason is not None])
        return written

    def _read(self, state: Any, rows: list[Row]) -> Float[Tensor, "batch vocab"]:
        """Give the model what it has not seen of these rows, of the same length in all of them."""
        tokens = [row.unseen(self.model.context_length) for row in rows]
        for row in rows:
            row.n_seen += len(tokens[0])
        return next_logits(self.model, tokens, state)

    def _join(self, copies: list[list[Row]]) -> Float[Tensor, "batch vocab"]:
        """Read one prompt for all the rows that share it, and take the rows in."""
        firsts = [same[0] for same in copies]
        state = self.model.start(len(firsts))
        logits = self._read(state, firsts)
        rows = [row for same in copies for row in same]
        if len(firsts) < len(rows):
            order = [number for number, same in enumerate(copies) for _ in same]
            state, logits = state.select(order), logits[order]
        for row in rows:
            row.n_seen = firsts[0].n_seen
        if self.rows:
            self._state.append(state)
        else:
            self._state = state
        self.rows += rows
        return logits


def end_tokens(model: LanguageModel, stop_tokens: Sequence[int]) -> list[int]:
    """The tokens that end a text: those of the tokenizer, and `stop_tokens`."""
    return sorted({*stop_tokens, *([] if model.tokenizer is None else model.tokenizer.closing_tokens)})


def n_choices(model: LanguageModel) -> int:
    """How many tokens there are to choose from: those that the model has logits and the tokenizer has text for."""
    return model.vocab_size if model.tokenizer is None else min(model.vocab_size, model.tokenizer.vocab_size)


def check_prompt(model: LanguageModel, prompt: Sequence[int]) -> None:
    """Refuse a prompt that the model cannot read.

    Raises:
        ConfigError: it is empty.
        DataError: something in it is not the id of a token that the model has.
        ContextLengthError: it is longer than the context.
    """
    if not len(prompt):
        raise ConfigError("the prompt is empty, and this tokenizer has no end token to begin with; give a prompt")
    if len(prompt) > model.context_length:
        raise ContextLengthError(
            f"the prompt has {len(prompt)} tokens; the model's context has room for {model.context_length}; shorten it"
        )
    for position, token in enumerate(prompt):
        if not (isinstance(token, numbers.Integral) and 0 <= token < model.vocab_size):
            raise DataError(
                f"token {position} of the prompt is {token!r}; the model's tokens are 0 to {model.vocab_size - 1}"
            )


def check_room(model: LanguageModel, prompt: Sequence[int], max_tokens: int) -> None:
    """Refuse a text that may outgrow the context.

    Raises:
        ContextLengthError: prompt and text may become longer than the context.
    """
    room = model.context_length - len(prompt) + 1  # the last token is written, and not read any more
    if max_tokens > room:
        raise ContextLengthError(
            f"after {len(prompt)} tokens of prompt, the context of {model.context_length} has room for {room} more, "
            f"not for max_tokens = {max_tokens}; lower it (generate can also let the context slide)"
        )


def next_logits(model: LanguageModel, tokens: list[list[int]], state: Any) -> Float[Tensor, "batch vocab"]:
    """Logits of the token after `tokens`, which are as many in every row, on the CPU.

    There a seed means the same on every machine.

    Raises:
        NonFiniteError: they are not numbers.
    """
    rows = torch.tensor(tokens, device=getattr(model, "device", None))
    logits = model(rows, state, last_only=True)[:, -1, : n_choices(model)].float().cpu()
    if not logits.amax(dim=-1).isfinite().all():
        raise NonFiniteError("the model's logits are not finite: its weights are broken; load another checkpoint")
    return logits


def _passes(rows: list[Row], context_length: int) -> Iterator[list[list[Row]]]:
    """What rows are to read, in passes of prompts of one length; the rows that share a prompt are one list."""
    copies: dict[tuple[int, ...], list[Row]] = {}
    for row in rows:
        copies.setdefault(tuple(row.unseen(context_length)), []).append(row)
    by_length: dict[int, list[list[Row]]] = {}
    for tokens, same in copies.items():
        by_length.setdefault(len(tokens), []).append(same)
    for length, prompts in by_length.items():
        n_at_once = max(_MOST_PREFILL_TOKENS // length, 1)
        for first in range(0, len(prompts), n_at_once):
            yield prompts[first : first + n_at_once]
