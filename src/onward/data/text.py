"""Text files and folders → documents, and the documents' split into training and validation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from onward.errors import DataError, TokenizerError
from onward.tokenizer.sources import TextFiles, refuse_binary
from onward.tokenizer.tokenizer import END_TOKEN, AllowedSpecial, Tokenizer

VALIDATION_SHARE = 0.1
_SEPARATOR = END_TOKEN.encode()


def bundled_text() -> Path:
    """Path of the text inside the package: 1.1 MB of Shakespeare, in the public domain.

    Source: the "tiny Shakespeare" of Karpathy, The Unreasonable Effectiveness of Recurrent Neural Networks, 2015.
    """
    return Path(str(files("onward") / "assets" / "tinyshakespeare.txt.gz"))


def read_documents(paths: Sequence[str | Path]) -> list[str]:
    """Read UTF-8 text into documents: one a file, or several where a file separates them by `<|endoftext|>`.

    Files may be compressed (.gz, .xz, .zst); of JSON Lines (.jsonl), each line's "text" is read as a file is. A folder
    stands for every .txt, .md and .jsonl below it, in the order of their names. Line ends are kept.

    Raises:
        DataError: a path is missing or unreadable, a folder has no text, a file is empty, or is not UTF-8 text
            (binary files are refused).

    >>> text = read_documents([bundled_text()])[0]
    >>> len(text), text[:14]
    (1115394, 'First Citizen:')
    """
    return [b"".join(document).decode() for document in stream_documents(open_texts(paths))]


def open_texts(paths: Sequence[str | Path]) -> TextFiles:
    """The files that the paths stand for.

    Raises:
        DataError: a path that is missing, a folder without text.
    """
    for path in map(Path, paths):
        if not path.exists():
            raise DataError(f"there is no file {path} (looked in {Path.cwd()}); check the name")
    with as_data_error():
        return TextFiles(paths)


def stream_documents(texts: TextFiles) -> Iterator[Iterator[bytes]]:
    """The documents of `read_documents` in blocks of whole characters, each to be read before the next.

    Raises:
        DataError: as `read_documents`.
    """
    found = set()
    with as_data_error():
        for file, blocks in texts.texts():
            parts = _parts(blocks, file)
            for lead, ends in parts:
                while not ends and not lead.decode().strip():
                    more, ends = next(parts)
                    lead += more
                if lead.decode().strip():
                    found.add(file)
                    yield _document(lead, ends, parts)
    for file in texts.files:
        if file not in found:
            raise DataError(f"{file} is empty: there is nothing to learn from; give a file with text")


def split_documents(documents: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split documents into training and validation, 9 to 1 by length.

    Whole documents are set aside at even distances, so that both parts see every region of the collection. Where the
    documents are too few or too unequal for that, the last 10 % of each is set aside.

    >>> split_documents(["0123456789"])
    (['012345678'], ['9'])
    >>> training, validation = split_documents([str(number) for number in range(10, 40)])
    >>> validation
    ['19', '29', '39']
    """
    training: list[str] = []
    validation: list[str] = []
    n_seen = n_validation = 0
    for document in documents:
        n_seen += len(document)
        if n_validation + len(document) <= VALIDATION_SHARE * n_seen:
            n_validation += len(document)
            validation.append(document)
        else:
            training.append(document)
    if n_validation < VALIDATION_SHARE / 2 * n_seen:
        cuts = [int((1 - VALIDATION_SHARE) * len(document)) for document in documents]
        training = [document[:cut] for document, cut in zip(documents, cuts, strict=True) if cut]
        validation = [document[cut:] for document, cut in zip(documents, cuts, strict=True)]
    if not any(training):
        raise DataError(f"the text is too short: {n_seen} characters cannot be split into training and validation")
    return training, validation


def document_tokens(tokenizer: Tokenizer, text: str, allowed_special: AllowedSpecial = "none") -> list[int]:
    """The tokens of `text`, led by the token that every document begins with in training.

    Raises:
        TokenizerError: the text holds the text of a special token that is not in `allowed_special`.
    """
    lead = [] if tokenizer.begin_token is None else [tokenizer.begin_token]
    return lead + tokenizer.encode(text, allowed_special=allowed_special)


def _parts(blocks: Iterable[bytes], file: Path) -> Iterator[tuple[bytes, bool]]:
    """A text cut at its separators, in parts of whole characters, and of each whether a document ends with it."""
    offset, rest = 0, b""
    with as_data_error():
        for block in blocks:
            refuse_binary(file, block, offset)
            offset += len(block)
            *whole, rest = (rest + block).split(_SEPARATOR)
            yield from ((part, True) for part in whole)
            # A separator may have begun where the block ends.
            begun = rest.rfind(b"<", max(len(rest) - len(_SEPARATOR) + 1, 0))
            part, rest = (rest, b"") if begun < 0 else (rest[:begun], rest[begun:])
            yield part, False
    yield rest, True


def _document(lead: bytes, ends: bool, parts: Iterator[tuple[bytes, bool]]) -> Iterator[bytes]:
    yield lead
    while not ends:
        part, ends = next(parts)
        yield part


@contextlib.contextmanager
def as_data_error() -> Iterator[None]:
    """What the tokenizer's room says of files that it cannot read holds here, too."""
    try:
        yield
    except TokenizerError as error:
        raise DataError(str(error)) from error
