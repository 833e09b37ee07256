"""Files of text into a token file, against encoding the documents one by one."""

from __future__ import annotations

import lzma
from pathlib import Path

import numpy as np
import pytest

from onward.data.encode import encode_file
from onward.data.shards import read_token_file, write_token_file
from onward.data.text import read_documents
from onward.errors import DataError, TokenizerError
from onward.tokenizer import Tokenizer, simple

TEXT = "".join(f"Line {n}, äußerst lang — and <|user|> 日本 🙂.\n" + " \n" * (n % 3) for n in range(4000))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text(TEXT)
    (texts / "b.txt.xz").write_bytes(
        lzma.compress(f" \n<|endoftext|>{TEXT[:999]}<|endoftext|>one<|endoftext|>".encode())
    )
    (texts / "c.jsonl").write_text('{"text": "two"}\n{"text": " three"}\n')
    return texts


@pytest.mark.parametrize("block_bytes", [1 << 20, 4096, 61])
def test_a_token_file_is_its_documents(folder: Path, block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onward.tokenizer.sources.BLOCK_BYTES", block_bytes)
    seen: list[tuple[int, int]] = []
    documents = read_documents([folder])
    assert [len(document) for document in documents] == [len(TEXT), 999, 3, 3, 6]
    for tokenizer in (
        Tokenizer.train_on([TEXT[:9999]], vocab_size=300, special_tokens=["<|endoftext|>", "<|user|>"]),
        simple.train_on([TEXT], "characters"),
    ):
        assert tokenizer.end_token is not None
        write_token_file(
            folder.parent / "expected.tokens",
            [tokenizer.encode_array(document, disallowed_special=()) for document in documents],
            end_token=tokenizer.end_token,
            vocab_size=tokenizer.vocab_size,
            n_bytes=sum(len(document.encode()) for document in documents),
        )
        for threads in (1, 3):
            out = folder.parent / "out.tokens"
            n_tokens = encode_file(tokenizer, [folder], out, threads=threads, watch=lambda *at: seen.append(at))
            assert out.read_bytes() == (folder.parent / "expected.tokens").read_bytes()
            assert n_tokens == len(read_token_file(out).tokens)
            total = sum(file.stat().st_size for file in folder.iterdir())
            assert seen[-1] == (total, total)


def test_nothing_is_left_of_a_file_that_failed(folder: Path) -> None:
    tokenizer = Tokenizer.train_on([TEXT[:999]], vocab_size=300)
    (folder / "d.txt").write_bytes(b"good " * 500_000 + b"\xff")
    out = folder.parent / "out.tokens"
    with pytest.raises(DataError, match=r"d\.txt is not UTF-8 text: byte 0xff at offset 2500000"):
        encode_file(tokenizer, [folder], out)
    assert sorted(folder.parent.iterdir()) == [folder]
    (folder / "d.txt").write_text("  ")
    with pytest.raises(DataError, match=r"d\.txt is empty"):
        encode_file(tokenizer, [folder], out)
    with pytest.raises(DataError, match="there is no file nowhere"):
        encode_file(tokenizer, ["nowhere"], out)
    with pytest.raises(TokenizerError, match="threads is 0"):
        encode_file(tokenizer, [folder / "a.txt"], out, threads=0)
    with pytest.raises(TokenizerError, match="no end token"):
        encode_file(Tokenizer.train_on(["ab"], vocab_size=256, special_tokens=[]), [folder], out)
    assert sorted(folder.parent.iterdir()) == [folder]


def test_masks_of_parts_are_those_of_documents(tmp_path: Path) -> None:
    write_token_file(
        tmp_path / "a", [np.array([1])], end_token=0, vocab_size=9, n_bytes=1, loss_masks=[np.array([False])]
    )
    mask = read_token_file(tmp_path / "a").loss_mask
    assert mask is not None
    assert mask.tolist() == [1, 0]
