"""Token files: tokens on disk, memory-mapped, with document boundaries and, where there is one, a loss mask.

A file is, in this order: 8 bytes of magic, the header's length as a little-endian 64-bit number, a header in JSON,
the tokens (unsigned 16 or 32 bits), the position where each document begins (64 bits), and one byte a token that is 1
where the loss counts. Every part begins at a multiple of 64 bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from onward.atomic import atomic_file
from onward.errors import DataError

FORMAT_VERSION = 1
_MAGIC = b"ONWARD\x01\x00"
_ALIGNMENT = 64
_HEADER_ROOM = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenFile:
    """Tokens of a text, in the order of its documents, each led by the end token."""

    tokens: npt.NDArray[Any]
    """All tokens, memory-mapped, shape (n_tokens,), uint16 or uint32."""
    document_starts: npt.NDArray[np.uint64]
    """Where each document begins in `tokens`, shape (n_documents,)."""
    loss_mask: npt.NDArray[np.uint8] | None
    """1 where the token counts as a target of the loss, shape (n_tokens,); None means everywhere."""
    vocab_size: int
    """Every token is below it."""
    n_bytes: int
    """Length in UTF-8 of the text that the tokens stand for, the end tokens not counted."""


def write_token_file(
    path: Path,
    documents: Iterable[npt.NDArray[Any]],
    *,
    end_token: int,
    vocab_size: int,
    n_bytes: int,
    loss_masks: Iterable[npt.NDArray[np.bool_]] | None = None,
) -> None:
    """Write the tokens of `documents` to `path`, atomically, the end token before each.

    Args:
        path: where the file goes; its folder is made if need be.
        documents: the tokens of each document, shape (n_tokens,); consumed one by one.
        end_token: the token that parts documents.
        vocab_size: one more than the largest possible token.
        n_bytes: the length of all documents in UTF-8.
        loss_masks: for each document, which of its tokens are targets of the loss, shape (n_tokens,).

    Raises:
        DataError: a token is not below `vocab_size`, or a mask has another length than its document.
    """
    masked = zip(documents, itertools.repeat(None) if loss_masks is None else loss_masks, strict=loss_masks is not None)
    with token_file_writer(path, end_token=end_token, vocab_size=vocab_size) as writer:
        for document, mask in masked:
            writer.begin_document()
            writer.write(document, mask)
        writer.n_bytes = n_bytes


@contextlib.contextmanager
def token_file_writer(path: Path, *, end_token: int, vocab_size: int) -> Iterator[TokenFileWriter]:
    """Yield what writes a token file part by part; on leaving, the file is there, whole.

    Args:
        path: where the file goes; its folder is made if need be.
        end_token: the token that parts documents.
        vocab_size: one more than the largest possible token.

    Raises:
        DataError: a token is not below `vocab_size`, or a mask has another length than its tokens.
    """
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        writer = TokenFileWriter(path, file, end_token, vocab_size)
        yield writer
        writer.finish()


class TokenFileWriter:
    """Writes the tokens of documents as they come, so that none has to be in memory whole."""

    def __init__(self, path: Path, file: BinaryIO, end_token: int, vocab_size: int) -> None:
        self.n_tokens = 0
        self.n_bytes = 0
        """The length of all documents in UTF-8; to be set before the end."""
        self._path = path
        self._file = file
        self._end_token = end_token
        self._vocab_size = vocab_size
        self._dtype = np.dtype("<u2" if vocab_size <= 1 << 16 else "<u4")
        self._starts: list[int] = []
        self._masks: list[npt.NDArray[np.uint8]] = []
        file.write(bytes(_HEADER_ROOM))

    def begin_document(self) -> None:
        """Write the end token that leads a document."""
        self._starts.append(self.n_tokens)
        self.n_tokens += 1
        self._file.write(np.array([self._end_token], self._dtype).tobytes())

    def write(self, tokens: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None = None) -> None:
        """Write the next tokens of the document, shape (n_tokens,); with a mask, all of them."""
        if tokens.size and int(tokens.max()) >= self._vocab_size:
            raise DataError(
                f"token {int(tokens.max())} of {self._path} is not below the vocabulary's {self._vocab_size}"
            )
        if mask is not None:
            if mask.shape != tokens.shape:
                raise DataError(f"loss mask of shape {mask.shape} for a document of shape {tokens.shape}")
            self._masks.append(np.concatenate([[True], mask]).astype(np.uint8))
        self.n_tokens += tokens.size
        self._file.write(tokens.astype(self._dtype).tobytes())

    def finish(self) -> None:
        """Write what follows the tokens, then the header."""
        _pad(self._file)
        self._file.write(np.array(self._starts, "<u8").tobytes())
        _pad(self._file)
        for mask in self._masks:
            self._file.write(mask.tobytes())
        header = json.dumps(
            {
                "format": FORMAT_VERSION,
                "dtype": self._dtype.str,
                "n_tokens": self.n_tokens,
                "n_documents": len(self._starts),
                "has_loss_mask": bool(self._masks),
                "vocab_size": self._vocab_size,
                "n_bytes": self.n_bytes,
            }
        ).encode()
        self._file.seek(0)
        self._file.write(_MAGIC + len(header).to_bytes(8, "little") + header)


def read_token_file(path: Path) -> TokenFile:
    """Map a token file into memory.

    Raises:
        DataError: the file is missing, is no token file, comes from a newer onward, or is cut short.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(_HEADER_ROOM)
        size = path.stat().st_size
    except OSError as error:
        raise DataError(f"cannot read the token file {path}: {error.strerror}") from None
    header = _parse_header(path, beginning)
    dtype, n_tokens, n_documents = np.dtype(header["dtype"]), header["n_tokens"], header["n_documents"]
    starts_at = _aligned(_HEADER_ROOM + n_tokens * dtype.itemsize)
    mask_at = _aligned(starts_at + n_documents * 8)
    expected = mask_at + (n_tokens if header["has_loss_mask"] else 0)
    if size < expected:
        raise DataError(f"{path} is cut short: {size} bytes of {expected}; make it again from its text")
    return TokenFile(
        tokens=np.memmap(path, dtype, "r", _HEADER_ROOM, (n_tokens,)),
        document_starts=np.fromfile(path, "<u8", n_documents, offset=starts_at),
        loss_mask=np.memmap(path, np.uint8, "r", mask_at, (n_tokens,)) if header["has_loss_mask"] else None,
        vocab_size=header["vocab_size"],
        n_bytes=header["n_bytes"],
    )


def _parse_header(path: Path, beginning: bytes) -> dict[str, Any]:
    """The header, every value of which has the right type and a sane range."""
    if beginning[: len(_MAGIC)] != _MAGIC:
        raise DataError(f"{path} is not a token file of onward")
    try:
        length = int.from_bytes(beginning[8:16], "little")
        header: dict[str, Any] = json.loads(beginning[16 : 16 + length])
        version = header["format"]
        counts = [header[name] for name in ("n_tokens", "n_documents", "vocab_size", "n_bytes")]
        whole = header["dtype"] in ("<u2", "<u4") and isinstance(header["has_loss_mask"], bool)
        whole = whole and all(type(count) is int and 0 <= count < 1 << 48 for count in counts) and counts[0] > 0
    except (ValueError, KeyError, TypeError, RecursionError):
        raise DataError(f"the header of {path} is broken; make the token file again from its text") from None
    if version != FORMAT_VERSION:
        raise DataError(f"{path} has format {version}; this onward reads format {FORMAT_VERSION}: use a newer onward")
    if not whole:
        raise DataError(f"the header of {path} is broken; make the token file again from its text")
    return header


def _aligned(position: int) -> int:
    return -(-position // _ALIGNMENT) * _ALIGNMENT


def _pad(file: Any) -> None:
    file.write(bytes(_aligned(file.tell()) - file.tell()))
