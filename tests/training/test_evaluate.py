from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from onward.data.shards import TokenFile
from onward.errors import ConfigError, DataError
from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.tokenizer import Tokenizer, simple
from onward.training.evaluate import describe, evaluate, evaluate_texts
from tests.conftest import TINY_TEXT, random_decoder


def token_file(tokenizer: Tokenizer, text: str) -> TokenFile:
    assert tokenizer.end_token is not None
    return TokenFile(
        tokens=np.array([tokenizer.end_token, *tokenizer.encode(text)]),
        document_starts=np.zeros(1, np.uint64),
        loss_mask=None,
        vocab_size=tokenizer.vocab_size,
        n_bytes=len(text.encode()),
    )


@pytest.mark.parametrize("length", [1, 20, 500, 3000])
def test_every_byte_is_scored_once(tiny_model: Decoder, tiny_tokenizer: Tokenizer, length: int) -> None:
    """Against the plain loop: window by window, token by token."""
    text = token_file(tiny_tokenizer, TINY_TEXT[:length])
    result = evaluate(tiny_model, text)
    nats, tokens = 0.0, torch.from_numpy(text.tokens)
    for first in range(0, len(tokens) - 1, 32):
        window = tokens[first : first + 33]
        log_probabilities = tiny_model(window[None, :-1])[0].log_softmax(-1)
        nats -= sum(float(log_probabilities[at, token]) for at, token in enumerate(window[1:]))
    assert math.isclose(result.nats, nats, rel_tol=1e-4)
    assert (result.n_tokens, result.n_bytes) == (len(tokens) - 1, text.n_bytes)
    assert math.isclose(result.bits_per_byte, nats / math.log(2) / text.n_bytes, rel_tol=1e-4)
    assert math.isclose(result.perplexity, math.exp(nats / (len(tokens) - 1)), rel_tol=1e-3)


@pytest.mark.parametrize("length", [1, 20, 50, 500])
@pytest.mark.parametrize("stride", [1, 7, 32])
def test_windows_that_overlap(tiny_model: Decoder, tiny_tokenizer: Tokenizer, length: int, stride: int) -> None:
    """Against the plain loop: each token from the first window that reaches it, the last one ending with the text."""
    text = token_file(tiny_tokenizer, TINY_TEXT[:length])
    result = evaluate(tiny_model, text, stride=stride)
    tokens = torch.from_numpy(text.tokens)
    n_targets = len(tokens) - 1
    nats = [0.0] * n_targets
    starts = [*range(0, n_targets - 32, stride), max(n_targets - 32, 0)]
    for target in range(n_targets):
        start = next(start for start in starts if target < start + 32)
        log_probabilities = tiny_model(tokens[None, start : target + 1])[0, -1].log_softmax(-1)
        nats[target] = -float(log_probabilities[tokens[target + 1]])
    assert (result.n_tokens, result.n_bytes) == (n_targets, text.n_bytes)
    assert math.isclose(result.nats, sum(nats), rel_tol=1e-4)


@pytest.mark.parametrize("stride", [0, -1, 33])
def test_strides_that_are_none(tiny_model: Decoder, tiny_tokenizer: Tokenizer, stride: int) -> None:
    with pytest.raises(ConfigError, match=f"at least 1 and at most the context's 32 tokens; got {stride}"):
        evaluate(tiny_model, token_file(tiny_tokenizer, TINY_TEXT), stride=stride)


class Spinner:
    """A model that finds the next token 60 % likely to be the one above, and the one below with the rest."""

    vocab_size, context_length = 3, 4

    def __init__(self) -> None:
        self.tokenizer = simple.train_on(["ab"], "characters", special_tokens=["<|endoftext|>"])

    def start(self, batch: int, source: Any = None) -> None: ...

    def __call__(self, tokens: torch.Tensor, state: Any = None, last_only: bool = False) -> torch.Tensor:
        above, below = (F.one_hot((tokens + turn) % 3, 3) for turn in (1, 2))
        return (0.6 * above + 0.4 * below + 1e-30).log()


def test_by_hand() -> None:
    """Of five tokens, three are those above; they cost ln 1/0.6 each, the two others ln 1/0.4."""
    text = TokenFile(
        tokens=np.array([0, 1, 2, 1, 0, 1]),
        document_starts=np.zeros(1, np.uint64),
        loss_mask=None,
        vocab_size=3,
        n_bytes=5,
    )
    result = evaluate(Spinner(), text)
    right, wrong = -math.log(0.6), -math.log(0.4)
    assert math.isclose(result.nats, 3 * right + 2 * wrong, rel_tol=1e-6)
    assert result.accuracy == 0.6
    assert [n for n, _ in result.by_position] == [2, 1, 1, 1]
    expected = [right + right, right, wrong, wrong]
    assert [nats for _, nats in result.by_position] == pytest.approx(expected, rel=1e-6)
    ((n_tokens, confidence, n_right),) = [entry for entry in result.by_confidence if entry[0]]
    assert (n_tokens, n_right) == (5, 3)
    assert confidence == pytest.approx(3.0)
    assert result.calibration_error == pytest.approx(0.0, abs=1e-6)
    surer = evaluate(Spinner(), dataclasses.replace(text, tokens=np.array([0, 1, 2, 0, 1, 2])))
    assert surer.accuracy == 1
    assert surer.calibration_error == pytest.approx(0.4)
    shown = describe(surer)
    assert "60.0 %   100.0 %   of 5 tokens" in shown
    assert re.search(r"^ +1  0\.5108\n +2-3  0\.5108\n +4  0\.5108$", shown, re.MULTILINE)


def test_a_model_that_knows_nothing_needs_the_logarithm_of_the_vocabulary(
    tiny_model: Decoder, tiny_tokenizer: Tokenizer
) -> None:
    torch.nn.init.zeros_(tiny_model.unembed.weight)
    result = evaluate(tiny_model, token_file(tiny_tokenizer, TINY_TEXT))
    assert math.isclose(result.loss, math.log(tiny_tokenizer.vocab_size), rel_tol=1e-5)


def test_a_part_of_a_long_text(tiny_model: Decoder, tiny_tokenizer: Tokenizer) -> None:
    text = token_file(tiny_tokenizer, TINY_TEXT)
    part = evaluate(tiny_model, text, most_tokens=100)
    assert part.n_tokens == 96
    assert evaluate(tiny_model, text, most_tokens=10**9).n_tokens == len(text.tokens) - 1


def test_end_tokens_stand_for_no_bytes(tiny_model: Decoder, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one<|endoftext|>two", encoding="utf-8")
    (tmp_path / "b.txt").write_text("日本", encoding="utf-8")
    assert evaluate_texts(tiny_model, [tmp_path]).n_bytes == 3 + 3 + 6


def test_unknown_words_count_as_spelled_out() -> None:
    tokenizer = simple.train_on(["a b a b"], "words", special_tokens=["<|endoftext|>"])
    model = random_decoder(
        ModelConfig(vocab_size=tokenizer.vocab_size, context_length=4, n_layers=1, d_model=8, n_heads=1)
    )
    torch.nn.init.zeros_(model.unembed.weight)
    model.tokenizer = tokenizer
    text = token_file(tokenizer, "a b é wood b")  # " é" and " wood" are unknown
    result = evaluate(model, text)
    assert (result.n_tokens, result.n_unknown, result.unknown_bytes, result.n_bytes) == (5, 2, 8, 13)
    bits = 5 * math.log2(tokenizer.vocab_size) + 8 * (3 + 1) + 8 * (5 + 1)
    assert math.isclose(result.bits_per_byte, bits / 13, rel_tol=1e-5)
    known = evaluate(model, text, most_tokens=4)
    assert (known.n_tokens, known.n_unknown, known.n_bytes) == (4, 2, 11)
    assert evaluate(model, token_file(tokenizer, "a b a")).n_unknown == 0


def test_nothing_to_predict(tiny_model: Decoder, tiny_tokenizer: Tokenizer) -> None:
    with pytest.raises(DataError, match="no token to predict"):
        evaluate(tiny_model, token_file(tiny_tokenizer, ""))


@pytest.mark.parametrize("kind", ["bytes", "characters", "words"])
@pytest.mark.parametrize("stride", [None, 3])
def test_a_tokenizer_without_special_tokens(tmp_path: Path, kind: str, stride: int | None) -> None:
    """The first token costs the logarithm of the vocabulary; then it is a text like any other, by the plain loop."""
    said = ["One line, and two", " — naïve.\n"]
    for number, text in enumerate(said):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    if kind == "bytes":
        tokenizer = Tokenizer.train_on(said, vocab_size=260, special_tokens=[])
    else:
        tokenizer = simple.train_on(said, kind, special_tokens=[])  # type: ignore[arg-type]
    assert tokenizer.begin_token is None
    shape = ModelConfig(vocab_size=tokenizer.vocab_size + 3, context_length=8, n_layers=1, d_model=8, n_heads=1)
    model = random_decoder(shape, tokenizer)
    result = evaluate_texts(model, [tmp_path], stride=stride)
    tokens = torch.tensor([token for text in said for token in tokenizer.encode(text)])
    nats, n_targets = math.log(tokenizer.vocab_size), len(tokens) - 1
    starts = [*range(0, n_targets, 8)] if stride is None else [*range(0, n_targets - 8, 3), max(n_targets - 8, 0)]
    for target in range(n_targets):
        start = next(start for start in starts if target < start + 8)
        nats -= float(model(tokens[None, start : target + 1])[0, -1].log_softmax(-1)[tokens[target + 1]])
    assert (result.n_tokens, result.n_bytes) == (len(tokens), len("".join(said).encode()))
    assert math.isclose(result.nats, nats, rel_tol=1e-5)
    assert math.isclose(result.bits_per_byte, nats / math.log(2) / result.n_bytes, rel_tol=1e-5)


def test_a_text_of_one_token_that_nothing_leads(tmp_path: Path) -> None:
    tokenizer = simple.train_on(["ab"], "characters", special_tokens=[])
    shape = ModelConfig(vocab_size=tokenizer.vocab_size, context_length=8, n_layers=1, d_model=8, n_heads=1)
    (tmp_path / "a.txt").write_text("a", encoding="utf-8")
    result = evaluate_texts(random_decoder(shape, tokenizer), [tmp_path])
    assert (result.n_tokens, result.n_bytes, result.nats) == (1, 1, math.log(tokenizer.vocab_size))
    (tmp_path / "a.txt").write_text("é", encoding="utf-8")  # unknown: it is spelled out besides, with its end
    result = evaluate_texts(random_decoder(shape, tokenizer), [tmp_path])
    assert math.isclose(result.bits_per_byte, (math.log2(tokenizer.vocab_size) + 8 * (2 + 1)) / 2)
    assert "accuracy       0.0 %" in describe(result)


def test_documents_are_led_by_the_token_that_they_begin_with(tmp_path: Path) -> None:
    marks = ["<|begin_of_text|>", "<|end_of_text|>"]
    tokenizer = Tokenizer.train_on(["ab"], vocab_size=258, special_tokens=marks)
    shape = ModelConfig(vocab_size=tokenizer.vocab_size, context_length=8, n_layers=1, d_model=8, n_heads=1)
    model = random_decoder(shape, tokenizer)
    (tmp_path / "a.txt").write_text("ab", encoding="utf-8")
    begin = tokenizer.special_tokens[marks[0]]
    log_probabilities = model(torch.tensor([[begin, *tokenizer.encode("a")]])).log_softmax(-1)
    nats = -sum(float(log_probabilities[0, at, token]) for at, token in enumerate(tokenizer.encode("ab")))
    assert math.isclose(evaluate_texts(model, [tmp_path]).nats, nats, rel_tol=1e-5)
