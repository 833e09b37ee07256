"""Training, against Hugging Face's trainer and against the plain twin."""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import lzma
import random
import subprocess
import sys
from pathlib import Path

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from onward import _core
from onward.errors import TokenizerError
from onward.tokenizer import Tokenizer, reference, simple
from onward.tokenizer.sources import cut_safely
from onward.tokenizer.train import TrainingStatus
from onward.tokenizer.vocabulary import Vocabulary, vocabulary_from_merges

from .conftest import SHAKESPEARE, tricky_text

zstd = pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

CHINESE = (
    "道可道，非常道。名可名，非常名。無名天地之始；有名萬物之母。故常無欲，以觀其妙；常有欲，以觀其徼。"
    "此兩者，同出而異名，同謂之玄。玄之又玄，眾妙之門。天下皆知美之為美，斯惡已。皆知善之為善，斯不善已。"
    "故有無相生，難易相成，長短相較，高下相傾，音聲相和，前後相隨。是以聖人處無為之事，行不言之教。\n"
    "上善若水。水善利萬物而不爭，處眾人之所惡，故幾於道。居善地，心善淵，與善仁，言善信，正善治，事善能，動善時。\n"
)
ENGLISH = SHAKESPEARE[:50_000]
CODE = Path(__file__).read_text() + Path(reference.__file__).read_text()


BYTES = vocabulary_from_merges([], []).to_core()


def counted(texts: list[bytes], pattern: str = "gpt2", max_words: int = 1 << 32) -> _core.WordCounts:
    counts = _core.WordCounts(pattern, max_words=max_words)
    counts.count(texts)
    return counts


def learned(text: str, token_limit: int) -> list[tuple[int, int, int]]:
    return counted([text.encode()]).train(BYTES, token_limit)


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
    merges = counted([text.encode() for text in texts], pattern).train(BYTES, token_limit)
    assert merges == reference.train(texts, token_limit, pattern)


@given(tricky_text, st.lists(st.integers(1, 90), min_size=1), st.sampled_from(_core.split_patterns()))
def test_text_in_parts_is_the_text(text: str, lengths: list[int], pattern: str) -> None:
    data = text.encode()
    cuts = list(itertools.accumulate(lengths * (1 + len(data) // sum(lengths)), initial=0))
    blocks = [data[begin:end] for begin, end in itertools.pairwise(cuts)]
    pieces = list(cut_safely(blocks, pattern))
    assert b"".join(pieces) == data
    assert [word for piece in pieces for word in words_of(piece, pattern)] == words_of(data, pattern)


def words_of(data: bytes, pattern: str) -> list[bytes]:
    return [data[begin:end] for begin, end in itertools.pairwise([0, *_core.split_ends(pattern, data)])]


@pytest.mark.parametrize("pattern", ["gpt2", "cl100k", "o200k", "smollm2", "whitespace"])
@pytest.mark.parametrize("text", [CHINESE.replace("\n", ""), ENGLISH], ids=["chinese", "english"])
def test_blocks_of_every_size_are_the_text(text: str, pattern: str) -> None:
    data = text.encode()[:3000].decode("utf-8", "ignore").encode()
    for size in (1, 2, 3, 7, 100, 999):
        pieces = list(cut_safely([data[begin : begin + size] for begin in range(0, len(data), size)], pattern))
        assert [word for piece in pieces for word in words_of(piece, pattern)] == words_of(data, pattern)


def test_a_file_is_learned_as_its_text(tmp_path: Path) -> None:
    text = (ENGLISH + CHINESE) * 40  # several blocks
    file = tmp_path / "text.txt"
    file.write_text(text)
    assert len(text.encode()) > 1 << 16
    assert Tokenizer.train([file], vocab_size=500) == Tokenizer.train_on([text], vocab_size=500)


def test_a_rare_pair_is_not_merged() -> None:
    counts = counted([ENGLISH.encode()])
    merges = counts.train(BYTES, 5000)
    n_merges = []
    for frequency in (2, 30, 31, 1000):
        frequent = counts.train(BYTES, 5000, min_frequency=frequency)
        assert frequent == merges[: len(frequent)]
        n_merges.append(len(frequent))
    assert n_merges == sorted(n_merges, reverse=True)
    assert 0 < n_merges[-1] < n_merges[0]
    assert counts.train(BYTES, 5000, min_frequency=10**9) == []


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
    (tmp_path / "lines.jsonl.zst").write_bytes(zstd.compress(lines.encode()))
    for source in ("folder", "lines.jsonl", "lines.jsonl.xz", "lines.jsonl.zst"):
        assert Tokenizer.train([tmp_path / source], vocab_size=500) == expected


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    not_a_line = 'is not a JSON object with a "text"'
    files: dict[str, tuple[bytes, str]] = {
        "cut.txt.gz": (gzip.compress(b"text" * 1000)[:-9], "cannot read {}: "),
        "none.txt.gz": (b"plain", "cannot read {}: Not a gzipped file"),
        "none.txt.xz": (b"plain", "cannot read {}: "),
        "none.txt.zst": (b"plain", "cannot read {}: "),
        "cut.txt.zst": (zstd.compress(b"text" * 1000)[:-5], "cannot read {}: "),
        "wide.txt": ("text".encode("utf-16"), "{} is UTF-16; convert it to UTF-8 first"),
        "cut.txt": ("text é".encode()[:-1], "{} is not UTF-8 text: byte 0xc3 at offset 5; if it is text, "),
        "a.jsonl": (b'{"text": "a"}\n{"text"', f"{{}}: line 2 {not_a_line}"),
        "b.jsonl": (b'{"text": 7}\n', f"{{}}: line 1 {not_a_line}"),
        "c.jsonl": (b"[1]\n", f"{{}}: line 1 {not_a_line}"),
        "d.jsonl": (b'{"other": "a"}\n', f"{{}}: line 1 {not_a_line}: 'text'"),
        "e.jsonl": (b'{"text": "\\ud800"}\n', f"{{}}: line 1 {not_a_line}"),
        "f.jsonl": (b"\xff\n", f"{{}}: line 1 {not_a_line}"),
        "g.jsonl": (b"[" * 100_000, f"{{}}: line 1 {not_a_line}"),
    }
    for name, (content, message) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TokenizerError) as refusal:
            Tokenizer.train([tmp_path / name], vocab_size=300)
        assert str(refusal.value).startswith(message.format(tmp_path / name))
    (tmp_path / "empty").mkdir()
    with pytest.raises(TokenizerError, match=r"the folder .*empty has no \.txt, \.md or \.jsonl file in it, plain or"):
        Tokenizer.train(tmp_path / "empty", vocab_size=300)


def test_zstandard_without_a_module_for_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onward.tokenizer.sources._zstd", lambda: None)
    (tmp_path / "text.zst").write_bytes(zstd.compress(b"text"))
    with pytest.raises(
        TokenizerError, match=r"text\.zst: before Python 3\.14, \.zst takes: pip install 'onward\[zstd\]'"
    ):
        Tokenizer.train(tmp_path / "text.zst", vocab_size=300)


def test_a_mark_of_byte_order_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "marked.txt").write_bytes(b"\xef\xbb\xbf" + b"ab ab")
    assert Tokenizer.train(tmp_path / "marked.txt", vocab_size=259) == Tokenizer.train_on("ab ab", vocab_size=259)


# ---- threads, limits, what is said ----


def test_threads_and_pieces_and_runs_change_nothing(tmp_path: Path) -> None:
    texts = [(ENGLISH + CHINESE) * 20, CODE * 10, CHINESE, ENGLISH * 30]  # several blocks a thread
    (tmp_path / "whole.txt").write_text("\n".join(texts))
    parts = []
    for i, part in enumerate(
        cut_safely([(tmp_path / "whole.txt").read_bytes()[i : i + 70_000] for i in range(0, 7_000_000, 70_000)], "gpt2")
    ):
        parts.append(tmp_path / f"part{i:03}.txt")
        parts[-1].write_bytes(part)
    assert len(parts) > 30
    expected = Tokenizer.train(tmp_path / "whole.txt", vocab_size=900, threads=1)
    for files in ([tmp_path / "whole.txt"], parts, parts[::-1]):
        for threads in (1, 2, 8):
            assert Tokenizer.train(files, vocab_size=900, threads=threads) == expected
    # Every process hashes words in an order of its own.
    program = (
        "import hashlib, sys; from onward.tokenizer import Tokenizer;"
        "tokenizer = Tokenizer.train(sys.argv[1], vocab_size=900, threads=2); tokenizer.save(sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "whole.txt", tmp_path / "other.json"], check=True)
    assert Tokenizer.load(tmp_path / "other.json") == expected


def test_long_texts_in_memory_are_counted_by_threads() -> None:
    text = ENGLISH * 60
    assert Tokenizer.train_on(text, vocab_size=500, threads=2) == Tokenizer.train_on([text], vocab_size=500, threads=1)


def test_counts_are_of_64_bits() -> None:
    """Two counters that add each other's counts grow as Fibonacci's numbers do, here far beyond 2 ** 32."""
    frequent, rare = counted([b"ab"]), counted([b"ab"])
    for _ in range(30):
        frequent.add(rare)
        rare.add(frequent)
    assert len(frequent.train(BYTES, 300, min_frequency=2**32 + 1)) == 1
    assert frequent.train(BYTES, 300, min_frequency=2**60) == []


def test_the_rarest_words_are_dropped(tmp_path: Path) -> None:
    rare = " ".join(f"w{i}x{i * i}" for i in range(20_000))
    (tmp_path / "text.txt").write_text(f"{ENGLISH} {rare} {ENGLISH}")
    seen: list[TrainingStatus] = []
    arguments = {"vocab_size": 400, "split_pattern": "whitespace"}
    limited = Tokenizer.train(tmp_path / "text.txt", max_words=12_000, watch=seen.append, **arguments)
    status = seen[-1]
    assert 1000 < status.n_words <= 12_000
    assert status.dropped_words >= 20_000 + len(set(ENGLISH.split())) - 12_000
    assert len(rare) * 0.5 < status.dropped_bytes < status.n_bytes
    (sentence,) = status.left_out()
    share = 100 * status.dropped_bytes / status.n_bytes
    assert sentence == f"{status.dropped_words:,} of the rarest words were dropped, which are {share:.2f} % of the text"
    # Frequent words are there all the same; threads and chance have no part in which are.
    ids = limited.encode(ENGLISH[:2000])
    assert len(ids) < 1.05 * len(Tokenizer.train_on([ENGLISH], **arguments).encode(ENGLISH[:2000]))
    for threads in (1, 2, 8):
        assert Tokenizer.train(tmp_path / "text.txt", max_words=12_000, threads=threads, **arguments) == limited
    text = (tmp_path / "text.txt").read_text()
    assert Tokenizer.train_on([text], max_words=12_000, **arguments) == limited
    assert Tokenizer.train(tmp_path / "text.txt", max_words=10**6, watch=seen.append, **arguments) != limited
    assert (seen[-1].dropped_words, seen[-1].left_out()) == (0, [])


@given(st.lists(st.sampled_from("abcdefghij"), max_size=200), st.integers(1, 12))
def test_words_are_dropped_as_said(letters: list[str], max_words: int) -> None:
    """The slow twin: whenever there are more than allowed, those no more frequent than the median go."""
    counts: dict[str, int] = {}
    dropped_words = dropped_bytes = 0
    for letter in letters:
        counts[letter] = counts.get(letter, 0) + 1
        if len(counts) > max_words:
            median = sorted(counts.values())[len(counts) // 2]
            dropped_words += sum(count <= median for count in counts.values())
            dropped_bytes += sum(count for count in counts.values() if count <= median)
            counts = {word: count for word, count in counts.items() if count > median}
    words = counted([letter.encode() for letter in letters], max_words=max_words)
    assert len(words) == len(counts)
    assert words.dropped() == (dropped_words, dropped_bytes)


def test_only_so_much_text_is_read(tmp_path: Path) -> None:
    text = ("häufig " * 5000)[:-1]
    size = len(text.encode())
    (tmp_path / "a.txt").write_text(text)
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "anders"}) + "\n")
    for limit, n_bytes in ((size + 6, size + 6), (size, size), (size - 1, size - 1), (9 * 8 + 2, 9 * 8 + 1)):
        seen: list[TrainingStatus] = []
        Tokenizer.train([tmp_path], vocab_size=258, max_bytes=limit, watch=seen.append)
        assert seen[-1].n_bytes == n_bytes  # the last limit is in the midst of a character
        expected = [f"only the first {n_bytes:,} bytes of the text were read"] if limit < size + 6 else []
        assert (seen[-1].left_out(), seen[-1].cut_short) == (expected, bool(expected))
        told: list[TrainingStatus] = []
        Tokenizer.train_on((part for part in (text, "anders")), vocab_size=258, max_bytes=limit, watch=told.append)
        assert told[-1] == seen[-1]


def test_what_is_watched(tmp_path: Path) -> None:
    (tmp_path / "text.txt.gz").write_bytes(gzip.compress((ENGLISH * 60).encode()))
    seen: list[TrainingStatus] = []
    Tokenizer.train(tmp_path / "text.txt.gz", vocab_size=900, watch=seen.append, threads=2)
    size = (tmp_path / "text.txt.gz").stat().st_size
    counting = [status for status in seen if status.stage == "counting words"]
    merging = [status for status in seen if status.stage == "merging pairs"]
    assert seen == counting + merging
    assert len(counting) > 2
    assert len(merging) > 5
    assert {status.total for status in counting} == {size}
    assert [status.done for status in counting] == sorted(status.done for status in counting)
    assert counting[-1].done == size
    assert merging[-1].done == merging[-1].total == 899
    assert seen[-1].n_bytes == 60 * len(ENGLISH.encode())

    class EnoughError(Exception):
        pass

    def give_up(status: TrainingStatus) -> None:
        if status.stage == "merging pairs":
            raise EnoughError

    with pytest.raises(EnoughError):
        Tokenizer.train(tmp_path / "text.txt.gz", vocab_size=900, watch=give_up)


# ---- extending ----


def test_an_extended_tokenizer_keeps_its_ids(tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text(CODE)
    old = Tokenizer.train_on([ENGLISH], vocab_size=600, special_tokens=["<|endoftext|>", "<|user|>"])
    new = old.extend(tmp_path / "new.txt", vocab_size=800)
    assert new.vocab_size == 800
    assert new.special_tokens == old.special_tokens == {"<|endoftext|>": 598, "<|user|>": 599}
    assert [new.token_bytes(id_) for id_ in range(600)] == [old.token_bytes(id_) for id_ in range(600)]
    assert old.vocab_size == 600
    assert len(new.encode(CODE, disallowed_special=())) < 0.8 * len(old.encode(CODE, disallowed_special=()))
    for text in (CODE, ENGLISH, CHINESE):
        assert new.decode(new.encode(text, disallowed_special=())) == text
        marked = f"<|user|>{text}<|endoftext|>"
        ids = new.encode(marked, allowed_special="all")
        assert (ids[0], ids[-1]) == (599, 598)
        assert new.decode(ids) == marked
    assert [new.extend(tmp_path / "new.txt", vocab_size=900, threads=threads) for threads in (1, 2)] == [
        old.extend([tmp_path / "new.txt"], vocab_size=900)
    ] * 2


@functools.cache
def small_base(pattern: str) -> Vocabulary:
    return vocabulary_from_merges(reference.train([ENGLISH[:300]], 290, pattern), ["<|end|>", "the"], pattern)


@given(st.lists(tricky_text, max_size=4), st.integers(300, 340), st.sampled_from(["gpt2", "o200k", "byte"]))
def test_core_extends_as_the_reference_does(texts: list[str], token_limit: int, pattern: str) -> None:
    base = small_base(pattern)
    merges = counted([text.encode() for text in texts], pattern).train(base.to_core(), token_limit)
    assert merges == reference.extend(base, texts, token_limit)


def test_what_others_trained_can_be_extended(gpt2: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text(CHINESE * 3)
    new = gpt2.extend(tmp_path / "new.txt", vocab_size=50_400)
    assert new.end_token == 50_256
    assert new.encode(ENGLISH) == gpt2.encode(ENGLISH)
    merges = new._vocabulary.merges[50_000:]
    assert [made for _, _, made in merges] == list(range(50_257, 50_400))
    assert merges == reference.extend(gpt2._vocabulary, [CHINESE * 3], 50_270)[:13] + merges[13:]
    assert len(new.encode(CHINESE)) < 0.7 * len(gpt2.encode(CHINESE))


def test_an_extended_tokenizer_is_saved_whole(tmp_path: Path) -> None:
    """Special tokens in the midst of the ids: tokenizer.json can say so, Hugging Face reads it so, ranks cannot."""
    (tmp_path / "new.txt").write_text(CODE)
    new = Tokenizer.train_on([ENGLISH], vocab_size=400).extend(tmp_path / "new.txt", vocab_size=500)
    new.save(tmp_path / "tokenizer.json")
    assert Tokenizer.load(tmp_path / "tokenizer.json") == new
    peer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert peer.get_vocab_size() == 500
    for text in (CODE, ENGLISH, f"{CHINESE}<|endoftext|>{CODE}<|endoftext|>"):
        assert peer.encode(text).ids == new.encode(text, allowed_special="all")
    with pytest.raises(TokenizerError, match="a file of ranks holds tokens in the order of their merges, special"):
        new.save(tmp_path / "new.tiktoken")


def test_a_special_token_is_not_learned() -> None:
    tokenizer = Tokenizer.train_on(
        ["<b> <b> <b> ab"], vocab_size=262, split_pattern="whitespace", special_tokens=["<b>"]
    )
    tokens = [tokenizer.token_bytes(id_) for id_ in range(256, 261)]
    assert b"<b>" not in tokens
    assert b" <b>" in tokens


def test_a_vocabulary_that_does_not_grow_is_refused(tmp_path: Path) -> None:
    (tmp_path / "new.txt").write_text("ab")
    old = Tokenizer.train_on([ENGLISH], vocab_size=400)
    with pytest.raises(
        TokenizerError, match=r"vocab_size is 400, expected 401 \(the 400 tokens there are, and one\) to"
    ):
        old.extend(tmp_path / "new.txt", vocab_size=400)
    with pytest.raises(TokenizerError, match="the text can fill 401 tokens, not 500"):
        old.extend(tmp_path / "new.txt", vocab_size=500)
    with pytest.raises(TokenizerError, match="a tokenizer of whole words or characters has no merges to extend"):
        simple.train_on(["ab"], "characters").extend(tmp_path / "new.txt", vocab_size=500)


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
        ({"vocab_size": 300, "min_frequency": 0}, "min_frequency is 0, expected 1 to 4294967295"),
        ({"vocab_size": 300, "max_token_length": 2**32}, "max_token_length is 4294967296, expected 1 to 4294967295"),
        ({"vocab_size": 300, "threads": 0}, "threads is 0, expected 1 or more"),
    ],
)
def test_impossible_sizes_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.train_on(["ab"], **arguments)  # type: ignore[arg-type]


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "image.png"
    binary.write_bytes(b"plain " * 300_000 + b"\x89PNG")
    with pytest.raises(TokenizerError, match=r"image\.png is not UTF-8 text: byte 0x89 at offset 1800000"):
        Tokenizer.train([binary], vocab_size=300)
    with pytest.raises(TokenizerError, match=r"cannot read .*none\.txt: No such file"):
        Tokenizer.train([tmp_path / "none.txt"], vocab_size=300)
    with pytest.raises(TokenizerError, match=r"text 1: character 2 is '\\ud83d'"):
        Tokenizer.train_on(["good", "ab\ud83d"], vocab_size=300)
    with pytest.raises(TokenizerError, match="can fill 257 tokens"):
        Tokenizer.train_on([], vocab_size=300)


def test_a_word_of_a_megabyte_is_learned_in_time() -> None:
    merges = learned("a" * 1_000_000, 300)
    assert [left == right for left, right, _ in merges[:19]] == [True] * 19  # a, aa, aaaa, ... 2 ** 19
