"""Tokenizer files: what comes in goes out again, others read it, and what is broken is refused by name."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

from onward import _core
from onward.errors import TokenizerError
from onward.tokenizer import Tokenizer, reference

from .conftest import SHAKESPEARE, tricky_text

TEXT = (
    SHAKESPEARE[:5000]
    + "It's a truth, universally acknowledged: 日本語の 'naïve' reader reads 1234 pages!\n\n  And then?"
)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train_on([TEXT], vocab_size=330)


@pytest.fixture
def document(tokenizer: Tokenizer, tmp_path: Path) -> dict[str, Any]:
    tokenizer.save(tmp_path / "tokenizer.json")
    return json.loads((tmp_path / "tokenizer.json").read_text())


def load(document: Any, folder: Path) -> Tokenizer:
    (folder / "changed.json").write_text(json.dumps(document))
    return Tokenizer.load(folder / "changed.json")


# ---- in and out ----


def test_saved_and_loaded_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    tokenizer.save(tmp_path / "other.json")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["other.json", "tokenizer.json"]
    assert Tokenizer.load(tmp_path) == Tokenizer.load(tmp_path / "other.json") == tokenizer
    assert Tokenizer.load(tmp_path) != Tokenizer.train_on([TEXT], vocab_size=331)
    tokenizer.save(tmp_path / "made")
    assert (tmp_path / "made/tokenizer.json").is_file()


@pytest.fixture(scope="module")
def peer(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> tokenizers.Tokenizer:
    file = tmp_path_factory.mktemp("saved") / "tokenizer.json"
    tokenizer.save(file)
    return tokenizers.Tokenizer.from_file(str(file))


@given(text=tricky_text)
def test_tokenizers_reads_it_alike(tokenizer: Tokenizer, peer: tokenizers.Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text, allowed_special="all")
    encoding = peer.encode(text)
    assert encoding.ids == ids
    assert encoding.offsets == tokenizer.offsets(ids)
    assert peer.decode(ids, skip_special_tokens=False) == text


def test_gpt2_goes_through_tokenizers(gpt2: Tokenizer, real_texts: dict[str, str], tmp_path: Path) -> None:
    gpt2.save(tmp_path)
    assert Tokenizer.load(tmp_path) == gpt2
    peer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for text in real_texts.values():
        assert peer.encode(text).ids == gpt2.encode(text)


@pytest.mark.parametrize("pattern", _core.split_patterns())
def test_every_pattern_goes_through_tokenizers(pattern: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.train_on([TEXT], vocab_size=330, split_pattern=pattern)
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert loaded == tokenizer
    assert loaded.split_pattern == pattern
    peer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert peer.encode(TEXT + " \n ").ids == tokenizer.encode(TEXT + " \n ")


@pytest.mark.parametrize("place", ["first", "last", "behind ids that are not in use"])
def test_special_tokens_keep_their_ids_in_tokenizers(tokenizer: Tokenizer, tmp_path: Path, place: str) -> None:
    made: Any = tokenizer._vocabulary
    first, unused = int(place == "first"), 3 * place.startswith("behind")
    tokens = [*[b"<|endoftext|>"] * first, *made.tokens[:-1], *[b""] * unused, *[b"<|endoftext|>"] * (1 - first)]
    changed = Tokenizer(
        dataclasses.replace(
            made,
            tokens=tokens,
            merges=[(left + first, right + first, new + first) for left, right, new in made.merges],
            special_tokens={"<|endoftext|>": tokens.index(b"<|endoftext|>")},
        )
    )
    changed.save(tmp_path)
    assert Tokenizer.load(tmp_path) == changed
    peer = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    text = "First Citizen<|endoftext|>Second"
    assert peer.encode(text).ids == changed.encode(text, allowed_special="all")


def test_post_processors_and_whole_words_are_kept(document: dict[str, Any], tmp_path: Path) -> None:
    template = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}]}
    document["post_processor"] = {"type": "Sequence", "processors": [template]}
    document["model"]["ignore_merges"] = True
    load(document, tmp_path).save(tmp_path)
    assert json.loads((tmp_path / "tokenizer.json").read_text()) == document


def test_older_ways_to_write_a_pattern_are_read(document: dict[str, Any], tmp_path: Path) -> None:
    expression = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    for behavior, invert in (("Isolated", False), ("Removed", True)):
        split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": behavior, "invert": invert}
        document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, byte_level]}
        assert load(document, tmp_path).split_pattern == "gpt2"


def test_ranks_are_read_and_written(shared_data: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(shared_data / "tokenizers/cl100k_base.tiktoken.gz")
    assert tokenizer.special_tokens["<|endofprompt|>"] == 100276
    assert tokenizer.token_bytes(100256) == b""
    tokenizer.save(tmp_path / "cl100k_base.tiktoken")
    original = gzip.decompress((shared_data / "tokenizers/cl100k_base.tiktoken.gz").read_bytes())
    assert (tmp_path / "cl100k_base.tiktoken").read_bytes() == original
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path) == tokenizer


def test_ranks_that_cannot_be_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "mine.tiktoken")
    with pytest.raises(TokenizerError, match=r"only of r50k_base, cl100k_base, o200k_base"):
        Tokenizer.load(tmp_path / "mine.tiktoken")
    lines = (tmp_path / "mine.tiktoken").read_text().splitlines()
    cases = {
        "line 2 is 'nonsense', expected a token in base64 and the rank 1": [lines[0], "nonsense"],
        "line 2 is 'IQ== 7'": [lines[0], "IQ== 7"],
        "line 1 is 'I!== 0'": ["I!== 0"],
        "line 1 is ' 0'": [" 0"],
        "329 ranks, expected 50,256; is the file cut short": lines,
        "the token of rank 10000 is not made of two": [*(f"{rank_line(i)} {i}" for i in range(50_256))],
    }
    for message, content in cases.items():
        (tmp_path / "r50k_base.tiktoken").write_text("\n".join(content))
        with pytest.raises(TokenizerError, match=message):
            Tokenizer.load(tmp_path / "r50k_base.tiktoken")


def rank_line(rank: int) -> str:
    """The bytes, then pairs of bytes, then from rank 10,000 on tokens of six."""
    token = bytes([rank]) if rank < 256 else rank.to_bytes(2, "big") * (3 if rank >= 10_000 else 1)
    return base64.b64encode(token).decode()


def test_ranks_cannot_hold_ids_in_another_order(document: dict[str, Any], tmp_path: Path) -> None:
    ids = document["model"]["vocab"]
    ids["!"], ids['"'] = ids['"'], ids["!"]
    merges = document["model"]["merges"]
    merges[0], merges[1] = merges[1], merges[0]
    with pytest.raises(
        TokenizerError, match=r"out\.tiktoken: a file of ranks holds tokens in the order of their merges"
    ):
        load(document, tmp_path).save(tmp_path / "out.tiktoken")


def test_reads_what_tokenizers_writes(tmp_path: Path) -> None:
    """Special tokens first, ids of bytes in another order, merges as one string each in older files."""
    peer = tokenizers.Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.decoder = decoders.ByteLevel()
    peer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<s>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    peer.train_from_iterator([TEXT], trainer)
    peer.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.special_tokens == {"<s>": 0, "<|endoftext|>": 1}
    text = TEXT + "<|endoftext|> more"
    assert tokenizer.encode(text, allowed_special="all") == peer.encode(text).ids

    document = json.loads((tmp_path / "tokenizer.json").read_text())
    document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    assert load(document, tmp_path) == tokenizer


def test_gzipped_files_are_read(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "plain.json")
    (tmp_path / "tokenizer.json.gz").write_bytes(gzip.compress((tmp_path / "plain.json").read_bytes()))
    assert Tokenizer.load(tmp_path) == Tokenizer.load(tmp_path / "tokenizer.json.gz") == tokenizer


def test_gpt2_files_under_either_name(document: dict[str, Any], tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = document["model"]
    encoder = json.dumps(model["vocab"] | {"<|endoftext|>": tokenizer.end_token})
    merges = "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in model["merges"])
    for names in (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt")):
        folder = tmp_path / names[0]
        folder.mkdir()
        for name, content in zip(names, (encoder, merges), strict=True):
            (folder / name).write_text(content)
        assert Tokenizer.load(folder) == tokenizer


# ---- broken and foreign ----


def at(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return change


BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
HOSTILE_SPLIT = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (at("model", value=None), "'model' is None, expected a JSON dict"),
        (at("model", "type", value="Unigram"), "type 'Unigram'; onward reads byte-level BPE and WordLevel only"),
        (at("model", "dropout", value=0.1), "'model.dropout' is 0.1, which onward cannot represent"),
        (at("model", "end_of_word_suffix", value="</w>"), "'model.end_of_word_suffix' is '</w>'"),
        (at("normalizer", value={"type": "NFC"}), "'normalizer' is {'type': 'NFC'}"),
        (at("pre_tokenizer", value=None), "'pre_tokenizer' is None"),
        (
            at("pre_tokenizer", "add_prefix_space", value=True),
            "it has byte-level ones that split as gpt2, cl100k, .* do",
        ),
        (at("pre_tokenizer", value={"type": "Sequence", "pretokenizers": None}), "'pre_tokenizer' is"),
        (at("pre_tokenizer", value={"type": "Sequence", "pretokenizers": [1, 2, 3]}), "'pre_tokenizer' is"),
        (
            at("pre_tokenizer", value={"type": "Sequence", "pretokenizers": [{"type": "Split"}, BYTES]}),
            "cannot represent",
        ),
        (at("pre_tokenizer", value={"type": "Sequence", "pretokenizers": [HOSTILE_SPLIT, BYTES]}), "cannot represent"),
        (at("pre_tokenizer", value={"type": "Metaspace"}), "'pre_tokenizer' is {'type': 'Metaspace'}"),
        (at("decoder", value={"type": "WordPiece"}), "'decoder' is {'type': 'WordPiece'}"),
        (at("added_tokens", value={}), "'added_tokens' is {}, expected a JSON list"),
        (at("added_tokens", 0, value=7), "added token 0 is 7"),
        (at("added_tokens", 0, "content", value=""), "'content' of added token 0 is empty"),
        (at("added_tokens", 0, "content", value="\ud800"), "half a surrogate pair"),
        (at("added_tokens", 0, "id", value=0), "the id 0 is both"),
        (at("added_tokens", 0, "id", value=-1), "the id -1 of .* is out of range"),
        (at("added_tokens", 0, "id", value=4_000_000_000), "the id 4000000000 of .* is out of range"),
        (at("added_tokens", 0, "id", value=True), "is True, expected a JSON int"),
        (at("added_tokens", 0, "lstrip", value=True), "lstrip' is True"),
        (at("added_tokens", 0, "special", value=False), "is not special, which onward cannot represent"),
        (at("model", "vocab", value=[]), "'model.vocab' is \\[\\]"),
        (at("model", "vocab", value={}), "merge 0 is of .* is no token"),
        (at("model", "vocab", "!", value="0"), "the id of '!' is '0'"),
        (at("model", "vocab", "!", value=1.5), "the id of '!' is 1.5"),
        (at("model", "vocab", "!", value=1), "the id 1 is both"),
        (at("model", "vocab", "▁the", value=400), "'▁the' is not written in bytes.*SentencePiece"),
        (at("model", "merges", value=None), "'model.merges' is None"),
        (at("model", "merges", 3, value=["a"]), r"merge 3 is \['a'\], expected two tokens"),
        (at("model", "merges", 3, value="a b c"), "merge 3 is 'a b c'"),
        (at("model", "merges", 3, value=["a", 1]), "merge 3 is"),
        (at("model", "merges", 3, value=["q", "q"]), "merge 3 is of 'q' and 'q', but 'qq' is no token"),
    ],
)
def test_what_cannot_be_represented_is_refused(
    document: dict[str, Any], tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    change(document)
    with pytest.raises(TokenizerError, match=message) as refusal:
        load(document, tmp_path)
    assert str(refusal.value).startswith(f"{tmp_path / 'changed.json'}: ")
    assert "\n" not in str(refusal.value)


def test_bytes_that_are_no_tokens_are_left_out(tmp_path: Path) -> None:
    """As SmolLM2's tokenizer lacks some: what is left of a word merges as if they had never been there."""
    peer = tokenizers.Tokenizer(models.BPE())
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=250, initial_alphabet=sorted(set("".join(map(chr, range(33, 127))) + "ĠĊĉč"))
    )
    peer.train_from_iterator([SHAKESPEARE[:5000]], trainer)
    peer.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.load(tmp_path)
    long = "!\x04?é" * 2000
    for text in (
        SHAKESPEARE[:2000],
        "!\x04!! \x04",
        "\x04",
        "é",
        "naïve 日本 th\x06e",
        "",
        long,
        "a" * 2000 + "\x01\x02b",
    ):
        ids = peer.encode(text).ids
        assert ours.encode(text) == ids == reference.encode(text, ours._vocabulary)
        assert ours.decode(ids) == peer.decode(ids)
    ours.save(tmp_path / "again")
    assert Tokenizer.load(tmp_path / "again") == ours
    document = json.loads((tmp_path / "tokenizer.json").read_text())
    document["model"]["unk_token"] = "!"
    with pytest.raises(TokenizerError, match=r"'model\.unk_token' is '!', which onward cannot represent"):
        load(document, tmp_path)


def test_merges_must_fit(document: dict[str, Any], tmp_path: Path) -> None:
    document["model"]["merges"].append(document["model"]["merges"][0])
    with pytest.raises(TokenizerError, match="merge 73, of the ids .* is there twice"):
        load(document, tmp_path)
    del document["model"]["vocab"]["~"]
    with pytest.raises(TokenizerError, match="the byte 0x7e is no token"):
        load(document | {"model": document["model"] | {"merges": []}}, tmp_path)


def test_a_vocabulary_beyond_all_measure_is_refused(tokenizer: Tokenizer) -> None:
    vocabulary = tokenizer._vocabulary
    with pytest.raises(TokenizerError, match="2,097,481 tokens, expected fewer than 2,097,152"):
        dataclasses.replace(vocabulary, tokens=vocabulary.tokens[:-1] + [b""] * (1 << 21), special_tokens={})
    with pytest.raises(TokenizerError, match="merges, expected fewer than 2,097,152"):
        dataclasses.replace(vocabulary, merges=vocabulary.merges * 30_000)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1, column 1 is not JSON"),
        (b'{"model": {"type": "BPE", "voc', "is not JSON: .*; is the file cut short"),
        (b"\x80\x02 a pickle", "not UTF-8 at byte 0"),
        (b"[" * 100_000, "not a tokenizer"),
        (b"1" * 5000, "not a tokenizer"),
        (b"[1]", r"the file is \[1\], expected a JSON dict"),
        (b'{"a": 1, "a": 2}', "the key 'a' is there twice"),
        (b"\x1f\x8b cut", "cannot be read"),
        (gzip.compress(b"{}", mtime=0)[:-6], "cannot be read"),  # no time: one name in every process
    ],
)
def test_broken_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(TokenizerError, match=message) as refusal:
        Tokenizer.load(tmp_path)
    assert str(tmp_path / "tokenizer.json") in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_every_cut_of_a_file_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    file = tmp_path / "tokenizer.json"
    whole = file.read_bytes()
    for length in range(0, len(whole) - 2, 97):
        file.write_bytes(whole[:length])
        with pytest.raises(TokenizerError, match=r"tokenizer\.json: "):
            Tokenizer.load(tmp_path)


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"none\.json: no such file; expected a tokenizer\.json"):
        Tokenizer.load(tmp_path / "none.json")
    (tmp_path / "encoder.json").write_text("{}")
    with pytest.raises(
        TokenizerError, match=r"no tokenizer in this folder; expected tokenizer\.json, or encoder\.json"
    ):
        Tokenizer.load(tmp_path)
    (tmp_path / "vocab.bpe").write_text("#version: 0.2\na b c\n")
    with pytest.raises(TokenizerError, match=r"vocab\.bpe: merge 0 is 'a b c', expected two tokens"):
        Tokenizer.load(tmp_path)


def test_a_full_disk_leaves_the_old_file(tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer.save(tmp_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        Tokenizer.train_on([], vocab_size=257).save(tmp_path)
    monkeypatch.undo()
    assert Tokenizer.load(tmp_path) == tokenizer
    assert [file.name for file in tmp_path.iterdir()] == ["tokenizer.json"]
