"""Text files and folders → documents, and the documents' split into training and validation."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from onward.errors import DataError
from onward.tokenizer.tokenizer import END_TOKEN, AllowedSpecial, Tokenizer

VALIDATION_SHARE = 0.1


def bundled_text() -> Path:
    """Path of the text inside the package: 1.1 MB of Shakespeare, in the public domain.

    Source: the "tiny Shakespeare" of Karpathy, The Unreasonable Effectiveness of Recurrent Neural Networks, 2015.
    """
    return Path(str(files("onward") / "assets" / "tinyshakespeare.txt.gz"))


def read_documents(paths: Sequence[str | Path]) -> list[str]:
    """Read UTF-8 text into documents: one a file, or several where a file separates them by `<|endoftext|>`.

    A folder stands for every `.txt` and `.txt.gz` below it, in the order of their names. Line ends are kept.

    Raises:
        DataError: a path is missing or unreadable, a folder has no text, a file is empty, or is not UTF-8 text
            (binary files are refused).

    >>> text = read_documents([bundled_text()])[0]
    >>> len(text), text[:14]
    (1115394, 'First Citizen:')
    """
    documents: list[str] = []
    for path in map(Path, paths):
        for file in _files_of(path):
            text = _read(file)
            found = [document for document in text.split(END_TOKEN) if document.strip()]
            if not found:
                raise DataError(f"{file} is empty: there is nothing to learn from; give a file with text")
            documents += found
    return documents


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
    """The tokens of `text`, led by the end token as every document is in training.

    Raises:
        TokenizerError: the text holds the text of a special token that is not in `allowed_special`.
    """
    lead = [] if tokenizer.end_token is None else [tokenizer.end_token]
    return lead + tokenizer.encode(text, allowed_special=allowed_special)


def _files_of(path: Path) -> list[Path]:
    """The text files that `path` stands for."""
    if path.is_dir():
        runs = {config.parent for config in path.rglob("run.toml")}  # what models wrote is not what they learn from
        found = sorted(
            file
            for file in path.rglob("*")
            if file.name.endswith((".txt", ".txt.gz")) and file.is_file() and runs.isdisjoint(file.parents)
        )
        if not found:
            raise DataError(f"the folder {path} has no .txt or .txt.gz file in it; name the files one by one")
        return found
    if not path.exists():
        raise DataError(f"there is no file {path} (looked in {Path.cwd()}); check the name")
    return [path]


def _read(path: Path) -> str:
    """The text of one file, without a byte order mark."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{path} is UTF-16; convert it to UTF-8 first, for example with: iconv -f utf-16 -t utf-8")
    if b"\0" in content:
        raise DataError(f"{path} is a binary file, no text: a NUL byte at offset {content.index(0)}; give plain text")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not UTF-8 text: byte 0x{content[error.start]:02x} at offset {error.start}; "
            f"if it is text, convert it first, for example with: iconv -f latin1 -t utf-8"
        ) from None
