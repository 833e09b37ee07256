from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from onward.config import write_toml
from onward.errors import ConfigError
from onward.training.options import TrainOptions
from onward.training.settings import gather_settings
from tests.training.conftest import PrepareRun


def test_settings_of_a_file_then_set_then_options(tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    write_toml(
        file,
        {
            "format": 1,
            "size": "base",
            "minutes": 5.0,
            "model": {"n_layers": 1, "d_model": 8},
            "training": {"seed": 1, "steps": 7},
        },
    )
    options = TrainOptions(config=file, set=["model.d_model=16", "training.seed=2"], seed=3)
    settings = gather_settings(options)
    assert settings.model == {"n_layers": 1, "d_model": 16}
    assert settings.training == {"seed": 3, "steps": 7}
    assert (settings.size, settings.minutes) == ("base", None)
    timed = gather_settings(dataclasses.replace(options, minutes=1.0, size="tiny"))
    assert (timed.size, timed.minutes, timed.training) == ("tiny", 1.0, {"seed": 3})
    assert settings.tokenizer == "bpe"
    write_toml(file, {"format": 1, "tokenizer": "words"})
    assert gather_settings(TrainOptions(config=file)).tokenizer == "words"
    assert gather_settings(TrainOptions(config=file, tokenizer="bpe")).tokenizer == "bpe"
    with pytest.raises(ConfigError, match="tokenizer must be one of bpe, characters, words; got 'letters'"):
        gather_settings(TrainOptions(tokenizer="letters"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.batch_size=0", "training.batch_size must be at least 1"),
        ("training.micro_batch_size=3", "batch_size = 4 is not a multiple of micro_batch_size = 3"),
        ("training.learning_rate=-1.0", "training.learning_rate must be 0 or above"),
        ("training.warmup=1.5", "are shares: at most 1"),
        ("training.optimizer=sgd", "optimizer must be one of muon, adamw"),
        ("training.label_smoothing=1.0", "label_smoothing must be below 1; got 1.0"),
        ("training.schedule=step", "schedule must be one of linear, cosine, wsd, inverse_sqrt"),
        ("training.dtype=float16", "dtype must be one of float32, bfloat16"),
        ("training.threads=2000", "threads must be at most 1024"),
        ("training.device=tpu", "there is no device 'tpu' on this machine; there are .*cpu"),
        ("model.rotary_theta=0", "rotary_theta must be above 0"),
        ("model=3", "--set takes section.key=value"),
        ("size.small=1", "--set takes model.KEY=VALUE and training.KEY=VALUE; got 'size'"),
        ("model.dropout=1.0", "model.dropout must be at least 0 and below 1"),
    ],
)
def test_settings_out_of_range(prepare_run: PrepareRun, setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare_run("run", setting)


def test_tokens_of_a_run_and_of_a_step(prepare_run: PrepareRun) -> None:
    _, config = prepare_run("run", steps=None, tokens=1000, batch_tokens=200)
    assert (config.training.batch_size, config.training.micro_batch_size) == (12, 12)
    assert config.training.steps == 6  # of 192 tokens each
    _, config = prepare_run("large", batch_tokens=20_000)
    assert (config.training.batch_size, config.training.micro_batch_size) == (1024, 512)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 3, "tokens": 100}, "--steps, --tokens and --minutes exclude each other"),
        ({"tokens": 0, "steps": None}, "--tokens must be above 0; got 0"),
        ({"batch_tokens": -5}, "--batch-tokens must be above 0; got -5"),
        ({"minutes": 0.0, "steps": None}, "--minutes must be above 0; got 0"),
        ({"patience": -1}, "training.patience must be at least 0; got -1"),
    ],
)
def test_limits_that_are_none(prepare_run: PrepareRun, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prepare_run("run", **options)
