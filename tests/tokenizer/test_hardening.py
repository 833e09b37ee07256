"""Files that are wrong at any place: they are refused with the place, or make a tokenizer that is whole."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onward.errors import TokenizerError
from onward.tokenizer import Tokenizer, simple

TEXT = "to be or not to be, that is the question: 日本 naïve 🙂 12" * 3
KINDS = {
    "bpe": Tokenizer.train_on([TEXT], vocab_size=275, special_tokens=["<|endoftext|>", "<a>"], split_pattern="cl100k"),
    "characters": simple.train_on([TEXT], "characters"),
    "words": simple.train_on([TEXT], "words"),
}
WRONG = [
    *(None, True, -1, 300, 2**70, float("nan"), "", "<a>", "\ud800", [], ["a", "b"], {}, {"type": []}, [{}]),
]


def saved(tokenizer: Tokenizer, folder: Path) -> Any:
    tokenizer.save(folder / "whole.json")
    return json.loads((folder / "whole.json").read_text())


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a document; of long lists and tables, the first and last few."""
    if place:
        yield place
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    for key in keys if len(keys) < 20 else keys[:2] + keys[-2:]:
        yield from places(value[key], (*place, key))


def changed(document: Any, place: tuple[Any, ...], *value: Any) -> Any:
    """The document with this value at the place, or without the place."""
    document = copy.deepcopy(document)
    where = document
    for step in place[:-1]:
        where = where[step]
    if value:
        where[place[-1]] = value[0]
    else:
        del where[place[-1]]
    return document


def is_refused_or_whole(path: Path) -> bool:
    """Whether it is refused; it must be by an error of one short line that names the file."""
    try:
        tokenizer = Tokenizer.load(path)
    except TokenizerError as error:
        message = str(error)
        assert message.startswith(str(path))
        assert "\n" not in message
        assert len(message) < len(str(path)) + 400
        return True
    if tokenizer in KINDS.values():
        return False
    ids = tokenizer.encode(TEXT, disallowed_special=())
    if tokenizer.unknown_token is None:
        assert tokenizer.decode(ids) == TEXT
    again = path.parent / "again.json"
    tokenizer.save(again)
    assert Tokenizer.load(again) == tokenizer
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_value_anywhere(kind: str, tmp_path: Path) -> None:
    document = saved(KINDS[kind], tmp_path)
    refused = 0
    for place in places(document):
        for other in (*([value] for value in WRONG), []):
            (tmp_path / "changed.json").write_text(json.dumps(changed(document, place, *other)))
            refused += is_refused_or_whole(tmp_path / "changed.json")
    assert refused > 200


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_several_wrong_values(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("changed")
    document = saved(KINDS[data.draw(st.sampled_from(sorted(KINDS)))], folder)
    json_values = st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=5)
        | st.sampled_from(["BPE", "Split"]),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "id", "a"]), inner),
        max_leaves=6,
    )
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(places(document))))
        document = changed(document, place, data.draw(json_values))
    (folder / "changed.json").write_text(json.dumps(document))
    is_refused_or_whole(folder / "changed.json")


@pytest.mark.parametrize("byte", [b"\x00", b"\xff", b'"', b"{", b"9"])
def test_a_wrong_byte_anywhere(byte: bytes, tmp_path: Path) -> None:
    saved(KINDS["bpe"], tmp_path)
    whole = (tmp_path / "whole.json").read_bytes()
    for at in range(0, len(whole), 41):
        (tmp_path / "changed.json").write_bytes(whole[:at] + byte + whole[at + 1 :])
        is_refused_or_whole(tmp_path / "changed.json")


def gpt2_files(tokenizer: Tokenizer, folder: Path) -> tuple[str, str]:
    model = saved(tokenizer, folder)["model"]
    return json.dumps(model["vocab"]), "#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in model["merges"])


def test_gpt2_files_cut_anywhere(tmp_path: Path) -> None:
    """Merges that are missing do not turn their tokens into special ones."""
    tokenizer = Tokenizer.train_on([TEXT], vocab_size=275)
    encoder, merges = gpt2_files(tokenizer, tmp_path)
    (tmp_path / "encoder.json").write_text(encoder)
    for length in range(len(merges) - 1):
        (tmp_path / "vocab.bpe").write_text(merges[:length])
        with pytest.raises(TokenizerError, match="vocab.bpe|no merge makes the token"):
            Tokenizer.load(tmp_path)
    (tmp_path / "vocab.bpe").write_text(merges)
    assert Tokenizer.load(tmp_path) == tokenizer
    for length in range(0, len(encoder), 7):
        (tmp_path / "encoder.json").write_text(encoder[:length])
        with pytest.raises(TokenizerError, match=r"encoder\.json: line 1, column"):
            Tokenizer.load(tmp_path)


def test_ranks_cut_anywhere(shared_data: Path, tmp_path: Path) -> None:
    whole = gzip.decompress((shared_data / "tokenizers/cl100k_base.tiktoken.gz").read_bytes())
    for length in (0, 1, 5, 1000, len(whole) // 2, len(whole) - 30, len(whole) - 8):
        (tmp_path / "cl100k_base.tiktoken").write_bytes(whole[:length])
        with pytest.raises(TokenizerError, match=r"cl100k_base\.tiktoken: "):
            Tokenizer.load(tmp_path / "cl100k_base.tiktoken")


def test_a_file_beyond_all_measure_is_not_read_to_its_end(tmp_path: Path) -> None:
    """256 MB of zeros, which pack into a quarter of a megabyte."""
    with gzip.open(tmp_path / "tokenizer.json", "wb", compresslevel=1) as stream:
        for _ in range(257):
            stream.write(bytes(1 << 20))
    with pytest.raises(TokenizerError, match=r"larger than 268,435,456 bytes, which no tokenizer is"):
        Tokenizer.load(tmp_path)


# ---- what tokenizers would do, and onward does not ----


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("truncation",), {"max_length": 8}, "'truncation' is"),
        (("padding",), {"strategy": "BatchLongest"}, "'padding' is"),
        (("version",), "2.0", "'version' is '2.0', expected '1.0'"),
        (("added_tokens", 1, "normalized"), True, "some added tokens are 'normalized' and some are not"),
        (("added_tokens", 1, "single_word"), True, "single_word' is True"),
        (("added_tokens", 1, "rstrip"), True, "rstrip' is True"),
        (("normalizer",), {"type": "Prepend", "prepend": "▁"}, "'normalizer' is"),
        (("model", "continuing_subword_prefix"), "##", "'model.continuing_subword_prefix' is '##'"),
        (("model", "type"), "WordPiece", "type 'WordPiece'; onward reads byte-level BPE and WordLevel only"),
        (("model", "vocab", ""), 600, "there is an empty token"),
        (("post_processor",), "x", "'post_processor' is 'x', expected a JSON dict"),
        (("post_processor",), {"type": "\ud800"}, "half a surrogate pair"),
        (("pre_tokenizer", "pretokenizers", 0, "behavior"), "MergedWithNext", "'pre_tokenizer' is"),
        (("pre_tokenizer", "pretokenizers", 0, "invert"), True, "'pre_tokenizer' is"),
    ],
)
def test_what_cannot_be_represented_is_refused_by_name(
    tmp_path: Path, place: tuple[Any, ...], value: Any, message: str
) -> None:
    document = changed(saved(KINDS["bpe"], tmp_path), place, value)
    (tmp_path / "changed.json").write_text(json.dumps(document))
    with pytest.raises(TokenizerError, match=message):
        Tokenizer.load(tmp_path / "changed.json")


def test_byte_fallback_needs_every_byte(tmp_path: Path) -> None:
    document = saved(KINDS["bpe"], tmp_path)
    document["model"]["byte_fallback"] = True
    (tmp_path / "changed.json").write_text(json.dumps(document))
    assert Tokenizer.load(tmp_path / "changed.json") == KINDS["bpe"]
    del document["model"]["vocab"]["Ā"]  # the byte 0
    (tmp_path / "changed.json").write_text(json.dumps(document))
    with pytest.raises(TokenizerError, match=r"'model\.byte_fallback' is True"):
        Tokenizer.load(tmp_path / "changed.json")


def test_special_tokens_written_as_other_tokens_are_not_saved(tmp_path: Path) -> None:
    """The byte 0xe9 is written é in tokenizer.json, and so would the special token é be."""
    tokenizer = Tokenizer.train_on([TEXT], vocab_size=270, special_tokens=["é"])
    with pytest.raises(TokenizerError, match=r"out\.json: the special token 'é' is written as the token of id \d+ is"):
        tokenizer.save(tmp_path / "out.json")
    assert list(tmp_path.iterdir()) == []
