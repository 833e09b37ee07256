from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest

from onward.data.shards import read_token_file, write_token_file
from onward.errors import ConfigError, DataError
from onward.run import Run
from onward.training.config import RunConfig
from onward.training.options import TrainOptions
from onward.training.prepare import prepare
from onward.training.recipe import most_steps
from onward.training.trainer import Trainer
from tests.conftest import TINY_TEXT
from tests.training.conftest import PrepareRun, train


def test_everything_that_was_chosen_is_written_down(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run")
    written = tomllib.loads(run.config_file.read_text(encoding="utf-8"))
    for section, chosen in (("model", config.model), ("training", config.training)):
        # TOML has no word for none: a setting that is left out is one that has no value.
        assert written[section] == {
            name: value for name, value in dataclasses.asdict(chosen).items() if value is not None
        }


def test_minutes_are_a_limit_and_so_are_the_epochs(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run", steps=None, minutes=5.0)
    n_tokens = len(read_token_file(run.training_tokens).tokens)
    assert config.minutes == 5.0
    assert config.training.steps == most_steps(n_tokens, config.training.batch_size * 16)
    assert 4.5 < config.training.steps * config.training.batch_size * 16 / n_tokens <= 5


def test_a_run_of_a_newer_onward(prepare_run: PrepareRun) -> None:
    run, _ = prepare_run("run")
    run.config_file.write_text(run.config_file.read_text().replace("format = 1", "format = 2"))
    with pytest.raises(ConfigError, match=r"run\.toml has format 2; this onward reads format 1"):
        RunConfig.load(run.config_file)


def test_a_run_from_before_there_were_more_settings(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run")
    new = ("keep_checkpoints", "cooldown", "label_smoothing", "patience")
    lines = run.config_file.read_text().splitlines(keepends=True)
    run.config_file.write_text("".join(line for line in lines if not line.startswith(new)))
    assert RunConfig.load(run.config_file) == config


@pytest.mark.parametrize("line", ["abc def, " * 3000, TINY_TEXT.replace("\n", " ")])
def test_one_endless_line(tmp_path: Path, line: str) -> None:
    """A text of few words gets the tokens that it can fill, and trains."""
    (tmp_path / "text.txt").write_text(line, encoding="utf-8")
    run = Run(tmp_path)
    settings = ["model.context_length=16", "training.dtype=float32", "training.batch_size=2"]
    prepare(run, [tmp_path / "text.txt"], TrainOptions(size="tiny", steps=1, set=settings), say=print)
    config = RunConfig.load(run.config_file)
    assert 257 <= config.model.vocab_size <= 512
    trained = train(run, config)
    assert trained.state.step == 1
    assert run.samples_file.exists()


def test_one_endless_letter(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("a" * 30_000, encoding="utf-8")
    with pytest.raises(DataError, match=r"the training text has \d+ tokens, fewer than the context's 64"):
        train(Run(tmp_path), _prepared(tmp_path))


def _prepared(folder: Path) -> RunConfig:
    run = Run(folder)
    prepare(run, [folder / "text.txt"], TrainOptions(size="tiny", steps=1, set=["training.dtype=float32"]), say=print)
    return RunConfig.load(run.config_file)


def test_an_empty_validation_text(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run")
    write_token_file(run.validation_tokens, [np.array([], np.int64)], end_token=256, vocab_size=300, n_bytes=0)
    with pytest.raises(DataError, match=r"validation\.tokens has no token to predict: .*give more text"):
        Trainer(run, config)
