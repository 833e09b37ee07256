"""The splitting of text into words, against the regular expressions as others run them."""

from __future__ import annotations

import functools
import itertools
import json

import pytest
import tiktoken
import tokenizers
from hypothesis import given
from tokenizers import pre_tokenizers

from onward import _core
from onward.tokenizer import Tokenizer, reference
from onward.tokenizer.pre_tokenizers import pre_tokenizer_of

from .conftest import tricky_text

CLASS_PATTERNS = {
    1: r"[\p{Lu}\p{Lt}]",
    2: r"\p{Ll}",
    3: r"[\p{Lm}\p{Lo}]",
    4: r"\p{M}",
    5: r"\p{N}",
    6: r"\s",
}


def words(text: str | bytes, pattern: str = "gpt2") -> list[bytes]:
    data = text.encode() if isinstance(text, str) else text
    return [data[begin:end] for begin, end in itertools.pairwise([0, *_core.split_ends(pattern, text)])]


def every_class_border() -> str:
    """The first and last character of every run of equal class, each between a letter, a number and a sign."""
    classes = _core.char_classes()
    borders = [c for c in range(1, len(classes)) if classes[c] != classes[c - 1]]
    chosen = [c for border in borders for c in (border - 1, border) if not 0xD800 <= c < 0xE000]
    return "".join(f"a{chr(c)}1{chr(c)}! {chr(c)} {chr(c)}" for c in chosen)


EVERY_CHARACTER = [chr(c) for c in (*range(0xD800), *range(0xE000, 0x110000))]
RUST_ONLY_NUMERALS = {*map(chr, range(0x11DE0, 0x11DEA)), *map(chr, range(0x16FF4, 0x16FF7))}
"""Numerals of Unicode 17: Rust's table, by which that build of tokenizers tells digits apart, has them already."""


def test_tokenizers_classes_all_characters_alike() -> None:
    """Its expressions know Unicode 16. All in one text, cut into runs; then each run by its first character."""
    everything = "".join(EVERY_CHARACTER)
    runs = words_of_expression(everything, "|".join(f"{pattern}+" for pattern in CLASS_PATTERNS.values()))
    classes = _core.char_classes()
    expected = itertools.groupby(EVERY_CHARACTER, key=lambda character: classes[ord(character)])
    assert runs == ["".join(run) for _, run in expected]
    firsts = [run[0] for run in runs]
    for number, pattern in CLASS_PATTERNS.items():
        others = words_of_expression("".join(firsts), pattern, behavior="removed")
        assert {c for c in firsts if classes[ord(c)] == number} == set(firsts) - set("".join(others))


def test_tiktoken_classes_all_characters_alike() -> None:
    """What an expression does not match, tiktoken leaves out."""
    classes = _core.char_classes()
    bytes_alone = {bytes([byte]): byte for byte in range(256)}
    for number, pattern in CLASS_PATTERNS.items():
        peer = tiktoken.Encoding("class", pat_str=pattern + "+", mergeable_ranks=bytes_alone, special_tokens={})
        found = bytes(peer.encode_ordinary("".join(EVERY_CHARACTER))).decode()
        assert found == "".join(c for c in EVERY_CHARACTER if classes[ord(c)] == number)


@pytest.mark.parametrize("pattern", [pattern for pattern in _core.split_patterns() if pattern != "byte"])
def test_tokenizers_splits_all_characters_alike(pattern: str) -> None:
    """In one text: a character that one of them takes for another class than its neighbours parts them."""
    known = RUST_ONLY_NUMERALS if pattern == "smollm2" else set()
    text = "".join(c for c in EVERY_CHARACTER if c not in known)
    assert words(text, pattern) == words_of_tokenizers(text, pattern)


def test_tokenizers_has_some_digits_more() -> None:
    splitter = pre_tokenizers.Digits(individual_digits=True)
    text = "a".join(EVERY_CHARACTER)
    pieces = splitter.pre_tokenize_str(text)
    theirs = {text[begin:end] for _, (begin, end) in pieces if end == begin + 1} - {"a"}
    classes = _core.char_classes()
    assert theirs == {c for c in EVERY_CHARACTER if classes[ord(c)] == 5} | RUST_ONLY_NUMERALS


def test_tiktoken_encodes_all_characters_alike(published: tuple[Tokenizer, tiktoken.Encoding]) -> None:
    """Each one after a letter, a number, a blank and an apostrophe, and before a blank, a sign and a line end."""
    tokenizer, peer = published
    for begin in range(0, len(EVERY_CHARACTER), 1 << 17):
        text = "".join(f"a{c}1{c} {c}'{c}\n" for c in EVERY_CHARACTER[begin : begin + (1 << 17)])
        assert tokenizer.encode(text) == peer.encode_ordinary(text)


@pytest.mark.parametrize("pattern", _core.split_patterns())
def test_tokenizers_splits_all_borders_alike(pattern: str) -> None:
    text = every_class_border()
    assert words(text, pattern) == words_of_tokenizers(text, pattern)


@pytest.mark.parametrize("pattern", _core.split_patterns())
@given(text=tricky_text)
def test_tokenizers_splits_alike(pattern: str, text: str) -> None:
    assert words(text, pattern) == words_of_tokenizers(text, pattern)


def words_of_tokenizers(text: str, pattern: str) -> list[bytes]:
    pieces = peer_of(pattern).pre_tokenize_str(text)
    return [text[begin:end].encode() for _, (begin, end) in pieces]


def words_of_expression(text: str, pattern: str, behavior: str = "isolated") -> list[str]:
    """What tokenizers' own engine of regular expressions, whose tables are those of Unicode 16, matches."""
    expression = pattern.replace("(?s:", "(?m:")  # as Oniguruma calls it that a dot matches line ends too
    splitter = pre_tokenizers.Split(tokenizers.Regex(expression), behavior)
    return [text[begin:end] for _, (begin, end) in splitter.pre_tokenize_str(text)]


@functools.cache
def peer_of(pattern: str) -> pre_tokenizers.PreTokenizer:
    """What tokenizers makes of the pre-tokenizer that onward writes into tokenizer.json."""
    document = {"type": "BPE", "vocab": {}, "merges": []}
    written = json.dumps({"version": "1.0", "pre_tokenizer": pre_tokenizer_of(pattern), "model": document})
    return tokenizers.Tokenizer.from_str(written).pre_tokenizer


def test_tiktoken_classes_characters_alike(published: tuple[Tokenizer, tiktoken.Encoding]) -> None:
    tokenizer, peer = published
    text = every_class_border()
    assert tokenizer.encode(text) == peer.encode(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" ", [" "]),
        ("a  b", ["a", " ", " b"]),
        ("a \n b\n\nc \n", ["a", " \n", " b", "\n", "\n", "c", " \n"]),
        ("we're 'We'LL", ["we", "'re", " '", "We", "'", "LL"]),
        ("x\u3000 y", ["x", "\u3000", " y"]),
        ("1a!!", ["1", "a", "!!"]),
        ("it's's 'sun", ["it", "'s", "'s", " '", "sun"]),
    ],
)
def test_gpt2_words(text: str, expected: list[str]) -> None:
    assert words(text) == [word.encode() for word in expected]


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("cl100k", "'LL 12345 (x) \n\n \ty\n ", ["'LL", " ", "123", "45", " (", "x", ")", " \n\n", " ", "\ty", "\n "]),
        ("llama3", "a\n ", ["a", "\n", " "]),
        ("o200k", "HTMLParser's //\n/ ÀÉî中A", ["HTMLParser's", " //\n/", " ÀÉî中", "A"]),
        ("o200k", "ABc'LLd", ["ABc'LL", "d"]),
        ("smollm2", "a 12  34 b", ["a", " ", "1", "2", "  ", "3", "4", " b"]),
        ("whitespace", " a1,b  c\n", [" a1,b", " ", " c", "\n"]),
        ("byte", "a b\n", ["a b\n"]),
    ],
)
def test_words_of_the_other_patterns(pattern: str, text: str, expected: list[str]) -> None:
    assert words(text, pattern) == [word.encode() for word in expected]


@pytest.mark.parametrize("pattern", _core.split_patterns())
@given(text=tricky_text)
def test_core_splits_as_the_expression(pattern: str, text: str) -> None:
    expected = reference.split(text, pattern)
    assert words(text, pattern) == [word.encode() for word in expected]
    assert expected == words_of_expression(text, reference.PATTERNS[pattern])


@pytest.mark.parametrize("pattern", _core.split_patterns())
def test_real_texts_and_all_borders_split_as_the_expression(pattern: str, real_texts: dict[str, str]) -> None:
    for text in (*real_texts.values(), every_class_border()):
        assert words(text, pattern) == [word.encode() for word in reference.split(text, pattern)]


@pytest.mark.parametrize(
    "invalid",
    [
        b"\xff",
        b"\x80",
        b"\xc3",
        b"\xd0",
        b"\xe9\x80",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xe6\x97",
        b"\xf0\x9f\x99",
    ],
)
def test_bytes_that_are_not_utf8_are_signs(invalid: bytes) -> None:
    """Each such byte is a character that is no letter, number or white space, wherever it stands."""
    for length in (0, 1, 40, 57, 61, 62, 63, 64, 130):
        before = b"a" * length + b" " if length else b""
        assert words(before + invalid + b"b c") == [b"a" * length] * bool(length) + [before[-1:] + invalid, b"b", b" c"]


@given(tricky_text)
def test_any_bytes_are_tiled(text: str) -> None:
    data = text.encode("utf-16-le")
    assert b"".join(words(data)) == data
