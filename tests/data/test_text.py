from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.data.text import bundled_text, read_documents, split_documents
from onward.errors import DataError


def test_bundled_text_is_the_usual_one() -> None:
    """1,115,394 characters, 65 different ones, as everybody has it."""
    (text,) = read_documents([bundled_text()])
    assert (len(text), len(set(text))) == (1_115_394, 65)


def test_files_folders_and_separators(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_bytes(b"two\r\n<|endoftext|>three<|endoftext|>\n")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.txt.gz").write_bytes(gzip.compress("vier é".encode()))
    (tmp_path / "a.txt").write_bytes("\ufeffone".encode())
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    assert read_documents([tmp_path]) == ["one", "two\r\n", "three", "vier é"]
    assert read_documents([tmp_path / "a.txt", tmp_path / "a.txt"]) == ["one", "one"]


def test_separators_are_found_wherever_blocks_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("  \n\nonë <|end<|endoftext|>  <|endoftext|>twö<|endoftex")
    (tmp_path / "b.jsonl").write_text('{"text": "three<|endoftext|>four"}\n{"text": ""}\n{"text": "five"}\n')
    for size in (*range(1, 30), 1 << 20):
        monkeypatch.setattr("onward.tokenizer.sources.BLOCK_BYTES", size)
        documents = read_documents([tmp_path])
        assert documents == ["  \n\nonë <|end", "twö<|endoftex", "three", "four", "five"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"", r"a\.txt is empty"),
        ("a.txt", b" \n\n", r"a\.txt is empty"),
        ("a.txt", b"<|endoftext|>", r"a\.txt is empty"),
        ("a.txt", b"good \xff bad", r"a\.txt is not UTF-8 text: byte 0xff at offset 5; if it is"),
        ("a.txt", b"abc\x00def", r"a\.txt is a binary file, no text: a NUL byte at offset 3"),
        ("a.txt", b"\x89PNG\r\n\x1a\n\x00", r"a\.txt is a binary file, no text"),
        ("a.txt", "abc".encode("utf-16"), r"a\.txt is UTF-16; convert it"),
        ("a.txt.gz", b"not gzip", r"cannot read .*a\.txt\.gz"),
        # Without the time, so that the test has the same name in every process.
        ("a.txt.gz", gzip.compress(b"x" * 9999, mtime=0)[:-9], r"cannot read .*a\.txt\.gz"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_documents([tmp_path / name])


def test_missing_file_and_folder_without_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no file .*nowhere\.txt"):
        read_documents([tmp_path / "nowhere.txt"])
    with pytest.raises(DataError, match=r"has no \.txt, \.md or \.jsonl file in it"):
        read_documents([tmp_path])


def test_runs_below_a_folder_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "run.toml").touch()
    (tmp_path / "runs" / "a" / "samples.txt").write_text("written by a model")
    (tmp_path / "book.txt").write_text("written by a person")
    assert read_documents([tmp_path]) == ["written by a person"]


def test_a_text_too_short_to_split() -> None:
    with pytest.raises(DataError, match="too short: 1 characters"):
        split_documents(["a"])


@given(st.lists(st.text(min_size=2), min_size=1, max_size=60))
def test_split_keeps_every_character_once(documents: list[str]) -> None:
    training, validation = split_documents(documents)
    assert sorted("".join(training + validation)) == sorted("".join(documents))
    assert sum(map(len, validation)) >= 0.05 * sum(map(len, documents))


def test_few_documents_give_their_ends() -> None:
    training, validation = split_documents(["a" * 100, "b" * 50])
    assert (training, validation) == (["a" * 90, "b" * 45], ["a" * 10, "b" * 5])


def test_one_document_gives_its_last_tenth() -> None:
    (text,) = read_documents([bundled_text()])
    training, validation = split_documents([text])
    assert "".join(training + validation) == text
    assert len(training[0]) == int(0.9 * len(text))


def test_many_documents_are_interleaved() -> None:
    documents = [f"document {number:03d}" for number in range(100)]
    training, validation = split_documents(documents)
    assert validation == documents[9::10]
    assert training == [document for document in documents if document not in validation]
