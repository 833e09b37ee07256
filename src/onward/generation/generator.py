"""A prompt in, text out, token by token: for any LanguageModel."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from onward.config import check_keys
from onward.data.text import document_tokens
from onward.errors import ConfigError
from onward.generation.batch import Batch, Row
from onward.generation.completion import Completion
from onward.generation.config import Sampling
from onward.model.language_model import LanguageModel, tokenizer_of

Prompt = str | Sequence[int]


def generate(model: LanguageModel, prompt: Prompt = "", *, max_tokens: int = 256, **sampling: Any) -> str:
    """The text with which the model goes on after `prompt`; the arguments are those of `stream`.

    >>> from onward.model.decoder import Decoder
    >>> from onward.model.config import preset
    >>> from onward.model.init import initialise
    >>> from onward.tokenizer import Tokenizer
    >>> model = Decoder(preset("tiny", vocab_size=260))
    >>> initialise(model, seed=1)
    >>> model.tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
    >>> generate(model, "to be", max_tokens=3, temperature=0)  # all tokens are equally likely yet: it takes the first
    '!!!'
    """
    return "".join(stream(model, prompt, max_tokens=max_tokens, **sampling))


def stream(model: LanguageModel, prompt: Prompt = "", *, max_tokens: int = 256, **sampling: Any) -> Iterator[str]:
    """Yield the text with which the model goes on after `prompt`, piece by piece, in whole characters.

    Args:
        model: any language model with a tokenizer.
        prompt: what the text begins with, as text or as token ids; empty: the model begins a document of its own.
        max_tokens: stop after so many tokens, unless the text ends before.
        **sampling: temperature, top_p, stop, seed and all else that Sampling has.

    Raises:
        ContextLengthError: the prompt has more tokens than the model's context.
        ConfigError: a value out of range, or a model without a tokenizer.
        TokenizerError: the prompt holds the text of a special token.
        DataError: the prompt holds an id that the model does not have.
        NonFiniteError: the model's logits are not numbers.

    >>> from onward.model.decoder import Decoder
    >>> from onward.model.config import preset
    >>> from onward.model.init import initialise
    >>> from onward.tokenizer import Tokenizer
    >>> model = Decoder(preset("tiny", vocab_size=260))
    >>> initialise(model, seed=1)
    >>> model.tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
    >>> list(stream(model, "to be", max_tokens=3, temperature=0))
    ['!', '!', '!']
    """
    tokenizer_of(model)
    check_keys(Sampling, sampling, "generation")
    settings = Sampling(max_tokens=max_tokens, **sampling)
    if settings.n != 1:
        raise ConfigError(f"one text is streamed at a time; for n = {settings.n} call generate_batch")
    batch = Batch(model)
    batch.add([Row(model, prompt_tokens(model, prompt), settings)])
    # Everything above is checked at the call; a generator function would wait for the first piece.
    return _pieces(batch)


def generate_batch(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    sampling: Sampling | Sequence[Sampling] | None = None,
    *,
    batch_size: int = 32,
) -> list[Completion]:
    """What the model writes after each prompt, as it would after each alone, with all that there is to know about it.

    Args:
        model: any language model whose state has `select` and `append`.
        prompts: texts or token ids, of any lengths.
        sampling: the settings for all prompts, or one for each.
        batch_size: how many texts are written at once; as soon as one ends, the next begins.

    Returns:
        The completions, prompt by prompt; n of them for each prompt.

    Raises:
        ContextLengthError, ConfigError, TokenizerError, DataError, NonFiniteError: as for `stream`.

    >>> from onward.model.decoder import Decoder
    >>> from onward.model.config import preset
    >>> from onward.model.init import initialise
    >>> from onward.tokenizer import Tokenizer
    >>> model = Decoder(preset("tiny", vocab_size=260))
    >>> initialise(model, seed=1)
    >>> model.tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
    >>> completions = generate_batch(model, ["to be", "or"], Sampling(max_tokens=3, temperature=0))
    >>> [(completion.text, completion.finish_reason) for completion in completions]
    [('!!!', 'length'), ('!!!', 'length')]
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size must be at least 1; got {batch_size}")
    if isinstance(prompts, str):
        raise ConfigError("prompts must be a list of prompts; for one prompt, give [prompt]")
    settings = [sampling or Sampling()] * len(prompts) if isinstance(sampling, Sampling | None) else list(sampling)
    if len(settings) != len(prompts):
        raise ConfigError(f"there are {len(prompts)} prompts and {len(settings)} samplings; give one, or one for each")
    rows = [
        Row(model, prompt_tokens(model, prompt), how, sample)
        for prompt, how in zip(prompts, settings, strict=True)
        for sample in range(how.n)
    ]
    batch, waiting = Batch(model), deque(rows)
    while waiting or len(batch):
        batch.add(waiting.popleft() for _ in range(min(batch_size - len(batch), len(waiting))))
        batch.step()
    return [row.completion() for row in rows]


def prompt_tokens(model: LanguageModel, prompt: Prompt) -> Sequence[int]:
    """The tokens of a prompt: of a text, led by the token that begins a document in training; or ids as they are."""
    return document_tokens(tokenizer_of(model), prompt) if isinstance(prompt, str) else prompt


def _pieces(batch: Batch) -> Iterator[str]:
    while len(batch):
        for _, piece in batch.step():
            if piece:
                yield piece
