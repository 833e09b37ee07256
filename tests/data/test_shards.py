from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onward.data.shards import read_token_file, write_token_file
from onward.errors import DataError

DOCUMENTS = [np.array([5, 6, 7]), np.array([], np.int64), np.array([8])]


def write(path: Path, **changes: Any) -> None:
    write_token_file(path, **{"documents": DOCUMENTS, "end_token": 9, "vocab_size": 10, "n_bytes": 12, **changes})


@pytest.mark.parametrize(("vocab_size", "dtype"), [(10, np.uint16), (1 << 16, np.uint16), (70_000, np.uint32)])
def test_round_trip(tmp_path: Path, vocab_size: int, dtype: type) -> None:
    write(tmp_path / "a.tokens", vocab_size=vocab_size)
    text = read_token_file(tmp_path / "a.tokens")
    assert text.tokens.tolist() == [9, 5, 6, 7, 9, 9, 8]
    assert isinstance(text.tokens, np.memmap)
    assert text.tokens.dtype == dtype
    assert text.document_starts.tolist() == [0, 4, 5]
    assert (text.loss_mask, text.vocab_size, text.n_bytes) == (None, vocab_size, 12)


def test_loss_mask(tmp_path: Path) -> None:
    write(tmp_path / "a.tokens", loss_masks=[np.array([True, False, True]), np.array([], bool), np.array([False])])
    mask = read_token_file(tmp_path / "a.tokens").loss_mask
    assert mask is not None
    assert mask.tolist() == [1, 1, 0, 1, 1, 1, 0]


def test_what_does_not_fit_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="token 8 of .* is not below the vocabulary's 8"):
        write(tmp_path / "a.tokens", vocab_size=8)
    with pytest.raises(DataError, match=r"loss mask of shape \(2,\) for a document of shape \(3,\)"):
        write(tmp_path / "a.tokens", loss_masks=[np.array([True, False])])
    assert list(tmp_path.iterdir()) == []


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "a.tokens"
    with pytest.raises(DataError, match="cannot read the token file"):
        read_token_file(path)
    write(path)
    whole = path.read_bytes()
    for content, message in (
        (b"", "is not a token file"),
        (b"hello" * 200, "is not a token file"),
        (whole[:100], "header of .* is broken"),
        (whole[:520], "is cut short: 520 bytes of 640"),
        (whole.replace(b'"n_tokens": 7', b'"n_tokens":-7'), "header of .* is broken"),
        (whole.replace(b'"n_tokens": 7', b'"n_tokens":{}'), "header of .* is broken"),
        (whole.replace(b'"dtype": "<u2"', b'"dtype": "<O8"'), "header of .* is broken"),
        (whole.replace(b'"format": 1', b'"format": 2'), "has format 2; this onward reads format 1"),
        (whole.replace(b'"n_tokens": 7, ', b'"n_tokens":1' + b"0" * 20 + b","), "header of .* is broken"),
    ):
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_token_file(path)
