"""Files to learn a tokenizer from, read piece by piece: plain text, compressed text, JSON Lines, folders."""

from __future__ import annotations

import gzip
import importlib
import io
import json
import lzma
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from onward._core import WordCounts
from onward.errors import TokenizerError

BLOCK_BYTES = 1 << 20
TEXT_SUFFIXES = (".txt", ".md", ".jsonl")
COMPRESSED_SUFFIXES = (".gz", ".xz", ".zst")


def count_words(counts: WordCounts, paths: Iterable[str | os.PathLike[str]]) -> None:
    """Count the words of the files, each a text of its own; of JSON Lines, each line's "text" is one.

    Raises:
        TokenizerError: a file that cannot be read, is not UTF-8, or is not JSON Lines though its name says so.
    """
    for path in paths:
        for file in _files_of(Path(path)):
            try:
                with _open(file) as stream:
                    if _suffix(file) == ".jsonl":
                        _count_lines(counts, stream)
                    else:
                        _count_text(counts, stream)
            except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                raise TokenizerError(f"{file}: cannot be read: {reason}") from error
            except ValueError as error:
                raise TokenizerError(f"{file}: {error}") from error


def _files_of(path: Path) -> Iterator[Path]:
    """The file itself, or every text file below the folder, in the order of their names."""
    if not path.is_dir():
        yield path
        return
    files = [file for file in sorted(path.rglob("*")) if _suffix(file) in TEXT_SUFFIXES and file.is_file()]
    if not files:
        raise TokenizerError(f"{path}: no text in this folder; expected files that end in {', '.join(TEXT_SUFFIXES)}")
    yield from files


def _suffix(file: Path) -> str:
    """Of the file inside, where it is compressed."""
    return file.with_suffix("").suffix if file.suffix in COMPRESSED_SUFFIXES else file.suffix


def _open(file: Path) -> io.BufferedIOBase:
    if file.suffix == ".gz":
        return gzip.GzipFile(file)
    if file.suffix == ".xz":
        return lzma.LZMAFile(file)
    if file.suffix == ".zst":
        try:
            return importlib.import_module("compression.zstd").open(file)
        except ModuleNotFoundError:
            raise ValueError("Python reads .zst from version 3.14 on; unpack the file first") from None
    return file.open("rb")


def _count_text(counts: WordCounts, stream: io.BufferedIOBase) -> None:
    try:
        while block := stream.read(BLOCK_BYTES):
            counts.feed(block)
        counts.end_text()
    except ValueError as error:
        raise ValueError(f"{error}; train on text, or convert it to UTF-8 first") from error


def _count_lines(counts: WordCounts, stream: io.BufferedIOBase) -> None:
    for number, line in enumerate(stream, start=1):
        try:
            text = json.loads(line)["text"]
            counts.feed(text)
        except (ValueError, KeyError, TypeError, RecursionError) as error:  # not JSON, not an object, not a str
            raise ValueError(f'line {number} is not a JSON object with a "text": {error}') from error
        counts.end_text()
