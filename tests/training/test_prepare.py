from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onward.config import write_toml
from onward.data.shards import read_token_file, write_token_file
from onward.errors import ConfigError, DataError
from onward.run import Run
from onward.tokenizer import Tokenizer
from onward.training.config import RunConfig, TokenizerKind
from onward.training.options import TrainOptions
from onward.training.prepare import gather_settings, prepare
from onward.training.recipe import most_steps, train_tokenizer
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


def test_token_files_hold_the_text_and_the_tokenizer_has_not_seen_the_validation(tmp_path: Path) -> None:
    text = TINY_TEXT + "zyzyzyzyzy" * (len(TINY_TEXT) // 90)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8")
    run = Run(tmp_path)
    prepare(
        run,
        [tmp_path / "text.txt"],
        TrainOptions(size="tiny", steps=1, vocab_size=300),
        say=print,
    )
    tokenizer = Tokenizer.load(run.tokenizer_file)
    files = [read_token_file(path) for path in (run.training_tokens, run.validation_tokens)]
    assert "".join(tokenizer.decode(file.tokens[1:]) for file in files) == text
    assert sum(file.n_bytes for file in files) == len(text.encode())
    assert not any("z" in piece for piece in tokenizer.pieces(range(256, 300)))


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_characters_and_words_are_tokens(prepare_run: PrepareRun, kind: TokenizerKind) -> None:
    run, config = prepare_run("run", tokenizer=kind, vocab_size=None)
    assert tomllib.loads(run.config_file.read_text(encoding="utf-8"))["tokenizer"] == config.tokenizer == kind
    tokenizer = Tokenizer.load(run.tokenizer_file)
    training = TINY_TEXT[: int(0.9 * len(TINY_TEXT))]
    assert tokenizer == train_tokenizer(kind, [training], None, config.model.d_model)
    tokens = read_token_file(run.training_tokens).tokens
    assert config.model.vocab_size == tokenizer.vocab_size
    if kind == "characters":
        assert tokenizer.decode(tokens[1:]) == training
    else:
        assert tokenizer.pieces(tokens[1:6]) == ["Line", "<|unknown|>", " is", " about", " onward"]
        assert " 30" in tokenizer.pieces(range(tokenizer.vocab_size))  # it occurs twice
    limited, _ = prepare_run("limited", tokenizer=kind, vocab_size=20)
    assert Tokenizer.load(limited.tokenizer_file).vocab_size == 20


def test_minutes_are_a_limit_and_so_are_the_epochs(prepare_run: PrepareRun) -> None:
    run, config = prepare_run("run", steps=None, minutes=5.0)
    n_tokens = len(read_token_file(run.training_tokens).tokens)
    assert config.minutes == 5.0
    assert config.training.steps == most_steps(n_tokens, config.training.batch_size * 16)
    assert 4.5 < config.training.steps * config.training.batch_size * 16 / n_tokens <= 5


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


def test_a_run_of_a_newer_onward(prepare_run: PrepareRun) -> None:
    run, _ = prepare_run("run")
    run.config_file.write_text(run.config_file.read_text().replace("format = 1", "format = 2"))
    with pytest.raises(ConfigError, match=r"run\.toml has format 2; this onward reads format 1"):
        RunConfig.load(run.config_file)


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
