"""Tokenizers to look at, by what is printed; the merges against the core."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from rich.console import Console

from onward.errors import TokenizerError
from onward.tokenizer import Tokenizer, simple
from onward.tokenizer.measure import measure
from onward.tokenizer.show import comparison, show

from .conftest import SHAKESPEARE, tricky_text

TEXT = SHAKESPEARE[:5000]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train_on([TEXT], vocab_size=320)


def shown(tokenizer: Tokenizer, text: str, *, color: bool) -> str:
    console = Console(file=io.StringIO(), force_terminal=color, color_system="standard" if color else None, width=60)
    show(tokenizer, text, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_every_token_and_every_merge_is_shown() -> None:
    tokenizer = Tokenizer.train_on(["be be bee"], vocab_size=260)
    assert shown(tokenizer, "be 🙂\n be<|endoftext|>", color=False).splitlines() == [
        r"be│ │\xf0│\x9f│\x99│\x82│\n",
        "│ be│<|endoftext|>",
        "",
        "     id  bytes  token",
        "    256      2  'be'",
        "    220      1  ' '",
        "    172      1  '\\xf0'",
        "    253      1  '\\x9f'",
        "    247      1  '\\x99'",
        "    224      1  '\\x82'",
        "    198      1  '\\n'",
        "    257      3  ' be'",
        "    259     13  '<|endoftext|>'",
        "9 tokens for 24 bytes, 2.67 bytes a token",
        "",
        "'be', merge by merge (the lowest rank first)",
        "    bytes  'b' 'e'",
        "        0  'be'",
        "",
        "' be', merge by merge (the lowest rank first)",
        "    bytes  ' ' 'b' 'e'",
        "        0  ' ' 'be'",
        "        1  ' be'",
    ]


def test_tokens_are_coloured_in_turn(tokenizer: Tokenizer) -> None:
    text = "First [bold]Citizen[/bold]: <|endoftext|>"
    first = shown(tokenizer, text, color=True).splitlines()[0]
    styles = re.findall(r"\x1b\[([\d;]+)m[^\x1b]+\x1b\[0m", first)
    n_tokens = len(tokenizer.encode(text, allowed_special="all"))
    assert styles == [("30;106", "30;103")[at % 2] for at in range(n_tokens - 1)] + ["37;45"]
    assert re.sub(r"\x1b\[[\d;]*m", "", first) == text


def test_unknown_words_are_shown() -> None:
    lines = shown(simple.train_on(["to be"], "words"), "to what", color=False).splitlines()
    assert lines[0] == "to│<|unknown|>"
    assert lines[-2:] == ["      2      ?  '<|unknown|>'", "2 tokens for 7 bytes, 3.50 bytes a token"]


@settings(deadline=None)
@given(text=tricky_text)
def test_merges_end_in_what_the_core_encodes(tokenizer: Tokenizer, text: str) -> None:
    words = tokenizer.words(text)
    assert "".join(words) == text
    for word in dict.fromkeys(words):
        steps = tokenizer.merge_steps(word)
        assert steps[-1][1] == tokenizer.encode(word, disallowed_special=())
        assert all(tokenizer.decode(ids) == word for _, ids in steps)
        assert [len(ids) for _, ids in steps] == list(range(len(word.encode()), len(steps[-1][1]) - 1, -1))


def test_what_has_no_merges_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match=r"'to be' is 2 words: \['to', ' be'\]; give one of them"):
        tokenizer.merge_steps("to be")
    with pytest.raises(TokenizerError, match="is 0 words"):
        tokenizer.merge_steps("")
    words = simple.train_on(["to be"], "words")
    assert words.words("to be!") == ["to", " be", "!"]
    with pytest.raises(TokenizerError, match="tokens are whole words, which nothing merges"):
        words.merge_steps("to")
    assert simple.train_on(["to be"], "characters").words("é b") == ["é", " ", "b"]


def test_measures_are_counted_by_hand(tokenizer: Tokenizer) -> None:
    characters = simple.train_on(["abc"], "characters")
    texts = ["ab é", "a <|endoftext|>"]
    found = measure(characters, texts)
    assert (found.n_bytes, found.n_words, found.n_tokens) == (5 + 15, 4, 19)
    assert (found.n_single_bytes, found.n_unknown) == (3, 16)
    assert measure(tokenizer, []).bytes_per_token == measure(tokenizer, []).tokens_per_word == 0
    figures = measure(tokenizer, [TEXT])
    pieces = tokenizer.pieces(tokenizer.encode(TEXT))
    assert figures.n_tokens == len(pieces)
    assert figures.n_single_bytes == sum(len(piece) == 1 for piece in pieces)
    assert figures.bytes_per_token == 5000 / len(pieces)
    assert figures.tokens_per_word == len(pieces) / len(TEXT.split())
    lines = comparison({"mine.json": (tokenizer, figures), "characters": (characters, found)}).splitlines()
    assert lines[1].split()[:2] == ["320", f"{len(pieces):,}"]
    assert lines[2].split() == ["5", "19", "1.05", "4.75", "15.8%", "84.2%", "characters"]
