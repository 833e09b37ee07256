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
from onward.data.chat import END_OF_MESSAGE, START_OF_MESSAGE
from onward.data.conversations import (
    are_conversations,
    encode_conversations,
    read_conversations,
    split_conversations,
)
from onward.data.shards import TokenFile, read_token_file, write_token_file
from onward.data.text import read_documents, split_documents
from onward.device import resolve_device
from onward.errors import ConfigError, DataError, TokenizerError
from onward.model.config import PRESETS, ModelConfig
from onward.model.language_model import tokenizer_of
from onward.model.lora import check_rank
from onward.run import Run
from onward.tokenizer import Tokenizer
from onward.tokenizer.tokenizer import END_TOKEN
from onward.training.base import fingerprint, read_base, with_special_tokens, write_base
from onward.training.calibrate import faster_dtype, fit_into
from onward.training.config import BaseConfig, RunConfig, TokenizerKind, TrainingConfig
from onward.training.memory import check_fits
from onward.training.options import TrainOptions
from onward.training.recipe import (
    DEFAULT_MINUTES,
    DEFAULT_SIZE,
    default_fine_tuning,
    default_training,
    most_steps,
    train_tokenizer,
    windows_at_once,
)
from onward.training.speed import peak_flops

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What was given, before the rest is chosen."""

    texts: list[Path]
    size: str | None
    base: Path | None
    fingerprint: str | None
    minutes: float | None
    tokens: int | None
    batch_tokens: int | None
    tokenizer: TokenizerKind
    model: dict[str, Any]
    training: dict[str, Any]


_MICRO_BATCH_TOKENS = 8192
_UNKNOWN = 1000  # steps, as long as nobody has measured how many fit: enough for learning rates as in a real run
# Of a model with a longer context: more takes memory, and few texts need it. Conversations should fit whole.
_LONGEST_WINDOW, _LONGEST_CONVERSATION = 512, 1024
_WHOLE_LENGTH = 32


def prepare(run: Run, texts: Sequence[Path], options: TrainOptions, say: Say) -> None:
    """Fill the folder of `run`: tokenizer, token files, and run.toml with everything that was chosen.

    Args:
        run: a folder that exists.
        texts: text files and folders; or, to go on from a model, files of conversations.
        options: what was asked for.
        say: takes a line about what is being done.

    Raises:
        ConfigError, DataError, TokenizerError: a setting or a text that cannot be used.
        CheckpointError: the model to go on from is missing or broken.
    """
    began = time.perf_counter()
    asked = gather_settings(options)
    begin = _from_nothing if asked.base is None else _from_base
    config, values = begin(run, texts, asked, say)
    text = read_token_file(run.training_tokens)
    say(_describe_model(config.model))
    check_fits(config.model, config.training)
    if "dtype" not in asked.training:
        say("measuring how fast this machine trains it ...")
        values["dtype"] = faster_dtype(run, config)
    values.setdefault("peak_flops", peak_flops(values["device"], values["dtype"]))
    config = dataclasses.replace(config, training=TrainingConfig(**values))
    if asked.tokens is not None:
        values["steps"] = steps_for(asked.tokens, config.training.batch_size, config.window_length)
        config = dataclasses.replace(config, training=TrainingConfig(**values))
    elif asked.minutes is not None:
        deadline = began + 60 * asked.minutes
        fitting, values["evaluation_tokens"] = fit_into(run, config, values.get("evaluate_every", 0), deadline)
        worth = most_steps(*_epoch_and_step(config, text))
        if config.training.patience:
            worth = fitting
        if worth < fitting:
            say(f"{worth:,} steps are enough: beyond five epochs the text would be learned by heart (--steps insists)")
        config = dataclasses.replace(config, training=TrainingConfig(**values | {"steps": min(fitting, worth)}))
    config.save(run.config_file)
    say(_describe_training(config, text))


def _from_nothing(run: Run, texts: Sequence[Path], asked: Settings, say: Say) -> tuple[RunConfig, dict[str, Any]]:
    """Tokenizer, token files, and the config of a new model, but for its type and its steps; and what was chosen."""
    assert asked.size is not None
    if are_conversations(texts):
        raise ConfigError(
            "conversations teach a model to answer that can already write; name the model to go on from with --from"
        )
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
    return config, values


def _from_base(run: Run, texts: Sequence[Path], asked: Settings, say: Say) -> tuple[RunConfig, dict[str, Any]]:
    """The same for a run that goes on from a model: its tokenizer, its shape, and settings that are gentle with it."""
    assert asked.base is not None
    chats = are_conversations(texts)
    if chats and asked.tokens is not None:
        raise ConfigError("a run on conversations has no number of tokens to keep: give --steps or --minutes")
    # What makes no sense is refused before anything long begins.
    from_dict(TrainingConfig, {"steps": _UNKNOWN, **asked.training}, "training settings")
    device = resolve_device(asked.training.get("device", "auto"))
    base = read_base(asked.base)
    origin = BaseConfig(path=str(asked.base), fingerprint=fingerprint(base))
    if asked.fingerprint not in (None, origin.fingerprint):
        raise ConfigError(f"the weights in {asked.base} are not those that the config names: its fingerprint differs")
    if rank := asked.training.get("lora_rank", 0):
        check_rank(rank, base.config)
    role_tokens = [START_OF_MESSAGE, END_OF_MESSAGE] if chats else []
    end_token = [END_TOKEN] if tokenizer_of(base).end_token is None else []
    model = with_special_tokens(base, [*end_token, *role_tokens], asked.training.get("seed", TrainingConfig.seed))
    model.config = same_model(model.config, asked.model)
    tokenizer = tokenizer_of(model)
    say(f"from {asked.base}: {base.n_parameters:,} parameters, {tokenizer.vocab_size:,} tokens in its vocabulary")
    if added := tokenizer.vocab_size - tokenizer_of(base).vocab_size:
        say(f"tokenizer: {added} special tokens are new to it")
    window = (_write_conversations if chats else _write_texts)(run, texts, tokenizer, model.config, asked, say)
    tokenizer.save(run.tokenizer_file)
    write_base(run, model)
    text = read_token_file(run.training_tokens)
    sample = len(text.tokens) // len(text.document_starts) if chats else window
    values: dict[str, Any] = {"steps": _UNKNOWN, "threads": torch.get_num_threads(), "window_length": window}
    values |= default_fine_tuning(
        model.config,
        asked.training.get("optimizer", "adamw"),
        lora_rank=rank,
        epoch_tokens=len(text.tokens),
        sample_tokens=sample,
    )
    if asked.batch_tokens is not None:
        values["batch_size"] = max(round(asked.batch_tokens / sample), 1)
    values["batch_size"] = asked.training.get("batch_size", values["batch_size"])
    if values["batch_size"] > 0:
        values["micro_batch_size"] = windows_at_once(model.config, window, values["batch_size"])
    values |= {**asked.training, "device": device, "window_length": window}
    config = RunConfig(
        texts=[str(path) for path in texts],
        base=origin,
        minutes=asked.minutes,
        tokenizer=_kind_of(tokenizer),
        model=model.config,
        training=from_dict(TrainingConfig, values, "training settings"),
    )
    return config, values


def same_model(model: ModelConfig, asked: dict[str, Any]) -> ModelConfig:
    """The shape of the model to go on from, with the dropout that was asked for; nothing else of it can change.

    Raises:
        ConfigError: something else was to change.
    """
    asked = from_dict(ModelConfig, {**vars(model), **asked}, "model settings").__dict__ if asked else {}
    for name, value in asked.items():
        was = getattr(model, name)
        if value != was and name not in ("dropout", "embed_dropout"):
            instead = "; for shorter windows, --set training.window_length=N" if name == "context_length" else ""
            raise ConfigError(
                f"model.{name} = {value} is not what the model to go on from has, which is {was} and stays{instead}"
            )
    return dataclasses.replace(model, **{name: asked[name] for name in ("dropout", "embed_dropout") if name in asked})


def _write_texts(
    run: Run, texts: Sequence[Path], tokenizer: Tokenizer, model: ModelConfig, asked: Settings, say: Say
) -> int:
    """Write the token files of texts, and return the length of the windows."""
    documents = read_documents(texts)
    training, validation = split_documents(documents)
    n_tokens = _write_tokens(run.training_tokens, training, tokenizer)
    _write_tokens(run.validation_tokens, validation, tokenizer)
    say(f"text: {n_tokens:,} tokens to train on, {len(documents)} document{'s'[: len(documents) != 1]}")
    chosen = min(model.context_length, _LONGEST_WINDOW, max(n_tokens // 2, 1))
    return _asked_window(asked, model) or chosen


def _write_conversations(
    run: Run, texts: Sequence[Path], tokenizer: Tokenizer, model: ModelConfig, asked: Settings, say: Say
) -> int:
    """Write the token files of conversations, and return the most tokens of one."""
    conversations = read_conversations(texts)
    asked_window = _asked_window(asked, model)
    most = asked_window or min(model.context_length, _LONGEST_CONVERSATION)
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
    return asked_window or min(-(-longest // _WHOLE_LENGTH) * _WHOLE_LENGTH, most)


def _asked_window(asked: Settings, model: ModelConfig) -> int:
    """The length of the windows that was asked for; 0: none was.

    Raises:
        ConfigError: it is more than the model's context.
    """
    window: int = asked.training.get("window_length", 0)
    if window > model.context_length:
        raise ConfigError(
            f"training.window_length = {window} is more than the context of the model to go on from, "
            f"{model.context_length} tokens"
        )
    return window


def _kind_of(tokenizer: Tokenizer) -> TokenizerKind:
    if tokenizer.unknown_token is None:
        return "bpe"
    return "characters" if tokenizer.split_pattern == "characters" else "words"


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
    encoded = [tokenizer.encode_array(document, disallowed_special=()) for document in documents]
    write_token_file(
        path,
        encoded,
        end_token=_end_token(tokenizer),
        vocab_size=tokenizer.vocab_size,
        n_bytes=sum(len(document.encode()) for document in documents),
    )
    return sum(len(tokens) for tokens in encoded)


def _end_token(tokenizer: Tokenizer) -> int:
    if tokenizer.end_token is None:
        raise TokenizerError("the tokenizer has no end token to part documents with")
    return tokenizer.end_token


def _describe_model(model: ModelConfig) -> str:
    return (
        f"model: {model.n_layers} layers of width {model.d_model}, {model.n_heads} heads, "
        f"context {model.context_length}"
    )


def _epoch_and_step(config: RunConfig, text: TokenFile) -> tuple[int, int]:
    """What an epoch and what a step takes, in the same measure: tokens, or conversations."""
    if text.loss_mask is None:
        return len(text.tokens), config.training.batch_size * config.window_length
    return len(text.document_starts), config.training.batch_size


def _describe_training(config: RunConfig, text: TokenFile) -> str:
    training = config.training
    epoch, step = _epoch_and_step(config, text)
    epochs = training.steps * step / epoch
    what = f"windows of {config.window_length} tokens" if text.loss_mask is None else "conversations"
    learned = f"adapters of rank {training.lora_rank}, " if training.lora_rank else ""
    return (
        f"training: {learned}{training.steps:,} steps of {training.batch_size} {what} ({epochs:.1f} epochs), "
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
    if options.lora is not None:
        if options.lora < 1:
            raise ConfigError(
                f"--lora is the rank of adapters, at least 1; got {options.lora}; without it, all is learned"
            )
        training["lora_rank"] = options.lora
    named = file.get("base")
    base = options.base or (Path(named.path) if named is not None else None)
    if base is None and training.get("lora_rank"):
        raise ConfigError("adapters are learned on a model that is there: name it with --from")
    size: str = options.size or file.get("size", DEFAULT_SIZE)
    if size not in PRESETS:
        raise ConfigError(f"there is no size {size!r}; there are {', '.join(PRESETS)}")
    if base is not None:
        for name in ("size", "tokenizer", "vocab_size"):
            if (value := getattr(options, name)) is not None:
                raise ConfigError(
                    f"--{name.replace('_', '-')} {value} is for a model from nothing; a run that goes on has the model "
                    f"and the tokenizer of {base}"
                )
    elif options.batch_tokens is not None:
        training |= _batch(options.batch_tokens, {**PRESETS[size], **model}["context_length"])
    texts = [Path(text) for text in file.get("texts", [])]
    given = {} if options.tokenizer is None else {"tokenizer": options.tokenizer}
    tokenizer = check(RunConfig, {"tokenizer": "bpe", **file, **given}, "settings", partial=True)["tokenizer"]
    return Settings(
        texts=texts,
        size=size if base is None else None,
        base=base,
        fingerprint=named.fingerprint if named is not None and options.base is None else None,
        minutes=minutes,
        tokens=options.tokens,
        batch_tokens=options.batch_tokens,
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
