"""Text files straight into a token file, over threads, in little memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt

from onward._core import split_patterns
from onward.data.shards import token_file_writer
from onward.data.text import open_texts, stream_documents
from onward.errors import TokenizerError
from onward.tokenizer.sources import TextFiles, batches, cut_safely
from onward.tokenizer.threads import map_in_order, thread_count
from onward.tokenizer.tokenizer import Tokenizer

Watch = Callable[[int, int], object]


def encode_file(
    tokenizer: Tokenizer,
    texts: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    threads: int | None = None,
    watch: Watch | None = None,
) -> int:
    """Encode the documents of text files into a token file, as training reads it; the number of its tokens.

    Files are read block by block, however long a document is. What `<|endoftext|>` separates are documents, each led by
    that token; other special tokens in the text are the plain text that they are.

    Args:
        tokenizer: one with an end token.
        texts: files and folders, as `onward.data.text.read_documents` reads them.
        out: where the token file goes; it is there when it is whole.
        threads: how many threads encode; None is as many as there are processors.
        watch: is called now and then with the bytes of the files that were read, and how many there are.

    Raises:
        DataError: as `read_documents`.
        TokenizerError: a tokenizer without an end token.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "book.txt").write_text("to be or not to be")
    >>> tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
    >>> encode_file(tokenizer, [folder / "book.txt"], folder / "book.tokens")
    13
    """
    if tokenizer.end_token is None:
        raise TokenizerError("the tokenizer has no end token to part documents with")
    files = open_texts([Path(text) for text in texts])

    def encode(batch: list[tuple[bytes, bool]]) -> list[tuple[npt.NDArray[Any], bool, int]]:
        return [
            (tokenizer.encode_array(piece.decode(), disallowed_special=()), begins, len(piece))
            for piece, begins in batch
        ]

    work = batches(_pieces(files, tokenizer.split_pattern), lambda piece: len(piece[0]))
    with token_file_writer(Path(out), end_token=tokenizer.end_token, vocab_size=tokenizer.vocab_size) as writer:
        for batch in map_in_order(encode, work, thread_count(threads)):
            for tokens, begins, n_bytes in batch:
                if begins:
                    writer.begin_document()
                writer.write(tokens)
                writer.n_bytes += n_bytes
            if watch is not None:
                watch(files.done, files.total)
        return writer.n_tokens


def _pieces(files: TextFiles, split_pattern: str) -> Iterator[tuple[bytes, bool]]:
    """Every document in pieces that can be encoded apart, and whether one begins with the piece."""
    # Characters can be cut anywhere, so a pattern that never cuts a character in two will do.
    pattern = split_pattern if split_pattern in split_patterns() else "gpt2"
    for document in stream_documents(files):
        begins = True
        for piece in cut_safely(document, pattern):
            yield piece, begins
            begins = False
