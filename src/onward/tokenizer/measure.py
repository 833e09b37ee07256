"""What a tokenizer makes of a text, in figures that compare with those of others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from onward.tokenizer.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a tokenizer cuts a text."""

    n_bytes: int
    """Length of the text in UTF-8."""
    n_words: int
    """What stands between white space, whatever the tokenizer calls a word."""
    n_tokens: int
    """Tokens that the text becomes."""
    n_single_bytes: int
    """Of them, those that are one byte."""
    n_unknown: int
    """Of them, those that stand for characters or words that the tokenizer does not know."""

    @property
    def bytes_per_token(self) -> float:
        """More is less work for a model."""
        return self.n_bytes / max(self.n_tokens, 1)

    @property
    def tokens_per_word(self) -> float:
        """How many tokens a word takes, the white space around it with it; also called fertility."""
        return self.n_tokens / max(self.n_words, 1)


def measure(tokenizer: Tokenizer, texts: Iterable[str]) -> Measure:
    """Encode the texts, special tokens in them as plain text, and count.

    >>> tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
    >>> measure(tokenizer, ["to be or not"])
    Measure(n_bytes=12, n_words=4, n_tokens=9, n_single_bytes=7, n_unknown=0)
    """
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    n_bytes = n_words = 0
    for text in texts:
        n_bytes += len(text.encode())
        n_words += len(text.split())
        counts += np.bincount(tokenizer.encode_array(text, disallowed_special=()), minlength=tokenizer.vocab_size)
    single_bytes = [id_ for id_ in np.flatnonzero(counts).tolist() if len(tokenizer.token_bytes(id_)) == 1]
    unknown = tokenizer.unknown_token
    return Measure(
        n_bytes=n_bytes,
        n_words=n_words,
        n_tokens=int(counts.sum()),
        n_single_bytes=int(counts[single_bytes].sum()),
        n_unknown=0 if unknown is None else int(counts[unknown]),
    )
