"""Tokens → text that may be shown: in whole characters, and up to a stop string."""

from __future__ import annotations

from collections.abc import Sequence

from onward.tokenizer import Tokenizer


class TextStream:
    """Turns the tokens of one text into pieces to show, and sees when a stop string ends it.

    What may yet become a stop string is held back, so that no part of one is ever shown. Of several, the one that is
    whole first ends the text; so what is shown does not depend on how the text falls into tokens.

    >>> tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
    >>> text = TextStream(tokenizer, stop=["not"])
    >>> [text.push(token) for token in tokenizer.encode("no, not so")], text.stopped
    (['', '', 'no,', ' ', '', '', '', '', '', ''], True)
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self.stopped = False
        self._decoder = tokenizer.stream_decoder()
        self._stop = tuple(stop)
        self._held = ""

    def push(self, token: int) -> str:
        """The text that this token lets show."""
        return "" if self.stopped else self._show(self._decoder.push(token))

    def finish(self) -> str:
        """What was held back, now that nothing comes any more."""
        if self.stopped:
            return ""
        return self._show(self._decoder.finish()) + self._held_back()

    def _held_back(self) -> str:
        held, self._held = self._held, ""
        return "" if self.stopped else held

    def _show(self, piece: str) -> str:
        if not self._stop:
            return piece
        text = self._held + piece
        found = [(begin + len(stop), begin) for stop in self._stop if (begin := text.find(stop)) >= 0]
        if found:
            self.stopped = True
            return text[: min(found)[1]]
        n_held = max(_overlap(text, stop) for stop in self._stop)
        self._held = text[len(text) - n_held :]
        return text[: len(text) - n_held]


def _overlap(text: str, stop: str) -> int:
    """How many of the last characters of `text` are the first of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)
