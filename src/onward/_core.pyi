"""The C++ core, as Python sees it."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

class SpecialTokens:
    """Finds the special tokens among these (text, id) in text: the leftmost, of those at one place the longest."""

    def __init__(self, tokens: Sequence[tuple[str, int]], /) -> None: ...
    def find(self, text: str | bytes, /) -> tuple[int, int] | None:
        """Where in the UTF-8 of the text the first one begins, and its id."""

class Bpe:
    """A vocabulary, which encodes and decodes; any number of threads may use it at once."""

    def __init__(
        self,
        split_pattern: str,
        tokens: Sequence[bytes],
        id_of_byte: Sequence[int],
        merges: NDArray[np.uint32],
        whole_words: Sequence[int],
        /,
    ) -> None: ...
    def encode(self, text: str | bytes, special: SpecialTokens, /) -> list[int]: ...
    def encode_array(self, text: str | bytes, special: SpecialTokens, /) -> NDArray[np.unsignedinteger]: ...
    def decode(self, ids: NDArray[np.integer] | list[int], /) -> bytes:
        """Of arrays, those of uint16 and uint32; IndexError if one is no id."""
    def decode_text(self, ids: NDArray[np.integer] | list[int], errors: str, /) -> str:
        """As `decode`; `errors` as of `bytes.decode`."""

class WordCounts:
    """The distinct words of any amount of text, counted; with more than `max_words`, the rarer half is dropped."""

    def __init__(self, split_pattern: str, /, max_words: int = ...) -> None: ...
    def __len__(self) -> int: ...
    def count(self, texts: Sequence[bytes], /) -> None:
        """Count the words of these texts, which are UTF-8, or what safe cuts leave of them."""

    def add(self, others: WordCounts, /) -> None:
        """Add what others have counted."""

    def dropped(self) -> tuple[int, int]:
        """How many words were dropped, and how many bytes of text they stood for."""

    def train(
        self,
        base: Bpe,
        token_limit: int,
        /,
        min_frequency: int = 1,
        max_token_length: int = 0xFFFFFFFF,
        taken: Sequence[bytes] = (),
        watch: Callable[[int], object] | None = None,
    ) -> list[tuple[int, int, int]]:
        """Merge (left, right, made) until there are so many tokens, or no pair is left that the limits allow.

        It begins with the tokens that the base makes of the words; no merge makes a token that the base has, or one
        that is taken. `watch` is told now and then how many tokens there are.
        """

def merges_of_ranks(tokens: Sequence[bytes], /) -> list[tuple[int, int, int]]:
    """The merges (left, right, made) behind tokens listed by rank; ValueError if one is not made by two before it."""

def split_patterns() -> list[str]:
    """The names of the split patterns there are."""

def split_ends(split_pattern: str, text: str | bytes, /) -> list[int]:
    """Where each word of the text ends, in bytes."""

def safe_cut(split_pattern: str, text: bytes | bytearray, begin: int, /) -> int:
    """The last place from `begin` on where no word goes on, however the text may; 0 if there is none."""

def find_invalid_utf8(text: bytes, /) -> int | None:
    """Where the first byte lies that is not valid UTF-8, if there is one."""

def char_classes() -> bytes:
    """For each code point its class: 0 other, 1 upper, 2 lower, 3 other letter, 4 mark, 5 number, 6 white space."""

def base_bytes() -> bytes:
    """The bytes in the order of their ids, 0 to 255: GPT-2's, which puts those that print first."""
