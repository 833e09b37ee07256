"""Text on disk, read block by block: plain or compressed, JSON Lines, folders of them."""

from __future__ import annotations

import contextlib
import functools
import gzip
import importlib
import io
import json
import lzma
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from onward._core import find_invalid_utf8, safe_cut
from onward.errors import TokenizerError

BLOCK_BYTES = 1 << 20
TEXT_SUFFIXES = (".txt", ".md", ".jsonl")
COMPRESSED_SUFFIXES = (".gz", ".xz", ".zst")

Piece = TypeVar("Piece")
Paths = str | os.PathLike[str] | Iterable[str | os.PathLike[str]]


class TextFiles:
    r"""The texts of files, and how far reading them has come.

    A file is a text; of JSON Lines, each line's "text" is one; a folder stands for every text file below it.

    Raises:
        TokenizerError: when read, a file that cannot be read, is not UTF-8, or is not JSON Lines though its name says
            so; a folder without text.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "lines.jsonl"
    >>> _ = file.write_text('{"text": "one"}\n{"text": "two"}\n')
    >>> [b"".join(blocks) for _, blocks in TextFiles(file).texts()]
    [b'one', b'two']
    """

    def __init__(self, paths: Paths) -> None:
        paths = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        self.files = [file for path in paths for file in _text_files(Path(path))]
        self.total = sum(map(_size, self.files))
        """The bytes of all files as they are on disk."""
        self._finished = 0
        self._stream: io.BufferedReader | None = None

    @property
    def done(self) -> int:
        """How many of them have been read."""
        return self._finished + (0 if self._stream is None else self._stream.tell())

    def texts(self) -> Iterator[tuple[Path, Iterator[bytes]]]:
        """Each text, and the file it is from, in blocks of whole characters, valid UTF-8.

        A text is to be read before the next one is asked for.
        """
        for file in self.files:
            if _suffix(file) == ".jsonl":
                yield from ((file, iter([text])) for text in self._texts_of_lines(file))
            else:
                yield file, self._blocks(file)

    def _blocks(self, file: Path) -> Iterator[bytes]:
        """The content without a byte order mark; characters that a block cuts in two go with the next."""
        offset, rest = 0, b""
        with self._opened(file) as content:
            while block := content.read(BLOCK_BYTES):
                if offset == 0:
                    _refuse_utf16(file, block)
                    offset = 3 if block.startswith(b"\xef\xbb\xbf") else 0
                    block = block[offset:]
                block = rest + block
                end = find_invalid_utf8(block)
                if end is not None and end < len(block) - 3:
                    raise _not_utf8(file, block, offset, end)
                whole, rest = (block, b"") if end is None else (block[:end], block[end:])
                offset += len(whole)
                yield whole
        if rest:
            raise _not_utf8(file, rest, offset, 0)

    def lines(self, file: Path) -> Iterator[bytes]:
        """The lines of one of the files, unpacked."""
        with self._opened(file) as content:
            yield from content

    def _texts_of_lines(self, file: Path) -> Iterator[bytes]:
        for number, line in enumerate(self.lines(file), start=1):
            try:
                yield json.loads(line)["text"].encode()
            # Not JSON, not an object, not a str, half a surrogate pair.
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise TokenizerError(f'{file}: line {number} is not a JSON object with a "text": {error}') from error

    @contextlib.contextmanager
    def _opened(self, file: Path) -> Iterator[io.BufferedIOBase]:
        """The content of the file, unpacked; what goes wrong in reading it says which file it is."""
        zstd = _zstd()
        broken = (OSError, EOFError, zlib.error, lzma.LZMAError, *([zstd.ZstdError] if zstd else []))
        try:
            with file.open("rb") as self._stream:
                if file.suffix == ".gz":
                    yield gzip.GzipFile(fileobj=self._stream)
                elif file.suffix == ".xz":
                    yield lzma.LZMAFile(self._stream)  # noqa: SIM115 (it is closed with the stream)
                elif file.suffix != ".zst":
                    yield self._stream
                elif zstd is not None:
                    yield zstd.ZstdFile(self._stream)
                else:
                    raise TokenizerError(
                        f"cannot read {file}: before Python 3.14, .zst takes: pip install 'onward[zstd]'"
                    )
        except broken as error:
            raise TokenizerError(f"cannot read {file}: {getattr(error, 'strerror', None) or error}") from error
        finally:
            self._stream = None
            self._finished += _size(file)


def _text_files(path: Path) -> list[Path]:
    """The file itself, or every text file below the folder, in the order of their names.

    What lies in a run's folder was written by a model, and is no text to learn from.

    Raises:
        TokenizerError: a folder without text.
    """
    if not path.is_dir():
        return [path]
    runs = {config.parent for config in path.rglob("run.toml")}
    files = [file for file in sorted(path.rglob("*")) if _suffix(file) in TEXT_SUFFIXES and file.is_file()]
    files = [file for file in files if runs.isdisjoint(file.parents)]
    if not files:
        raise TokenizerError(
            f"the folder {path} has no {', '.join(TEXT_SUFFIXES[:-1])} or {TEXT_SUFFIXES[-1]} file in it, "
            f"plain or compressed ({', '.join(COMPRESSED_SUFFIXES)}); name the files one by one"
        )
    return files


def cut_safely(blocks: Iterable[bytes], split_pattern: str) -> Iterator[bytes]:
    """The text of the blocks, cut at other places: at none that a word reaches over.

    >>> list(cut_safely([b"one tw", b"o, three"], "gpt2"))
    [b'one', b' two', b', three']
    """
    rest = bytearray()
    for block in blocks:
        # Looking again through what had no cut would make long lines quadratic. The few bytes before the new block
        # count as new: whether one can cut there depends on what follows.
        known = max(len(rest) - 8, 0)
        rest += block
        if cut := safe_cut(split_pattern, rest, known):
            yield bytes(memoryview(rest)[:cut])
            del rest[:cut]
    if rest:
        yield bytes(rest)


def batches(pieces: Iterable[Piece], n_bytes: Callable[[Piece], int]) -> Iterator[list[Piece]]:
    """Many small pieces together, so that handing them to a thread costs nothing."""
    batch: list[Piece] = []
    size = 0
    for piece in pieces:
        batch.append(piece)
        size += n_bytes(piece)
        if size >= BLOCK_BYTES // 2:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def refuse_binary(file: Path, block: bytes, offset: int) -> None:
    """Raise TokenizerError if there is a NUL byte in the block, which is that of the file at `offset`."""
    if b"\0" in block:
        raise TokenizerError(
            f"{file} is a binary file, no text: a NUL byte at offset {offset + block.index(0)}; give plain text"
        )


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else 0


def _suffix(file: Path) -> str:
    """Of the file inside, where it is compressed."""
    return file.with_suffix("").suffix if file.suffix in COMPRESSED_SUFFIXES else file.suffix


@functools.cache
def _zstd() -> Any:
    """Python's own module from 3.14 on, or the same for older ones, if it is installed."""
    for name in ("compression.zstd", "backports.zstd"):
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(name)
    return None


def _refuse_utf16(file: Path, block: bytes) -> None:
    if block.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise TokenizerError(f"{file} is UTF-16; convert it to UTF-8 first, for example with: iconv -f utf-16 -t utf-8")


def _not_utf8(file: Path, block: bytes, offset: int, wrong: int) -> TokenizerError:
    refuse_binary(file, block, offset)
    return TokenizerError(
        f"{file} is not UTF-8 text: byte {block[wrong]:#04x} at offset {offset + wrong}; "
        "if it is text, convert it first, for example with: iconv -f latin1 -t utf-8"
    )
