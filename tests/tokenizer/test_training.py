"""Training, against Hugging Face's trainer and against the plain twin."""

from __future__ import annotations

import gzip
import json
import lzma
import random
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from onward import _core
from onward.errors import TokenizerError
from onward.tokenizer import Tokenizer, reference

from .conftest import SHAKESPEARE, tricky_text

CHINESE = (
    "道可道，非常道。名可名，非常名。無名天地之始；有名萬物之母。故常無欲，以觀其妙；常有欲，以觀其徼。"
    "此兩者，同出而異名，同謂之玄。玄之又玄，眾妙之門。天下皆知美之為美，斯惡已。皆知善之為善，斯不善已。"
    "故有無相生，難易相成，長短相較，高下相傾，音聲相和，前後相隨。是以聖人處無為之事，行不言之教。\n"
    "上善若水。水善利萬物而不爭，處眾人之所惡，故幾於道。居善地，心善淵，與善仁，言善信，正善治，事善能，動善時。\n"
)
ENGLISH = SHAKESPEARE[:50_000]
CODE = Path(__file__).read_text() + Path(reference.__file__).read_text()


def learned(text: str, token_limit: int) -> list[tuple[int, int, int]]:
    counts = _core.WordCounts("gpt2")
    counts.feed(text)
    counts.end_text()
    return counts.train(token_limit)


def learned_by_tokenizers(text: str, token_limit: int) -> list[tuple[int, int, int]]:
    peer = tokenizers.Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=token_limit, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    peer.train_from_iterator([text], trainer)
    model = json.loads(peer.to_str())["model"]
    ids = model["vocab"]
    return [(ids[left], ids[right], ids[left + right]) for left, right in model["merges"]]


@pytest.mark.parametrize("token_limit", [260, 320, 700])
@pytest.mark.parametrize("text", [ENGLISH, CODE, CHINESE, "a" * 5000], ids=["english", "code", "chinese", "one letter"])
def test_learns_the_merges_that_tokenizers_learns(text: str, token_limit: int) -> None:
    merges = learned(text, token_limit)
    assert merges == learned_by_tokenizers(text, token_limit)
    assert len(merges) == token_limit - 256 or text in (CHINESE, "a" * 5000)  # which fill fewer


def test_learns_the_merges_that_tokenizers_learns_from_a_book(real_texts: dict[str, str]) -> None:
    text = real_texts["alice_in_wonderland"] + real_texts["wikitext2_raw_valid"]
    for token_limit in (1000, 5000, 12000):
        assert learned(text, token_limit) == learned_by_tokenizers(text, token_limit)


def test_learns_the_merges_that_tokenizers_learns_from_few_letters() -> None:
    """Many ties, pairs that overlap themselves, tokens that could be made in several ways."""
    draw = random.Random(1)
    for _ in range(60):
        letters = draw.choice(["a", "ab", "abc"])
        words = [
            "".join(draw.choices(letters, k=draw.choice([1, 3, 8, 20, 60]))) for _ in range(draw.choice([1, 5, 20]))
        ]
        text = " ".join(draw.choices(words, k=2 * len(words)))
        token_limit = 256 + draw.choice([1, 5, 20, 200])
        assert learned(text, token_limit) == learned_by_tokenizers(text, token_limit)


@given(st.lists(tricky_text, max_size=5), st.integers(256, 400), st.sampled_from(_core.split_patterns()))
def test_core_learns_what_the_reference_learns(texts: list[str], token_limit: int, pattern: str) -> None:
    counts = _core.WordCounts(pattern)
    for text in texts:
        counts.feed(text)
        counts.end_text()
    assert counts.train(token_limit) == reference.train(texts, token_limit, pattern)


@given(tricky_text, st.lists(st.integers(1, 90), min_size=1), st.sampled_from(_core.split_patterns()))
def test_text_in_parts_is_the_text(text: str, lengths: list[int], pattern: str) -> None:
    whole = _core.WordCounts(pattern)
    whole.feed(text)
    whole.end_text()
    parts = _core.WordCounts(pattern)
    rest = text.encode()
    for length in lengths * len(rest):
        parts.feed(rest[:length])
        rest = rest[length:]
    parts.end_text()
    assert len(parts) == len(whole)
    assert parts.train(500) == whole.train(500)


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", "smollm2", "whitespace"])
@pytest.mark.parametrize("text", [CHINESE.replace("\n", ""), ENGLISH], ids=["chinese", "english"])
def test_blocks_of_every_size_are_the_text(text: str, pattern: str) -> None:
    data = text.encode()[:3000]
    expected = _core.WordCounts(pattern)
    expected.feed(data.decode("utf-8", "ignore"))
    expected.end_text()
    for size in (1, 2, 3, 7, 100, 999):
        counts = _core.WordCounts(pattern)
        for begin in range(0, len(data), size):
            counts.feed(data.decode("utf-8", "ignore").encode()[begin : begin + size])
        counts.end_text()
        assert len(counts) == len(expected)
        assert counts.train(400) == expected.train(400)


def test_a_file_is_learned_as_its_text(tmp_path: Path) -> None:
    text = (ENGLISH + CHINESE) * 40  # several blocks
    file = tmp_path / "text.txt"
    file.write_text(text)
    assert len(text.encode()) > 1 << 16
    assert Tokenizer.train([file], vocab_size=500) == Tokenizer.train_on([text], vocab_size=500)


def test_a_rare_pair_is_not_merged() -> None:
    counts = _core.WordCounts("gpt2")
    counts.feed(ENGLISH)
    counts.end_text()
    merges = counts.train(5000)
    for frequency in (2, 30, 31, 1000):
        frequent = counts.train(5000, min_frequency=frequency)
        assert frequent == merges[: len(frequent)]
    assert 0 < len(counts.train(5000, min_frequency=1000)) < len(counts.train(5000, min_frequency=31))
    assert counts.train(5000, min_frequency=10**9) == []


def test_no_token_is_longer_than_allowed() -> None:
    tokenizer = Tokenizer.train_on([ENGLISH], vocab_size=600, max_token_length=4)
    lengths = [len(tokenizer.token_bytes(id_)) for id_ in range(599)]
    assert max(lengths) == 4
    assert Tokenizer.train_on([ENGLISH], vocab_size=257, max_token_length=1).vocab_size == 257
    with pytest.raises(TokenizerError, match="can fill 257 tokens, not 258"):
        Tokenizer.train_on([ENGLISH], vocab_size=258, max_token_length=1)


def test_every_kind_of_file_is_its_text(tmp_path: Path) -> None:
    texts = [ENGLISH, CHINESE, "a\nb\n"]
    expected = Tokenizer.train_on(texts, vocab_size=500)
    lines = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(texts))
    (tmp_path / "folder/below").mkdir(parents=True)
    (tmp_path / "folder/one.txt").write_text(ENGLISH)
    (tmp_path / "folder/below/two.txt.gz").write_bytes(gzip.compress(CHINESE.encode()))
    (tmp_path / "folder/below/three.md").write_text("a\nb\n")
    (tmp_path / "folder/below/image.png").write_bytes(b"\x89PNG")
    (tmp_path / "lines.jsonl").write_text(lines)
    (tmp_path / "lines.jsonl.xz").write_bytes(lzma.compress(lines.encode()))
    for source in ("folder", "lines.jsonl", "lines.jsonl.xz"):
        assert Tokenizer.train([tmp_path / source], vocab_size=500) == expected


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    files: dict[str, tuple[bytes, str]] = {
        "cut.txt.gz": (gzip.compress(b"text" * 1000)[:-9], "cannot be read: "),
        "none.txt.gz": (b"plain", "cannot be read: Not a gzipped file"),
        "none.txt.xz": (b"plain", "cannot be read: "),
        "a.jsonl": (b'{"text": "a"}\n{"text"', 'line 2 is not a JSON object with a "text"'),
        "b.jsonl": (b'{"text": 7}\n', "line 1 is not"),
        "c.jsonl": (b"[1]\n", "line 1 is not"),
        "d.jsonl": (b'{"other": "a"}\n', "line 1 is not a JSON object with a \"text\": 'text'"),
        "e.jsonl": (b'{"text": "\\ud800"}\n', "line 1 is not"),
        "f.jsonl": (b"\xff\n", "line 1 is not"),
        "g.jsonl": (b"[" * 100_000, "line 1 is not"),
    }
    for name, (content, message) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TokenizerError) as refusal:
            Tokenizer.train([tmp_path / name], vocab_size=300)
        assert str(refusal.value).startswith(f"{tmp_path / name}: {message}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(TokenizerError, match=r"empty: no text in this folder; expected files that end in \.txt, \.md"):
        Tokenizer.train(tmp_path / "empty", vocab_size=300)


def test_ids_are_bytes_then_merges_then_special_tokens() -> None:
    tokenizer = Tokenizer.train_on(["ab ab ab"], vocab_size=260, special_tokens=["<a>", "<b>"])
    assert [tokenizer.token_bytes(id_) for id_ in (0, 255, 256, 257)] == [b"!", b"\xad", b"ab", b" ab"]
    assert tokenizer.special_tokens == {"<a>": 258, "<b>": 259}
    assert tokenizer.end_token is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 256}, "vocab_size is 256, expected 257"),
        ({"vocab_size": 10**12}, "vocab_size is 1000000000000, expected 257"),
        ({"vocab_size": 5000}, r"the text can fill 258 tokens, not 5,000: pass vocab_size=258 or less, or more text"),
        (
            {"vocab_size": 300, "split_pattern": r"\\w+"},
            r"the split pattern '.*' is unknown; there are: gpt2, cl100k, ",
        ),
        ({"vocab_size": 300, "special_tokens": [""]}, "special token 0 is ''"),
        ({"vocab_size": 300, "special_tokens": ["<a>", "<a>"]}, "special token 1 is '<a>'"),
        ({"vocab_size": 257, "special_tokens": ["a"]}, "the ids 64 and 256 are both the token b'a'"),
        ({"vocab_size": 300, "special_tokens": ["\ud800"]}, "special token 0: character 0"),
    ],
)
def test_impossible_sizes_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.train_on(["ab"], **arguments)  # type: ignore[arg-type]


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "image.png"
    binary.write_bytes(b"plain " * 300_000 + b"\x89PNG")
    with pytest.raises(TokenizerError, match=r"image\.png: byte 1800000 is 0x89, which is not UTF-8"):
        Tokenizer.train([binary], vocab_size=300)
    with pytest.raises(TokenizerError, match=r"none\.txt: cannot be read: No such file"):
        Tokenizer.train([tmp_path / "none.txt"], vocab_size=300)
    with pytest.raises(TokenizerError, match=r"text 1: character 2 is '\\ud83d'"):
        Tokenizer.train_on(["good", "ab\ud83d"], vocab_size=300)
    with pytest.raises(TokenizerError, match="can fill 257 tokens"):
        Tokenizer.train_on([], vocab_size=300)


def test_a_word_of_a_megabyte_is_learned_in_time() -> None:
    merges = learned("a" * 1_000_000, 300)
    assert [left == right for left, right, _ in merges[:19]] == [True] * 19  # a, aa, aaaa, ... 2 ** 19
