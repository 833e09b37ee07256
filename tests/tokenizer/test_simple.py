"""Characters and words as tokens: against what others make of the same vocabulary."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import given

from onward import _core
from onward.errors import TokenizerError
from onward.tokenizer import Tokenizer, reference, simple
from onward.tokenizer.word_level import CHARACTERS

from .conftest import SHAKESPEARE, tricky_text

TEXT = SHAKESPEARE[:5000] + "naïve 日本語 🙂\r\n\r\n  x\t1234"
PATTERNS = (CHARACTERS, *_core.split_patterns())


@functools.cache
def of_pattern(pattern: str) -> Tokenizer:
    kind: Any = "characters" if pattern == CHARACTERS else "words"
    split_pattern = "gpt2" if pattern == CHARACTERS else pattern
    texts = [TEXT, TEXT[:300], "!"]
    return simple.train_on(texts, kind, split_pattern=split_pattern, special_tokens=["<|endoftext|>", "<a>", "<a"])


def words(text: str, pattern: str) -> list[str]:
    return list(text) if pattern == CHARACTERS else reference.split(text, pattern)


def test_characters_are_those_of_nanogpt() -> None:
    """https://github.com/karpathy/nanoGPT, data/shakespeare_char/prepare.py: 65 of them, `sorted(set(text))`."""
    tokenizer = simple.train_on([SHAKESPEARE], "characters")
    alphabet = "\n !$&',-.3:;?ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    assert tokenizer.pieces(range(65)) == list(alphabet)
    assert tokenizer.special_tokens == {"<|unknown|>": 65, "<|endoftext|>": 66}
    ids = tokenizer.encode_array(SHAKESPEARE)
    assert ids.tolist() == [alphabet.index(character) for character in SHAKESPEARE]
    assert (ids.dtype, tokenizer.decode(ids)) == (np.uint8, SHAKESPEARE)


def test_words_by_frequency() -> None:
    tokenizer = simple.train_on(["to be or not to be", " be it"], "words", special_tokens=[])
    assert tokenizer.pieces(range(6)) == [" be", " it", " not", " or", " to", "to"]
    assert tokenizer.pieces(tokenizer.encode("to be what")) == ["to", " be", "<|unknown|>"]
    assert tokenizer.unknown_token == 6
    assert tokenizer.end_token is None
    frequent = simple.train_on(["to be or not to be be"], "words", min_frequency=2)
    assert frequent.pieces(range(frequent.vocab_size)) == [" be", "<|unknown|>", "<|endoftext|>"]
    few = simple.train_on(["aaabbc"], "characters", vocab_size=4)
    assert few.pieces(range(4)) == ["a", "b", "<|unknown|>", "<|endoftext|>"]


@pytest.mark.parametrize("kind", ["characters", "words"])
def test_files_are_their_texts(kind: simple.Kind, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(SHAKESPEARE, encoding="utf-8")
    (tmp_path / "two.jsonl").write_text(json.dumps({"text": "naïve"}) + "\n" + json.dumps({"text": " ways"}))
    texts = [SHAKESPEARE, "naïve", " ways"]
    assert simple.train(tmp_path, kind) == simple.train_on(texts, kind)
    with pytest.raises(TokenizerError, match="none.txt"):
        simple.train(tmp_path / "none.txt", kind)


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=tricky_text)
def test_every_word_is_looked_up(pattern: str, text: str) -> None:
    tokenizer = of_pattern(pattern)
    known = set(tokenizer.pieces(range(tokenizer.vocab_size))) - tokenizer.special_tokens.keys()
    expected = [word if word in known else "<|unknown|>" for word in words(text, pattern)]
    ids = tokenizer.encode(text, disallowed_special=())
    assert tokenizer.pieces(ids) == expected
    assert tokenizer.encode_array(text, disallowed_special=()).tolist() == ids
    assert tokenizer.decode(ids) == "".join(expected)
    assert tokenizer.decode(np.array(ids, dtype=np.uint32)) == "".join(expected)
    decoder = tokenizer.stream_decoder()
    assert "".join(map(decoder.push, ids)) + decoder.finish() == "".join(expected)


@pytest.mark.parametrize("pattern", PATTERNS)
@given(text=tricky_text)
def test_tokenizers_reads_it_alike(pattern: str, text: str) -> None:
    tokenizer, peer = of_pattern(pattern), peer_of(pattern)
    ids = tokenizer.encode(text, allowed_special="all")
    encoding = peer.encode(text)
    assert encoding.ids == ids
    assert peer.decode(ids, skip_special_tokens=False) == tokenizer.decode(ids)
    if tokenizer.unknown_token not in ids:
        assert encoding.offsets == tokenizer.offsets(ids)


@functools.cache
def peer_of(pattern: str) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(json.dumps(saved(pattern)))


def saved(pattern: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        of_pattern(pattern).save(folder)
        assert Tokenizer.load(folder) == of_pattern(pattern)
        return json.loads((Path(folder) / "tokenizer.json").read_text())


def test_special_tokens_cannot_be_forged() -> None:
    tokenizer = of_pattern(CHARACTERS)
    end, unknown = tokenizer.special_tokens["<|endoftext|>"], tokenizer.special_tokens["<|unknown|>"]
    assert tokenizer.encode("é<|endoftext|><a>", allowed_special="all")[1:] == [end, tokenizer.special_tokens["<a>"]]
    for name in ("<|endoftext|>", "<|unknown|>", "<a"):
        with pytest.raises(TokenizerError, match=rf"special token '{name}' at character 2".replace("|", r"\|")):
            tokenizer.encode("aé" + name)
    plain = tokenizer.encode("<|endoftext|>", disallowed_special=())
    assert end not in plain
    assert len(plain) == 13
    assert tokenizer.encode("日語本\u4e00")[-1] == unknown
    mixed = tokenizer.encode("<a><a", allowed_special={"<a"}, disallowed_special=())
    assert [mixed[0], mixed[2]] == [tokenizer.special_tokens["<a"]] * 2
    arrays = tokenizer.encode_batch(["ab", "a"], threads=2)
    assert [array.tolist() for array in arrays] == [tokenizer.encode("ab"), tokenizer.encode("a")]


def test_offsets_of_unknown_words_are_lost() -> None:
    tokenizer = simple.train_on(["to be"], "words")
    assert tokenizer.offsets(tokenizer.encode("to be")) == [(0, 2), (2, 5)]
    with pytest.raises(TokenizerError, match="there are unknown words among the ids, and how long they were is lost"):
        tokenizer.offsets(tokenizer.encode("to what"))


@pytest.mark.parametrize("ids", [[100], [-1], np.array([70], dtype=np.uint8), [10**30]])
def test_wrong_ids_are_refused(ids: Any) -> None:
    with pytest.raises(TokenizerError, match="not in the vocabulary|ids must be a list of integers"):
        simple.train_on(["abc"], "characters").decode(ids)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocab_size": 2}, "vocab_size is 2, expected 3 "),
        ({"vocab_size": 1 << 21}, "vocab_size is 2097152"),
        ({"min_frequency": 0}, "min_frequency is 0"),
        ({"min_frequency": 3}, "the text has no words that occur 3 times"),
        ({"special_tokens": ["a"]}, "the ids 0 and 4 are both the token b'a'"),
        ({"special_tokens": [""]}, "special token 1 is ''"),
        ({"special_tokens": ["<a>", "<a>"]}, "special token 2 is '<a>'"),
        ({"kind": "words", "split_pattern": "perl"}, "the split pattern 'perl' is unknown; there are: gpt2, "),
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        simple.train_on(["abc"], **{"kind": "characters", **arguments})


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(TokenizerError, match=r"text 1: character 2 is '\\ud83d', half of a surrogate pair"):
        simple.train_on(["good", "ab\ud83d"], "characters")
    with pytest.raises(TokenizerError, match=r"character 1 is '\\ud83d', half of a surrogate pair"):
        of_pattern("gpt2").encode("a\ud83d")
    nul = simple.train_on(["a\x00b"], "characters")
    assert nul.decode(nul.encode("\x00a")) == "\x00a"


def test_ranks_cannot_hold_words(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"mine\.tiktoken: ranks hold byte pairs, not words"):
        of_pattern("gpt2").save(tmp_path / "mine.tiktoken")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["pre_tokenizer"], {"type": "Whitespace"}, "'pre_tokenizer' is {'type': 'Whitespace'}.* for words; it has"),
        (["pre_tokenizer"], None, "'pre_tokenizer' is None"),
        (["decoder"], {"type": "WordPiece"}, "'decoder' is {'type': 'WordPiece'}, expected Fuse"),
        (["normalizer"], {"type": "Lowercase"}, "'normalizer' is"),
        (["model", "unk_token"], None, "'model.unk_token' is None, expected a JSON str"),
        (["model", "unk_token"], "a", "the token 'a' of unknown words is no special token"),
        (["model", "vocab"], {}, "'model.unk_token' is '<|unknown|>', which is not in 'model.vocab'"),
        (["model", "vocab", "a"], 3, "the id 3 is both"),
        (["model", "vocab", "a"], -1, "the id -1 of 'a' is out of range"),
        (["model", "vocab", "\ud800"], 300, "holds half a surrogate pair"),
        (["added_tokens"], [], "the token '<|unknown|>' of unknown words is no special token"),
    ],
)
def test_what_cannot_be_represented_is_refused(tmp_path: Path, path: list[str], value: Any, message: str) -> None:
    document = saved(CHARACTERS)
    where = document
    for step in path[:-1]:
        where = where[step]
    where[path[-1]] = value
    (tmp_path / "changed.json").write_text(json.dumps(document))
    with pytest.raises(TokenizerError, match=message.replace("|un", r"\|un").replace("n|>", r"n\|>")) as refusal:
        Tokenizer.load(tmp_path / "changed.json")
    assert str(refusal.value).startswith(f"{tmp_path / 'changed.json'}: ")
