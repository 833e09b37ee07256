"""The splitting of text into words, against the regular expressions as others run them."""

from __future__ import annotations

import itertools

import pytest
import regex
import tiktoken
from hypothesis import given
from tokenizers import pre_tokenizers

from onward import _core
from onward.tokenizer import Tokenizer, reference

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


def test_classes_of_all_characters_are_those_of_unicode_16() -> None:
    classes = _core.char_classes()
    everything = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))
    of_class = {number: set(regex.findall(pattern, everything)) for number, pattern in CLASS_PATTERNS.items()}
    for number, characters in of_class.items():
        assert {c for c in everything if classes[ord(c)] == number} == characters


def test_tokenizers_classes_characters_alike() -> None:
    text = every_class_border()
    pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    expected = [text[begin:end].encode() for _, (begin, end) in pre_tokenizer.pre_tokenize_str(text)]
    assert words(text) == expected


def test_tiktoken_classes_characters_alike(gpt2: Tokenizer, tiktoken_gpt2: tiktoken.Encoding) -> None:
    text = every_class_border()
    assert gpt2.encode(text) == tiktoken_gpt2.encode(text)


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


@given(tricky_text)
def test_core_splits_as_the_published_expression(text: str) -> None:
    assert words(text) == [word.encode() for word in reference.split(text)]


@given(tricky_text)
def test_reference_splits_as_regex(text: str) -> None:
    assert reference.split(text) == regex.findall(reference.PATTERNS["gpt2"], text)


def test_real_texts_split_as_the_published_expression(real_texts: dict[str, str]) -> None:
    for text in real_texts.values():
        assert words(text) == [word.encode() for word in reference.split(text)]


@pytest.mark.parametrize(
    "invalid",
    [b"\xff", b"\x80", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe6\x97", b"\xf0\x9f\x99"],
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
