"""The two token files of a run, for training and for validation: from texts, or from conversations."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from onward.data.conversations import encode_conversations, read_conversations, split_conversations
from onward.data.shards import write_token_file
from onward.data.text import read_documents, split_documents
from onward.errors import DataError, TokenizerError
from onward.model.config import ModelConfig
from onward.run import Run
from onward.tokenizer import Tokenizer
from onward.training.recipe import train_tokenizer
from onward.training.settings import Settings, asked_window

Say = Callable[[str], None]

# Of a model with a longer context: more takes memory, and few texts need it. Conversations should fit whole.
_LONGEST_WINDOW, _LONGEST_CONVERSATION = 512, 1024
_WHOLE_LENGTH = 32


def split_texts(texts: Sequence[Path], say: Say) -> tuple[list[str], list[str]]:
    """The documents of texts, to train on and for validation."""
    documents = read_documents(texts)
    training, validation = split_documents(documents)
    say(f"text: {n_bytes_of(training):,} bytes to train on, {len(documents)} document{'s'[: len(documents) != 1]}")
    return training, validation


def n_bytes_of(documents: Sequence[str]) -> int:
    """Their length in UTF-8."""
    return sum(len(document.encode()) for document in documents)


def learn_tokens(
    run: Run, training: list[str], validation: list[str], asked: Settings, shape: dict[str, Any], say: Say
) -> Tokenizer:
    """Train the tokenizer on the training part alone, and write both parts as token files."""
    n_bytes = n_bytes_of(training)
    if n_bytes < shape["context_length"]:
        raise DataError(
            f"the training text has {n_bytes} bytes, fewer than the context's {shape['context_length']} tokens; "
            f"give more text, or a shorter context with --set model.context_length={max(1, n_bytes // 8)}"
        )
    began = time.perf_counter()
    tokenizer = train_tokenizer(asked.tokenizer, training, asked.model.get("vocab_size"), shape["d_model"])
    tokenizer.save(run.tokenizer_file)
    n_tokens = [
        _write_tokens(path, part, tokenizer)
        for path, part in ((run.training_tokens, training), (run.validation_tokens, validation))
    ]
    say(
        f"tokenizer: {tokenizer.vocab_size:,} tokens, {n_bytes / n_tokens[0]:.2f} bytes a token, "
        f"trained in {time.perf_counter() - began:.1f} s; {n_tokens[0]:,} tokens to train on"
    )
    return tokenizer


def write_texts(
    run: Run, texts: Sequence[Path], tokenizer: Tokenizer, model: ModelConfig, asked: Settings, say: Say
) -> int:
    """Write the token files of texts, and return the length of the windows."""
    documents = read_documents(texts)
    training, validation = split_documents(documents)
    n_tokens = _write_tokens(run.training_tokens, training, tokenizer)
    _write_tokens(run.validation_tokens, validation, tokenizer)
    say(f"text: {n_tokens:,} tokens to train on, {len(documents)} document{'s'[: len(documents) != 1]}")
    chosen = min(model.context_length, _LONGEST_WINDOW, max(n_tokens // 2, 1))
    return asked_window(asked, model) or chosen


def write_conversations(
    run: Run, texts: Sequence[Path], tokenizer: Tokenizer, model: ModelConfig, asked: Settings, say: Say
) -> int:
    """Write the token files of conversations, and return the most tokens of one."""
    conversations = read_conversations(texts)
    window = asked_window(asked, model)
    most = window or min(model.context_length, _LONGEST_CONVERSATION)
    parts = [encode_conversations(tokenizer, part, most + 1) for part in split_conversations(conversations)]
    for path, part in zip((run.training_tokens, run.validation_tokens), parts, strict=True):
        write_token_file(
            path,
            part.tokens,
            end_token=_end_token(tokenizer),
            vocab_size=tokenizer.vocab_size,
            n_bytes=part.n_bytes,
            loss_masks=part.loss_masks,
        )
    n_reply = sum(int(mask.sum()) for mask in parts[0].loss_masks)
    say(f"text: {len(conversations):,} conversations, {n_reply:,} tokens of replies to learn")
    if (set_aside := len(conversations) - len(parts[0].tokens) - parts[0].n_left_out) <= 0:
        say("too few conversations to set any aside: the validation figures are of those that are learned")
    if cut := sum(part.n_cut for part in parts[: 1 + (set_aside > 0)]):
        say(f"{cut:,} have more than {most} tokens, and are cut after the last reply that fits")
    if left_out := sum(part.n_left_out for part in parts[: 1 + (set_aside > 0)]):
        say(f"{left_out:,} are left out: not even the first reply fits into {most} tokens")
    longest = max(part.longest for part in parts) - 1
    return window or min(-(-longest // _WHOLE_LENGTH) * _WHOLE_LENGTH, most)


def _write_tokens(path: Path, documents: Sequence[str], tokenizer: Tokenizer) -> int:
    """Write the tokens of `documents` to a token file, and return how many there are."""
    encoded = [tokenizer.encode_array(document, disallowed_special=()) for document in documents]
    write_token_file(
        path,
        encoded,
        end_token=_end_token(tokenizer),
        vocab_size=tokenizer.vocab_size,
        n_bytes=n_bytes_of(documents),
    )
    return sum(len(tokens) for tokens in encoded)


def _end_token(tokenizer: Tokenizer) -> int:
    if tokenizer.end_token is None:
        raise TokenizerError("the tokenizer has no end token to part documents with")
    return tokenizer.end_token
