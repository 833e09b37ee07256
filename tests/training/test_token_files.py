from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from onward.data.shards import read_token_file
from onward.run import Run
from onward.tokenizer import Tokenizer
from onward.training.config import TokenizerKind
from onward.training.options import TrainOptions
from onward.training.prepare import prepare
from onward.training.recipe import train_tokenizer
from tests.conftest import TINY_TEXT
from tests.training.conftest import PrepareRun


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
