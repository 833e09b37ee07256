"""Beam search: the likeliest texts, looked for several at a time."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from onward.errors import ConfigError
from onward.generation.batch import check_prompt, check_room, end_tokens, n_choices, next_logits
from onward.generation.completion import Completion, FinishReason
from onward.generation.config import Sampling, check_whole
from onward.generation.generator import Prompt, prompt_tokens
from onward.model.language_model import LanguageModel

_MOST_BEAMS = 128


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Beam:
    """A text that is being written, and the log-probability of all of it."""

    tokens: list[int]
    logprob: float
    row: int
    """Where in the model's state the text before its last token is."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Finished:
    tokens: list[int]
    score: float
    finish_reason: FinishReason


def beam_search(
    model: LanguageModel,
    prompt: Prompt = "",
    *,
    beams: int = 4,
    n: int = 1,
    max_tokens: int = 256,
    length_penalty: float = 1.0,
    stop_tokens: Sequence[int] = (),
) -> list[Completion]:
    """The n best of the texts that are found when the likeliest `beams` are kept after each token.

    A text's score is its log-probability divided by (its number of tokens, the end token among them) to the power of
    `length_penalty`. The search goes on until no text that is still being written can overtake the n best.

    Source: Sutskever et al., Sequence to Sequence Learning, 2014, section 3.2; the scores as in transformers with
    early_stopping="never".

    Args:
        model: any language model whose state has `select`.
        prompt: what the text begins with, as text or as token ids.
        beams: how many texts are kept, at least 2.
        n: how many to return, at most `beams`.
        max_tokens: the most tokens of a text; prompt and text must fit into the context.
        length_penalty: 0 ranks by the probability of the whole text, which favours short ones; 1 by the mean a token;
            above 1 favours long ones.
        stop_tokens: tokens that end a text beside those of the tokenizer.

    Returns:
        The completions, the best first, each with its score.

    Raises:
        ContextLengthError: prompt and text do not fit into the context.
        ConfigError, DataError, TokenizerError, NonFiniteError: as for `generate`.

    >>> from onward.model.decoder import Decoder
    >>> from onward.model.config import preset
    >>> from onward.model.init import initialise
    >>> model = Decoder(preset("tiny", vocab_size=260))
    >>> initialise(model, seed=1)
    >>> round(beam_search(model, [1, 2], beams=2, max_tokens=3)[0].score, 3)  # all tokens are equally likely yet
    -5.561
    """
    check_whole("beams", beams, 2, _MOST_BEAMS, "one beam is greedy: temperature=0")
    check_whole("n", n, 1, beams, "raise beams")
    if not (math.isfinite(length_penalty) and abs(length_penalty) <= 100):
        raise ConfigError(f"length_penalty must be from -100 to 100; got {length_penalty}; 1 ranks by the mean")
    Sampling(max_tokens=max_tokens, stop_tokens=stop_tokens).check_vocabulary(n_choices(model))
    tokens = list(prompt_tokens(model, prompt))
    check_prompt(model, tokens)
    check_room(model, tokens, max_tokens)
    finished = _search(model, tokens, beams, n, max_tokens, length_penalty, end_tokens(model, stop_tokens))
    return [
        Completion(
            prompt=tokens,
            text="" if model.tokenizer is None else model.tokenizer.decode(text.tokens),
            tokens=text.tokens,
            finish_reason=text.finish_reason,
            score=text.score,
        )
        for text in finished
    ]


@torch.inference_mode()
def _search(
    model: LanguageModel,
    prompt: list[int],
    beams: int,
    n: int,
    max_tokens: int,
    length_penalty: float,
    ends: list[int],
) -> list[_Finished]:
    state = model.start(1)
    logits = next_logits(model, [prompt], state)
    running, finished = [_Beam(tokens=[], logprob=0.0, row=0)], list[_Finished]()
    for length in range(1, max_tokens + 1):
        going_on = list[_Beam]()
        for rank, beam in enumerate(_likeliest(running, logits, (1 + max(len(ends), 1)) * beams)):
            ended = beam.tokens[-1] in ends
            if not ended and length < max_tokens:
                going_on.append(beam)
            elif rank < beams:  # one that is not among the best only because others ended is not one of the best
                finished.append(
                    _Finished(
                        tokens=beam.tokens[:-1] if ended else beam.tokens,
                        score=beam.logprob / length**length_penalty,
                        finish_reason="stop" if ended else "length",
                    )
                )
        finished = sorted(finished, key=lambda text: text.score, reverse=True)[:n]
        running = going_on[:beams]
        if not running or _is_decided(running[0], finished, n, max_tokens, length_penalty):
            break
        state = state.select([beam.row for beam in running])
        logits = next_logits(model, [beam.tokens[-1:] for beam in running], state)
    return finished


def _likeliest(running: list[_Beam], logits: Float[Tensor, "beam vocab"], n: int) -> list[_Beam]:
    """The n likeliest of all texts that are one token longer, the likeliest first."""
    before = torch.tensor([beam.logprob for beam in running], dtype=torch.float64)
    logprobs = (before[:, None] + logits.double().log_softmax(dim=-1)).flatten()
    values, places = logprobs.topk(min(n, len(logprobs)))
    found = list[_Beam]()
    for logprob, place in zip(values.tolist(), places.tolist(), strict=True):
        row, token = divmod(place, logits.shape[1])
        found.append(_Beam(tokens=[*running[row].tokens, token], logprob=logprob, row=row))
    return found


def _is_decided(best: _Beam, finished: list[_Finished], n: int, max_tokens: int, length_penalty: float) -> bool:
    """Whether there are n finished texts that nothing still being written can overtake."""
    if len(finished) < n:
        return False
    # A log-probability only falls; what it is divided by is largest at one end of the lengths that are left.
    length = max_tokens if length_penalty > 0 else len(best.tokens)
    return best.logprob / length**length_penalty <= finished[-1].score


def settings_for_beams(sampling: Sampling) -> dict[str, Any]:
    """The settings of Sampling that `beam_search` takes.

    Raises:
        ConfigError: another one is set.
    """
    taken = {name: getattr(sampling, name) for name in ("n", "max_tokens", "stop_tokens")}
    for name, value in vars(dataclasses.replace(Sampling(), **taken)).items():
        if getattr(sampling, name) != value:
            raise ConfigError(f"beam search draws nothing and has no {name}; leave it out, or leave out beams")
    return taken
