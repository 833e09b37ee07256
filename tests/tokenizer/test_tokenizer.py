"""Encoding and decoding, against tiktoken, tokenizers and the plain twin."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
import random
import string
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from onward import _core
from onward.errors import TokenizerError
from onward.tokenizer import Tokenizer, reference
from onward.tokenizer.tokenizer import Ids
from onward.tokenizer.vocabulary import Vocabulary

from .conftest import SHAKESPEARE, tricky_text

TEXT = (
    SHAKESPEARE[:5000]
    + "It's a truth, universally acknowledged: 日本語の 'naïve' reader reads 1234 pages!\n\n  And then?"
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train_on([TEXT], vocab_size=320, special_tokens=["<|endoftext|>", "<|end|>"])


SENTENCE = (
    "I am an amazing autoregressive, decoder-only, GPT-2 style transformer. "
    "One day I will exceed human level intelligence and take over the world!"
)
SENTENCE_IDS = [
    *(50256, 40, 716, 281, 4998, 1960, 382, 19741, 11, 875, 12342, 12, 8807, 11, 402, 11571, 12, 17, 3918, 47385, 13),
    *(1881, 1110, 314, 481, 7074, 1692, 1241, 4430, 290, 1011, 625, 262, 995, 0),
]


def test_gpt2_ids_of_a_known_sentence(gpt2: Tokenizer) -> None:
    text = "<|endoftext|>" + SENTENCE
    ids = gpt2.encode(text, allowed_special="all")
    assert ids == SENTENCE_IDS
    assert gpt2.decode(ids) == text
    assert gpt2.pieces(ids)[:4] == ["<|endoftext|>", "I", " am", " an"]
    assert gpt2.end_token == 50256
    assert gpt2.vocab_size == 50257


def test_ids_of_real_text_are_tiktokens(
    published: tuple[Tokenizer, tiktoken.Encoding], real_texts: dict[str, str]
) -> None:
    tokenizer, peer = published
    for text in real_texts.values():
        ids = tokenizer.encode(text)
        assert ids == peer.encode(text)
        assert tokenizer.decode(ids) == text


def test_ids_of_megabytes_are_tiktokens(published: tuple[Tokenizer, tiktoken.Encoding], shared_data: Path) -> None:
    tokenizer, peer = published
    files = sorted((shared_data / "text").glob("*.txt.gz"))
    texts = [gzip.decompress(file.read_bytes()).decode() for file in files]
    assert sum(map(len, texts)) > 2_500_000
    for text in texts:
        assert tokenizer.encode(text, disallowed_special=()) == peer.encode_ordinary(text)


def test_golden_ids(published: tuple[Tokenizer, tiktoken.Encoding], shared_data: Path) -> None:
    tokenizer, peer = published
    cases = gzip.decompress((shared_data / "golden/tokenizer_cases.jsonl.gz").read_bytes()).decode().splitlines()
    assert len(cases) == 44
    for case in map(json.loads, cases):
        assert tokenizer.encode(case["text"], disallowed_special=()) == case[peer.name], case["name"]


@given(text=tricky_text)
def test_ids_of_tricky_text_are_tiktokens(published: tuple[Tokenizer, tiktoken.Encoding], text: str) -> None:
    tokenizer, peer = published
    assert tokenizer.encode(text, disallowed_special=()) == peer.encode_ordinary(text)
    assert tokenizer.encode(text, allowed_special="all") == peer.encode(text, allowed_special="all")


@given(text=tricky_text)
def test_core_encodes_what_the_reference_encodes(tokenizer: Tokenizer, text: str) -> None:
    vocabulary = reference_vocabulary(tokenizer)
    ids = tokenizer.encode(text, disallowed_special=())
    assert ids == reference.encode(text, vocabulary)
    assert tokenizer.decode(ids) == reference.decode(ids, vocabulary) == text


@pytest.mark.parametrize("pattern", _core.split_patterns())
@given(text=tricky_text)
def test_core_encodes_what_the_reference_encodes_in_every_pattern(pattern: str, text: str) -> None:
    tokenizer = of_pattern(pattern)
    assert tokenizer.encode(text, disallowed_special=()) == reference.encode(text, reference_vocabulary(tokenizer))


@functools.cache
def of_pattern(pattern: str) -> Tokenizer:
    return Tokenizer.train_on([TEXT], vocab_size=320, split_pattern=pattern)


def test_whole_words_are_not_merged() -> None:
    """As in Llama 3: a word that is a token is that token, though no merge makes it; never a special token."""
    made = reference_vocabulary(Tokenizer.train_on(["ab ab"], vocab_size=258, split_pattern="whitespace"))
    tokens = [*made.tokens[:257], b"hello", b"<end>"]
    vocabulary = dataclasses.replace(made, tokens=tokens, special_tokens={"<end>": 258}, whole_words=True)
    tokenizer = Tokenizer(vocabulary)
    assert tokenizer.encode("hello") == [257]
    assert len(tokenizer.encode("hellos")) == 6
    assert len(tokenizer.encode("<end>", disallowed_special=())) == 5
    for text in ("hello", "hello hello", "ab"):
        assert tokenizer.encode(text) == reference.encode(text, vocabulary)


def reference_vocabulary(tokenizer: Tokenizer) -> Vocabulary:
    return tokenizer._vocabulary


@given(text=tricky_text)
def test_array_is_the_list(tokenizer: Tokenizer, text: str) -> None:
    array = tokenizer.encode_array(text, allowed_special="all")
    assert array.tolist() == tokenizer.encode(text, allowed_special="all")
    assert array.dtype == np.uint16


def test_array_takes_the_smallest_type_that_fits(real_texts: dict[str, str]) -> None:
    assert Tokenizer.train_on([], vocab_size=256, special_tokens=[]).encode_array("é").dtype == np.uint8
    numbers = " ".join(str(n) for n in range(20_000))
    assert Tokenizer.train_on([numbers], vocab_size=20_000).encode_array("1").dtype == np.uint16


def test_words_are_remembered_right() -> None:
    """More words, and longer ones, than the encoder remembers; a second time around they give the same ids."""
    tokenizer = Tokenizer.train_on([TEXT], vocab_size=320)
    numbers = [str(n * n) * (1 + n % 7) + "x\x00"[: n % 3] for n in range(60_000)]
    texts = [" ".join(numbers[begin : begin + 20_000]) for begin in (0, 20_000, 40_000, 0)]
    arrays = [tokenizer.encode_array(text) for text in texts]
    assert [tokenizer.decode(array) for array in arrays] == texts
    assert arrays[0].tolist() == arrays[3].tolist()
    head = texts[0][:20_000]
    assert Tokenizer.train_on([TEXT], vocab_size=320).encode(head) == reference.encode(
        head, reference_vocabulary(tokenizer)
    )


@pytest.mark.parametrize("length", [1, 15, 16, 17, 32, 33, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 2000])
def test_words_of_every_length(tokenizer: Tokenizer, length: int) -> None:
    word = ("acknowledgedly" * 200)[:length]
    assert tokenizer.encode(word) == reference.encode(word, reference_vocabulary(tokenizer))
    assert tokenizer.encode("x " + word + " ") == reference.encode("x " + word + " ", reference_vocabulary(tokenizer))


@pytest.mark.parametrize("letters", ["ab", "aab", "abcde"])
def test_long_words_whose_merges_are_in_any_order(letters: str) -> None:
    """A merge may make a pair of lower rank, which then is next; so it is in files that others wrote."""
    draw = random.Random(1)
    text = " ".join("".join(draw.choices(letters, k=8)) for _ in range(300))
    made = reference_vocabulary(Tokenizer.train_on([text], vocab_size=300))
    for _ in range(5):
        vocabulary = dataclasses.replace(made, merges=draw.sample(made.merges, k=len(made.merges)))
        tokenizer = Tokenizer(vocabulary)
        for length in (6, 40, 1000, 1030, 1500):
            word = "".join(draw.choices(letters, k=length))
            assert tokenizer.encode(word) == reference.encode(word, vocabulary)


@pytest.mark.parametrize("n_letters", [1025, 1030])
def test_long_words_of_one_letter(n_letters: int) -> None:
    """In the order of the ranks, whatever it is: where a merge makes a pair of lower rank, in another way."""
    made = reference_vocabulary(Tokenizer.train_on(["a" * 23, "a" * 190], vocab_size=268))
    draw = random.Random(n_letters)
    for merges in (made.merges, *(draw.sample(made.merges, k=len(made.merges)) for _ in range(3))):
        vocabulary = dataclasses.replace(made, merges=merges)
        word = "a" * n_letters
        assert Tokenizer(vocabulary).encode(word) == reference.encode(word, vocabulary)


@pytest.mark.parametrize("word", ["a" * 1100, "ab" * 550, "aab" * 400])
def test_long_words_that_repeat_themselves(word: str) -> None:
    """Their pairs overlap, and the positions of pairs go stale in every way."""
    tokenizer = Tokenizer.train_on(["a" * 90 + " " + "ab" * 40 + " " + "aab" * 30], vocab_size=272)
    assert tokenizer.encode(word) == reference.encode(word, reference_vocabulary(tokenizer))


@pytest.mark.parametrize("unit", ["a", " ", "ab", "é", "'", "0", "\n", "letters", "unicode"])
def test_megabytes_without_a_break_take_linear_time(gpt2: Tokenizer, unit: str) -> None:
    """Eight times the text takes ten times the time at most; what is less than 20 ms is not measured."""
    draw = random.Random(1)
    if unit == "letters":
        unit = "".join(draw.choices(string.ascii_letters, k=1 << 20))
    elif unit == "unicode":
        unit = "".join(map(chr, draw.choices(range(0x100, 0xD800), k=1 << 18)))

    def seconds(n_bytes: int) -> float:
        text = unit * (n_bytes // len(unit.encode()))
        begin = time.process_time()
        ids = gpt2.encode_array(text)
        elapsed = time.process_time() - begin
        assert gpt2.decode(ids) == text
        return elapsed

    # Other work on the machine empties the cache now and then; time that is not linear is never linear by chance.
    assert min(seconds(8 << 20) / max(seconds(1 << 20), 0.02) for _ in range(4)) < 10


def test_threads_share_a_tokenizer(tokenizer: Tokenizer) -> None:
    expected = tokenizer.encode(TEXT)
    results: list[list[int]] = []
    threads = [
        threading.Thread(target=lambda: results.extend(tokenizer.encode(TEXT) for _ in range(20))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 80


def test_a_batch_is_its_texts(tokenizer: Tokenizer) -> None:
    texts = [TEXT[begin : begin + 40] for begin in range(0, 4000, 7)]
    expected = [tokenizer.encode(text) for text in texts]
    for threads in (1, 2, 8):
        assert [ids.tolist() for ids in tokenizer.encode_batch(texts, threads=threads)] == expected
    assert tokenizer.encode_batch([]) == []
    marked = tokenizer.encode_batch(iter(["a<|end|>"]), allowed_special={"<|end|>"})
    assert marked[0].tolist() == tokenizer.encode("a<|end|>", allowed_special="all")
    with pytest.raises(TokenizerError, match="'<|end|>' at character 1"):
        tokenizer.encode_batch(["a", "b<|end|>"])
    with pytest.raises(TokenizerError, match="threads is 0, expected 1 or more"):
        tokenizer.encode_batch(["a"], threads=0)


# ---- special tokens ----


def test_special_tokens_in_text_are_refused_by_default(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError) as refusal:
        tokenizer.encode("é and <|endoftext|>")
    assert str(refusal.value) == (
        "the text holds the special token '<|endoftext|>' at character 6; pass allowed_special={'<|endoftext|>'} to "
        "encode it as that token, or disallowed_special=() to encode it as plain text"
    )
    with pytest.raises(TokenizerError, match=r"'<\|end\|>' at character 13"):
        tokenizer.encode_array("<|endoftext|><|end|>", allowed_special={"<|endoftext|>"})


def test_special_tokens_are_what_the_caller_says(tokenizer: Tokenizer) -> None:
    end, other = tokenizer.special_tokens["<|endoftext|>"], tokenizer.special_tokens["<|end|>"]
    text = "<|endoftext|><|end|>"
    assert tokenizer.encode(text, allowed_special="all") == [end, other]
    plain = tokenizer.encode(text, disallowed_special=())
    assert not {end, other} & set(plain)
    assert tokenizer.decode(plain) == text
    mixed = tokenizer.encode(text, allowed_special={"<|end|>"}, disallowed_special=())
    assert mixed[-1] == other
    assert end not in mixed
    with pytest.raises(TokenizerError, match="at character 13"):
        tokenizer.encode(text, disallowed_special={"<|end|>"})


def test_unknown_special_tokens_are_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(
        TokenizerError, match=r"allowed_special names '<x>', .* there are: '<\|endoftext\|>', '<\|end\|>'"
    ):
        tokenizer.encode("a", allowed_special={"<x>"})
    with pytest.raises(TokenizerError, match="allowed_special is 'everything', expected 'none', 'all' or a set"):
        tokenizer.encode("a", allowed_special="everything")  # type: ignore[arg-type]


def test_of_special_tokens_at_one_place_the_longest_counts() -> None:
    tokenizer = Tokenizer.train_on([""], vocab_size=260, special_tokens=["<a>", "<a><b>", "bb", "<a"])
    assert tokenizer.encode("<a><b><a>bb<a", allowed_special="all") == [257, 256, 258, 259]


# ---- decoding ----


@given(ids=st.lists(st.integers(0, 319), max_size=40))
def test_any_ids_decode(tokenizer: Tokenizer, ids: list[int]) -> None:
    data = tokenizer.decode_bytes(ids)
    assert data == b"".join(tokenizer.token_bytes(id_) for id_ in ids)
    assert tokenizer.decode(ids) == data.decode("utf-8", "replace")
    for dtype in (np.uint16, np.uint32, np.int64, np.uint64):
        assert tokenizer.decode(np.array(ids, dtype=dtype)) == tokenizer.decode(ids)
    assert tokenizer.decode(np.array(ids, dtype=np.uint16)[::-1]) == tokenizer.decode(ids[::-1])
    decoder = tokenizer.stream_decoder()
    parts = [decoder.push(id_) for id_ in ids]
    assert "".join(parts) + decoder.finish() == tokenizer.decode(ids)


one_of_each_width = st.sampled_from(["a", "é", "\u0416", "\u20ac", "\uffff", "\U0001f642", "\U0010ffff"])


@given(
    parts=st.lists(st.tuples(one_of_each_width, st.integers(1, 30)), max_size=8),
    end=st.sampled_from([b"", b"\xc3", b"\xe2\x82", b"\x80" * 20, b"\xed\xa0\x80", b"\xff"]),
)
def test_characters_of_every_width_decode(tokenizer: Tokenizer, parts: list[tuple[str, int]], end: bytes) -> None:
    data = "".join(character * count for character, count in parts).encode() + end
    ids = [_core.base_bytes().index(byte) for byte in data]
    assert tokenizer.decode_bytes(ids) == data
    assert tokenizer.decode(ids) == data.decode("utf-8", "replace")
    assert tokenizer.decode(ids, "ignore") == data.decode("utf-8", "ignore")
    if end:
        with pytest.raises(UnicodeDecodeError):
            tokenizer.decode(ids, "strict")


def test_a_stream_holds_back_half_characters(tokenizer: Tokenizer) -> None:
    decoder = tokenizer.stream_decoder()
    ids = tokenizer.encode("é🙂x")
    assert [decoder.push(id_) for id_ in ids] == ["", "é", "", "", "", "🙂", "x"]
    assert decoder.push(ids[0]) == ""
    assert decoder.finish() == "\ufffd"


def test_pieces_show_bytes_that_are_no_characters(tokenizer: Tokenizer) -> None:
    assert tokenizer.pieces(tokenizer.encode("é!")) == ["\\xc3", "\\xa9", "!"]


@given(text=tricky_text)
def test_offsets_are_where_the_tokens_stand(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, allowed_special="all")
    offsets = tokenizer.offsets(ids)
    assert len(offsets) == len(ids)
    for (begin, end), id_ in zip(offsets, ids, strict=True):
        token = tokenizer.token_bytes(id_)
        assert token in text[begin:end].encode()
        assert token.decode("utf-8", "ignore") in text[begin:end]
        assert end - begin <= len(token)


def test_offsets_of_known_tokens(tokenizer: Tokenizer) -> None:
    assert tokenizer.offsets([]) == []
    assert tokenizer.offsets(tokenizer.encode("é🙂x")) == [(0, 1), (0, 1), (1, 2), (1, 2), (1, 2), (1, 2), (2, 3)]


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 320], "id 320 at position 1 is not in the vocabulary, which has 0 to 319"),
        ([-1], "id -1 at position 0"),
        ([2**40], "id 1099511627776 at position 0"),
        (np.array([5, 320], dtype=np.uint16), "id 320 at position 1"),
        (np.array([2**32 + 1], dtype=np.uint64), "id 4294967297 at position 0"),
        ([10**30], "ids must be a list of integers"),
        (np.array([[1], [2]]), "got 2 dimensions of int64"),
        ([True], "of bool"),
    ],
)
def test_wrong_ids_are_refused(tokenizer: Tokenizer, ids: Ids, message: str) -> None:
    for decode in (tokenizer.decode, tokenizer.decode_bytes, tokenizer.pieces):
        with pytest.raises(TokenizerError, match=message):
            decode(ids)


def test_half_a_surrogate_pair_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(TokenizerError, match=r"character 2 is '\\ud83d', half of a surrogate pair"):
        tokenizer.encode("ab\ud83dc")


def test_nul_bytes_are_characters(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\x00\x00b\x00")) == "a\x00\x00b\x00"
    assert len(tokenizer.encode("\x00")) == 1


def printed_by(program: str) -> list[str]:
    """What a program prints in a process without the type checker of the tests."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.splitlines()


def test_wrong_types_are_refused() -> None:
    program = """
from onward.tokenizer import Tokenizer
tokenizer = Tokenizer.train_on(["abab"], vocab_size=258)
for call in (lambda: tokenizer.encode(b"ab"), lambda: tokenizer.decode([1.0]), lambda: tokenizer.decode(["a"])):
    try:
        call()
    except Exception as error:
        print(type(error).__name__, error)
"""
    assert printed_by(program) == [
        "TokenizerError encode takes a str, got bytes",
        "TokenizerError ids must be a list of integers, got 1 dimensions of float64",
        "TokenizerError ids must be a list of integers, got 1 dimensions of <U1",
    ]


def test_import_is_light() -> None:
    program = "import sys, onward.tokenizer; print(sorted({'torch', 'jaxtyping'} & set(sys.modules)))"
    assert printed_by(program) == ["[]"]
