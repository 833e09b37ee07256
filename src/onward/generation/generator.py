"""A prompt in, text out, token by token: for any LanguageModel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from onward.data.text import document_tokens
from onward.errors import ConfigError, ContextLengthError
from onward.generation.sample import Sampling, choose
from onward.model.language_model import LanguageModel, tokenizer_of
from onward.tokenizer import Tokenizer


def generate(model: LanguageModel, prompt: str = "", *, max_tokens: int = 256, **sampling: Any) -> str:
    """The text with which the model goes on after `prompt`; the arguments are those of `stream`.

    >>> from onward.model.decoder import Decoder
    >>> from onward.model.config import preset
    >>> from onward.model.init import initialise
    >>> model = Decoder(preset("tiny", vocab_size=260))
    >>> initialise(model, seed=1)
    >>> model.tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
    >>> generate(model, "to be", max_tokens=3, temperature=0)  # all tokens are equally likely yet: it takes the first
    '!!!'
    """
    return "".join(stream(model, prompt, max_tokens=max_tokens, **sampling))


def stream(model: LanguageModel, prompt: str = "", *, max_tokens: int = 256, **sampling: Any) -> Iterator[str]:
    """Yield the text with which the model goes on after `prompt`, piece by piece, in whole characters.

    Args:
        model: any language model with a tokenizer.
        prompt: what the text begins with; empty: the model begins a document of its own.
        max_tokens: stop after so many tokens, unless the end token comes first.
        **sampling: temperature, top_k, top_p and seed, as in Sampling.

    Raises:
        ContextLengthError: the prompt has more tokens than the model's context.
        ConfigError: a value out of range, or a model without a tokenizer.
        TokenizerError: the prompt holds the text of a special token.
    """
    tokenizer = tokenizer_of(model)
    if max_tokens < 1:
        raise ConfigError(f"max_tokens must be at least 1; got {max_tokens}")
    tokens = document_tokens(tokenizer, prompt)
    if not tokens:
        raise ConfigError("the prompt is empty, and this tokenizer has no end token to begin with; give a prompt")
    if len(tokens) > model.context_length:
        raise ContextLengthError(
            f"the prompt has {len(tokens)} tokens; the model's context has room for {model.context_length}; shorten it"
        )
    # Everything above is checked at the call; a generator function would wait for the first piece.
    return _decode(model, tokenizer, tokens, max_tokens, Sampling(**sampling))


def stream_tokens(
    model: LanguageModel, prompt: Sequence[int], *, max_tokens: int, sampling: Sampling, end_token: int | None
) -> Iterator[int]:
    """Yield the tokens that follow `prompt`, up to `max_tokens` or the end token, which is not yielded.

    When the context is full, the model goes on from the last half of it, so that a text may be longer than a context.
    """
    random = torch.Generator()
    if sampling.seed is None:
        random.seed()
    else:
        random.manual_seed(sampling.seed)
    text, unseen = list(prompt), list(prompt)
    state, n_seen = model.start(1), 0
    for _ in range(max_tokens):
        if n_seen + len(unseen) > model.context_length:
            unseen = text[-max(model.context_length // 2, 1) :]
            state, n_seen = model.start(1), 0
        logits = _next_logits(model, unseen, state)
        n_seen += len(unseen)
        token = int(choose(logits, sampling, random))
        if token == end_token:
            return
        yield token
        text.append(token)
        unseen = [token]


@torch.inference_mode()
def _next_logits(model: LanguageModel, tokens: Sequence[int], state: Any) -> Tensor:
    """Logits (1, vocab) of the token after `tokens`, on the CPU, where a seed means the same on every machine."""
    device = getattr(model, "device", None)
    return model(torch.tensor([tokens], device=device), state, last_only=True)[:, -1].cpu()


def _decode(
    model: LanguageModel, tokenizer: Tokenizer, tokens: list[int], max_tokens: int, sampling: Sampling
) -> Iterator[str]:
    decoder = tokenizer.stream_decoder()
    for token in stream_tokens(model, tokens, max_tokens=max_tokens, sampling=sampling, end_token=tokenizer.end_token):
        if piece := decoder.push(token):
            yield piece
    if piece := decoder.finish():
        yield piece
