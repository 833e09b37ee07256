"""From text files to a run folder that is ready for its first step."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from onward.config import from_dict
from onward.data.chat import END_OF_MESSAGE, START_OF_MESSAGE
from onward.data.conversations import are_conversations
from onward.data.shards import TokenFile, read_token_file
from onward.device import resolve_device
from onward.errors import ConfigError
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
from onward.training.recipe import DEFAULT_SIZE, default_fine_tuning, default_training, most_steps, windows_at_once
from onward.training.settings import Settings, batch_for, gather_settings, same_model, steps_for
from onward.training.size import choose_size
from onward.training.speed import peak_flops
from onward.training.token_files import Say, learn_tokens, n_bytes_of, split_texts, write_conversations, write_texts

_UNKNOWN = 1000  # steps, as long as nobody has measured how many fit: enough for learning rates as in a real run


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
    say(_describe_recipe(config, asked))
    say(_describe_training(config, text))


def _from_nothing(run: Run, texts: Sequence[Path], asked: Settings, say: Say) -> tuple[RunConfig, dict[str, Any]]:
    """Tokenizer, token files, and the config of a new model, but for its type and its steps; and what was chosen."""
    if are_conversations(texts):
        raise ConfigError(
            "conversations teach a model to answer that can already write; name the model to go on from with --from"
        )
    shape = {**PRESETS[asked.size or DEFAULT_SIZE], **asked.model}
    # What makes no sense is refused before anything long begins.
    RunConfig(
        texts=[],
        model=from_dict(ModelConfig, {"vocab_size": 256, **shape}, "model settings"),
        training=from_dict(TrainingConfig, {"steps": _UNKNOWN, **asked.training}, "training settings"),
    )
    device = resolve_device(asked.training.get("device", "auto"))
    training, validation = split_texts(texts, say)
    if (size := asked.size) is None:
        assert asked.minutes is not None
        size, reason = choose_size(n_bytes_of(training), asked.minutes, peak_flops(device, "float32"))
        say(f"size: {reason} (--size overrides)")
        shape = {**PRESETS[size], **asked.model}
    tokenizer = learn_tokens(run, training, validation, asked, shape, say)
    n_tokens = len(read_token_file(run.training_tokens).tokens)
    model = from_dict(ModelConfig, {**shape, "vocab_size": tokenizer.vocab_size}, "model settings")
    values: dict[str, Any] = {"steps": _UNKNOWN, "threads": torch.get_num_threads()}
    values |= default_training(model, asked.training.get("optimizer", "muon"), n_tokens) | asked.training
    if asked.batch_tokens is not None:
        values |= batch_for(asked.batch_tokens, model.context_length)
    values["device"] = device
    config = RunConfig(
        texts=[str(path) for path in texts],
        size=size,
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
    window = (write_conversations if chats else write_texts)(run, texts, tokenizer, model.config, asked, say)
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


def _kind_of(tokenizer: Tokenizer) -> TokenizerKind:
    if tokenizer.unknown_token is None:
        return "bpe"
    return "characters" if tokenizer.split_pattern == "characters" else "words"


def _describe_model(model: ModelConfig) -> str:
    return (
        f"model: {model.n_layers} layer{'s'[: model.n_layers != 1]} of width {model.d_model}, "
        f"{model.n_heads} head{'s'[: model.n_heads != 1]}, context {model.context_length}"
    )


def _epoch_and_step(config: RunConfig, text: TokenFile) -> tuple[int, int]:
    """What an epoch and what a step takes, in the same measure: tokens, or conversations."""
    if text.loss_mask is None:
        return len(text.tokens), config.training.batch_size * config.window_length
    return len(text.document_starts), config.training.batch_size


def _describe_recipe(config: RunConfig, asked: Settings) -> str:
    training = config.training
    is_given = "batch_size" in asked.training or asked.batch_tokens is not None
    batch = "as asked" if is_given else "by the length of the text"
    rate = "as asked" if "learning_rate" in asked.training else "by the width of the model"
    return (
        f"recipe: {training.batch_size * config.window_length:,} tokens a step, {batch}; {training.optimizer} "
        f"at a learning rate of {training.learning_rate:.3g}, {rate}; schedule {training.schedule}"
    )


def _describe_training(config: RunConfig, text: TokenFile) -> str:
    training = config.training
    epoch, step = _epoch_and_step(config, text)
    epochs = training.steps * step / epoch
    what = f"windows of {config.window_length} tokens" if text.loss_mask is None else "conversations"
    learned = f"adapters of rank {training.lora_rank}, " if training.lora_rank else ""
    return (
        f"training: {learned}{training.steps:,} steps of {training.batch_size} {what} ({epochs:.2g} epochs), "
        f"{training.dtype} on {training.device}, {training.threads} thread{'s'[: training.threads != 1]}"
    )
