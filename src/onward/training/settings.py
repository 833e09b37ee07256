"""What was asked of a run: by file, then --set, then options of their own."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from onward.config import check, from_dict, parse_assignments, read_toml
from onward.errors import ConfigError
from onward.model.config import PRESETS, ModelConfig
from onward.training.config import RunConfig, TokenizerKind, TrainingConfig
from onward.training.options import TrainOptions
from onward.training.recipe import DEFAULT_MINUTES, DEFAULT_SIZE

_MICRO_BATCH_TOKENS = 8192


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What was given, before the rest is chosen."""

    texts: list[Path]
    size: str | None
    """None: the model's own, of a run that goes on from one; else the one to be chosen for the time that is given."""
    base: Path | None
    fingerprint: str | None
    minutes: float | None
    tokens: int | None
    batch_tokens: int | None
    tokenizer: TokenizerKind
    model: dict[str, Any]
    training: dict[str, Any]


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
    # A shape that is given in part completes the default size; where only the time is given, prepare chooses the size.
    is_free = options.minutes is not None and model.keys() <= {"vocab_size"}
    size: str | None = options.size or file.get("size", None if is_free else DEFAULT_SIZE)
    if size is not None and size not in PRESETS:
        raise ConfigError(f"there is no size {size!r}; there are {', '.join(PRESETS)}")
    if base is not None:
        for name in ("size", "tokenizer", "vocab_size"):
            if (value := getattr(options, name)) is not None:
                raise ConfigError(
                    f"--{name.replace('_', '-')} {value} is for a model from nothing; a run that goes on has the model "
                    f"and the tokenizer of {base}"
                )
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


def asked_window(asked: Settings, model: ModelConfig) -> int:
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


def steps_for(n_tokens: int, batch_size: int, context_length: int) -> int:
    """How many steps it takes to train on so many tokens.

    >>> steps_for(1_000_000, batch_size=32, context_length=128)
    245
    """
    return math.ceil(n_tokens / (batch_size * context_length))


def batch_for(n_tokens: int, context_length: int) -> dict[str, int]:
    """Windows of a step of about `n_tokens`, and how many at once, which divides them evenly.

    >>> batch_for(100_000, 256)
    {'batch_size': 384, 'micro_batch_size': 32}
    """
    windows = max(round(n_tokens / context_length), 1)
    at_once = min(max(_MICRO_BATCH_TOKENS // context_length, 1), windows)
    return {"batch_size": round(windows / at_once) * at_once, "micro_batch_size": at_once}
