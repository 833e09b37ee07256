"""From text files to a run folder that is ready for its first step."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from onward.config import check, from_dict, parse_assignments, read_toml
from onward.data.shards import read_token_file, write_token_file
from onward.data.text import read_documents, split_documents
from onward.device import resolve_device
from onward.errors import ConfigError, DataError, TokenizerError
from onward.model.config import PRESETS, ModelConfig
from onward.run import Run
from onward.tokenizer import Tokenizer
from onward.training.calibrate import faster_dtype, fit_into
from onward.training.config import RunConfig, TokenizerKind, TrainingConfig
from onward.training.options import TrainOptions
from onward.training.recipe import DEFAULT_MINUTES, DEFAULT_SIZE, default_training, most_steps, train_tokenizer

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What was given, before the rest is chosen."""

    texts: list[Path]
    size: str
    minutes: float | None
    tokens: int | None
    tokenizer: TokenizerKind
    model: dict[str, Any]
    training: dict[str, Any]


_MICRO_BATCH_TOKENS = 8192
_UNKNOWN = 1000  # steps, as long as nobody has measured how many fit: enough for learning rates as in a real run


def prepare(run: Run, texts: Sequence[Path], options: TrainOptions, say: Say) -> None:
    """Fill the folder of `run`: tokenizer, token files, and run.toml with everything that was chosen.

    Args:
        run: a folder that exists.
        texts: text files and folders.
        options: what was asked for.
        say: takes a line about what is being done.

    Raises:
        ConfigError, DataError, TokenizerError: a setting or a text that cannot be used.
    """
    began = time.perf_counter()
    asked = gather_settings(options)
    shape = {**PRESETS[asked.size], **asked.model}
    # What makes no sense is refused before anything long begins.
    RunConfig(
        texts=[],
        size=asked.size,
        model=from_dict(ModelConfig, {"vocab_size": 256, **shape}, "model settings"),
        training=from_dict(TrainingConfig, {"steps": _UNKNOWN, **asked.training}, "training settings"),
    )
    device = resolve_device(asked.training.get("device", "auto"))
    tokenizer = _prepare_tokens(run, texts, asked, shape, say)
    n_tokens = len(read_token_file(run.training_tokens).tokens)
    model = from_dict(ModelConfig, {**shape, "vocab_size": tokenizer.vocab_size}, "model settings")
    values: dict[str, Any] = {"steps": _UNKNOWN, "threads": torch.get_num_threads()}
    values |= default_training(model, asked.training.get("optimizer", "muon"), n_tokens) | asked.training
    values["device"] = device
    config = RunConfig(
        texts=[str(path) for path in texts],
        size=asked.size,
        minutes=asked.minutes,
        tokenizer=asked.tokenizer,
        model=model,
        training=from_dict(TrainingConfig, values, "training settings"),
    )
    say(_describe_model(model))
    if "dtype" not in asked.training:
        say("measuring how fast this machine trains it ...")
        values["dtype"] = faster_dtype(run, config)
        config = dataclasses.replace(config, training=TrainingConfig(**values))
    if asked.tokens is not None:
        values["steps"] = steps_for(asked.tokens, config.training.batch_size, model.context_length)
        config = dataclasses.replace(config, training=TrainingConfig(**values))
    elif asked.minutes is not None:
        deadline = began + 60 * asked.minutes
        fitting, values["evaluation_tokens"] = fit_into(run, config, values.get("evaluate_every", 0), deadline)
        worth = most_steps(n_tokens, config.training.batch_size * model.context_length)
        if config.training.patience:
            worth = fitting
        if worth < fitting:
            say(f"{worth:,} steps are enough: beyond five epochs the text would be learned by heart (--steps insists)")
        config = dataclasses.replace(config, training=TrainingConfig(**values | {"steps": min(fitting, worth)}))
    config.save(run.config_file)
    say(_describe_training(config, n_tokens))


def _prepare_tokens(run: Run, texts: Sequence[Path], asked: Settings, shape: dict[str, Any], say: Say) -> Tokenizer:
    """Split the text, train the tokenizer on the training part alone, and write both parts as token files."""
    documents = read_documents(texts)
    training, validation = split_documents(documents)
    n_bytes = sum(len(document.encode()) for document in training)
    say(f"text: {n_bytes:,} bytes to train on, {len(documents)} document{'s'[: len(documents) != 1]}")
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


def _write_tokens(path: Path, documents: Sequence[str], tokenizer: Tokenizer) -> int:
    """Write the tokens of `documents` to a token file, and return how many there are."""
    if tokenizer.end_token is None:
        raise TokenizerError("the tokenizer has no end token to part documents with")
    encoded = [tokenizer.encode_array(document, disallowed_special=()) for document in documents]
    write_token_file(
        path,
        encoded,
        end_token=tokenizer.end_token,
        vocab_size=tokenizer.vocab_size,
        n_bytes=sum(len(document.encode()) for document in documents),
    )
    return sum(len(tokens) for tokens in encoded)


def _describe_model(model: ModelConfig) -> str:
    return (
        f"model: {model.n_layers} layers of width {model.d_model}, {model.n_heads} heads, "
        f"context {model.context_length}"
    )


def _describe_training(config: RunConfig, n_tokens: int) -> str:
    training = config.training
    epochs = training.steps * training.batch_size * config.model.context_length / n_tokens
    return (
        f"training: {training.steps:,} steps of {training.batch_size} windows ({epochs:.1f} epochs), "
        f"{training.dtype} on {training.device}, {training.threads} thread{'s'[: training.threads != 1]}"
    )


def gather_settings(options: TrainOptions) -> Settings:
    """What was given: by file, then --set, then options of their own.

    Raises:
        ConfigError: an unknown size, section or key, a value of a wrong type, or two options that exclude each other.
    """
    if sum(limit is not None for limit in (options.steps, options.tokens, options.minutes)) > 1:
        raise ConfigError("--steps, --tokens and --minutes exclude each other: give one of them")
    for name in ("tokens", "batch_tokens"):
        if (asked := getattr(options, name)) is not None and not 0 < asked < 1 << 53:
            raise ConfigError(f"--{name.replace('_', '-')} must be above 0; got {asked}")
    file: dict[str, Any] = {}
    if options.config is not None:
        file = check(RunConfig, read_toml(options.config), str(options.config), partial=True)
    sections = parse_assignments(options.set)
    if unknown := sections.keys() - {"model", "training"}:
        raise ConfigError(f"--set takes model.KEY=VALUE and training.KEY=VALUE; got {sorted(unknown)[0]!r}")
    model = file.get("model", {}) | check(ModelConfig, sections.get("model", {}), "--set model")
    training = file.get("training", {}) | check(TrainingConfig, sections.get("training", {}), "--set training")
    if options.vocab_size is not None:
        model["vocab_size"] = options.vocab_size
    for name in ("seed", "steps", "patience", "checkpoint_every"):
        if (value := getattr(options, name)) is not None:
            training[name] = value
    minutes = options.minutes
    if minutes is not None or options.tokens is not None:
        training.pop("steps", None)
    elif "steps" not in training:
        minutes = file.get("minutes", DEFAULT_MINUTES)
    if minutes is not None and not 0 < minutes < 1e6:
        raise ConfigError(f"--minutes must be above 0; got {minutes}")
    size = options.size or file.get("size", DEFAULT_SIZE)
    if size not in PRESETS:
        raise ConfigError(f"there is no size {size!r}; there are {', '.join(PRESETS)}")
    if options.batch_tokens is not None:
        training |= _batch(options.batch_tokens, {**PRESETS[size], **model}["context_length"])
    texts = [Path(text) for text in file.get("texts", [])]
    given = {} if options.tokenizer is None else {"tokenizer": options.tokenizer}
    tokenizer = check(RunConfig, {"tokenizer": "bpe", **file, **given}, "settings", partial=True)["tokenizer"]
    return Settings(
        texts=texts,
        size=size,
        minutes=minutes,
        tokens=options.tokens,
        tokenizer=tokenizer,
        model=model,
        training=training,
    )


def steps_for(n_tokens: int, batch_size: int, context_length: int) -> int:
    """How many steps it takes to train on so many tokens.

    >>> steps_for(1_000_000, batch_size=32, context_length=128)
    245
    """
    return math.ceil(n_tokens / (batch_size * context_length))


def _batch(n_tokens: int, context_length: int) -> dict[str, int]:
    """Windows of a step of about `n_tokens`, and how many at once, which divides them evenly.

    >>> _batch(100_000, 256)
    {'batch_size': 384, 'micro_batch_size': 32}
    """
    windows = max(round(n_tokens / context_length), 1)
    at_once = min(max(_MICRO_BATCH_TOKENS // context_length, 1), windows)
    return {"batch_size": round(windows / at_once) * at_once, "micro_batch_size": at_once}
