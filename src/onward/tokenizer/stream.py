"""Ids → text as they come."""

from __future__ import annotations

import codecs
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onward.tokenizer.tokenizer import Tokenizer


class StreamDecoder:
    """Turns ids into text one at a time, holding back the bytes of a character until it is whole.

    >>> from onward.tokenizer import Tokenizer
    >>> tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
    >>> decoder = tokenizer.stream_decoder()
    >>> [decoder.push(id_) for id_ in tokenizer.encode("é!")], decoder.finish()
    (['', 'é', '!'], '')
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id_: int) -> str:
        """The characters that this id completes."""
        return self._decoder.decode(self._tokenizer.token_bytes(id_))

    def finish(self) -> str:
        """What is left: U+FFFD if the ids end inside a character."""
        return self._decoder.decode(b"", final=True)
