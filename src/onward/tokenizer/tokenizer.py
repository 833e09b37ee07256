"""The tokenizer: text → ids → text, by byte-level BPE.

As in Radford et al., 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.
The work is done in C++ (csrc/); `reference.py` does the same in plain Python, and explains it.
"""

from __future__ import annotations

import codecs
import contextlib
import itertools
import os
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from onward import _core
from onward.errors import TokenizerError
from onward.tokenizer import reference
from onward.tokenizer.formats import RANKS_SUFFIX, load_vocabulary, save_ranks, save_tokenizer_json
from onward.tokenizer.sources import count_words
from onward.tokenizer.vocabulary import MOST_TOKENS, Vocabulary, vocabulary_from_merges
from onward.tokenizer.word_level import SpecialWords, WordLevelVocabulary, cut_words

END_TOKEN = "<|endoftext|>"

Ids = Sequence[int] | NDArray[np.integer]
AllowedSpecial = Literal["none", "all"] | Collection[str]
DisallowedSpecial = Literal["raise"] | Collection[str]


class Tokenizer:
    """Turns text into token ids and back; made by `train`, `train_on` or `load`.

    >>> tokenizer = Tokenizer.train_on(["hello hello world"], vocab_size=261)
    >>> tokenizer.pieces(tokenizer.encode("hello"))
    ['hello']
    """

    def __init__(self, vocabulary: Vocabulary | WordLevelVocabulary) -> None:
        self._vocabulary = vocabulary
        # A coder takes what the finder of its own vocabulary finds.
        self._coder: Any = vocabulary.to_core()
        self._no_special = vocabulary.finder([])
        self._every_special = vocabulary.finder(vocabulary.special_tokens)

    # ---- making one ----

    @classmethod
    def train(
        cls,
        files: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
        *,
        vocab_size: int,
        special_tokens: Sequence[str] = (END_TOKEN,),
        split_pattern: str = "gpt2",
        min_frequency: int = 1,
        max_token_length: int | None = None,
    ) -> Tokenizer:
        """Learn a tokenizer from files of UTF-8 text, each a text of its own, read block by block.

        Memory is bounded by the distinct words of the text.

        Args:
            files: a path or paths of text files, plain or compressed (.gz, .xz, from Python 3.14 on .zst); of JSON
                Lines (.jsonl), whose lines have a "text"; of folders, of which every .txt, .md and .jsonl is read.
            vocab_size: how many tokens to have, the 256 bytes and the special tokens among them.
            special_tokens: tokens that stand for no text; they get the last ids.
            split_pattern: how text is cut into the words inside which tokens merge: "gpt2", "cl100k" (GPT-4),
                "o200k" (GPT-4o), "llama3", "smollm2" (digits apart), "whitespace", or "byte" (not at all).
            min_frequency: how often a pair of tokens must occur to be merged.
            max_token_length: how many bytes a token may have; None is as many as may be.

        Raises:
            TokenizerError: a file that cannot be read or is not UTF-8; a vocabulary too small for the bytes and
                the special tokens, or larger than the text can fill.

        >>> import pathlib, tempfile
        >>> book = pathlib.Path(tempfile.mkdtemp()) / "book.txt"
        >>> _ = book.write_text("to be or not to be")
        >>> Tokenizer.train([book], vocab_size=260).vocab_size
        260
        """
        _check_sizes(vocab_size, special_tokens)
        counts = _core.WordCounts(_known_pattern(split_pattern))
        count_words(counts, [files] if isinstance(files, (str, os.PathLike)) else files)
        merges = counts.train(vocab_size - len(special_tokens), **_limits(min_frequency, max_token_length))
        return cls._from_merges(merges, vocab_size, special_tokens, split_pattern)

    @classmethod
    def train_on(
        cls,
        texts: Iterable[str],
        *,
        vocab_size: int,
        special_tokens: Sequence[str] = (END_TOKEN,),
        split_pattern: str = "gpt2",
        min_frequency: int = 1,
        max_token_length: int | None = None,
    ) -> Tokenizer:
        """Learn a tokenizer from texts; otherwise as `train`.

        >>> Tokenizer.train_on(["to be or not to be"], vocab_size=260).vocab_size
        260
        """
        _check_sizes(vocab_size, special_tokens)
        counts = _core.WordCounts(_known_pattern(split_pattern))
        for i, text in enumerate([texts] if isinstance(texts, str) else texts):
            try:
                counts.feed(text)
                counts.end_text()
            except UnicodeEncodeError as error:
                raise TokenizerError(f"text {i}: {_surrogate_message(error)}") from error
        merges = counts.train(vocab_size - len(special_tokens), **_limits(min_frequency, max_token_length))
        return cls._from_merges(merges, vocab_size, special_tokens, split_pattern)

    @classmethod
    def _from_merges(
        cls,
        merges: list[tuple[int, int, int]],
        vocab_size: int,
        special_tokens: Sequence[str],
        split_pattern: str,
    ) -> Tokenizer:
        vocabulary = vocabulary_from_merges(merges, special_tokens, split_pattern)
        possible = len(vocabulary.tokens)
        if possible < vocab_size:
            raise TokenizerError(
                f"the text can fill {possible:,} tokens, not {vocab_size:,}: "
                f"pass vocab_size={possible} or less, or more text"
            )
        return cls(vocabulary)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Tokenizer:
        """Read a tokenizer.

        Args:
            path: a tokenizer.json; a folder that holds one, or GPT-2's encoder.json and vocab.bpe; or OpenAI's
                r50k_base.tiktoken, cl100k_base.tiktoken or o200k_base.tiktoken. Each may be gzipped.

        Raises:
            TokenizerError: nothing there, a broken file, or a tokenizer that onward cannot represent exactly.
        """
        return cls(load_vocabulary(path))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a tokenizer.json in Hugging Face's format, to this file or into this folder.

        A name that ends in .tiktoken gets tiktoken's ranks instead, which leave the pattern and the special tokens out.
        """
        if os.fspath(path).endswith(RANKS_SUFFIX):
            if not isinstance(self._vocabulary, Vocabulary):
                raise TokenizerError(f"{path}: ranks hold byte pairs, not words; save a tokenizer.json")
            save_ranks(self._vocabulary, path)
        else:
            save_tokenizer_json(self._vocabulary, path)

    # ---- text → ids ----

    def encode(
        self,
        text: str,
        *,
        allowed_special: AllowedSpecial = "none",
        disallowed_special: DisallowedSpecial = "raise",
    ) -> list[int]:
        """The ids of a text.

        What looks like a special token in the text raises, so that text from users cannot forge one, unless the
        caller says what it is to be.

        Args:
            text: any text.
            allowed_special: the special tokens that become their id where they stand in the text.
            disallowed_special: "raise" refuses all others; a collection refuses those in it, and encodes what is
                neither allowed nor refused as the plain text that it is.

        Raises:
            TokenizerError: a special token that is refused, or half a surrogate pair.

        >>> tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
        >>> tokenizer.encode("be<|endoftext|>", allowed_special="all")
        [256, 259]
        """
        return self._coder.encode(text, self._wanted_special(text, allowed_special, disallowed_special))

    def encode_array(
        self,
        text: str,
        *,
        allowed_special: AllowedSpecial = "none",
        disallowed_special: DisallowedSpecial = "raise",
    ) -> NDArray[np.unsignedinteger]:
        """As `encode`, into an array of the smallest unsigned type that the vocabulary fits in.

        >>> Tokenizer.train_on(["to be or not to be"], vocab_size=260).encode_array("2b").dtype
        dtype('uint16')
        """
        return self._coder.encode_array(text, self._wanted_special(text, allowed_special, disallowed_special))

    def encode_batch(
        self,
        texts: Iterable[str],
        *,
        allowed_special: AllowedSpecial = "none",
        disallowed_special: DisallowedSpecial = "raise",
        threads: int | None = None,
    ) -> list[NDArray[np.unsignedinteger]]:
        """The arrays of `encode_array` of many texts, by several threads (as many as there are processors).

        >>> tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
        >>> [len(ids) for ids in tokenizer.encode_batch(["to", "be"])]
        [1, 1]
        """
        threads = threads if threads is not None else os.cpu_count() or 1
        if threads < 1:
            raise TokenizerError(f"threads is {threads}, expected 1 or more")
        texts = list(texts)

        def encode_part(part: Sequence[str]) -> list[NDArray[np.unsignedinteger]]:
            return [
                self.encode_array(text, allowed_special=allowed_special, disallowed_special=disallowed_special)
                for text in part
            ]

        # Parts that are many enough to share the work evenly, and few enough to cost nothing.
        part_size = -(-len(texts) // (8 * threads)) or 1
        with ThreadPoolExecutor(threads) as pool:
            parts = pool.map(encode_part, [texts[i : i + part_size] for i in range(0, len(texts), part_size)])
            return list(itertools.chain.from_iterable(parts))

    def _wanted_special(
        self, text: str, allowed_special: AllowedSpecial, disallowed_special: DisallowedSpecial
    ) -> _core.SpecialTokens | SpecialWords:
        """The special tokens to look for in the text, after refusing what is to be refused."""
        if not isinstance(text, str):
            raise TokenizerError(f"encode takes a str, got {type(text).__name__}")
        allowed = self._chosen_special("allowed_special", allowed_special, {"none": set(), "all": self.special_tokens})
        others = self.special_tokens.keys() - allowed
        refused = self._chosen_special("disallowed_special", disallowed_special, {"raise": others})
        try:
            found = self._finder(refused).find(text)
        except UnicodeEncodeError as error:
            raise TokenizerError(_surrogate_message(error)) from error
        if found is not None:
            start, id_ = found
            token = self._vocabulary.tokens[id_].decode()
            position = len(text.encode()[:start].decode())
            raise TokenizerError(
                f"the text holds the special token {token!r} at character {position:,}; pass "
                f"allowed_special={{{token!r}}} to encode it as that token, "
                "or disallowed_special=() to encode it as plain text"
            )
        return self._finder(allowed)

    def _chosen_special(
        self, option: str, chosen: str | Collection[str], words: dict[str, Collection[str]]
    ) -> Collection[str]:
        if isinstance(chosen, str):
            if chosen not in words:
                expected = ", ".join(map(repr, words))
                raise TokenizerError(f"{option} is {chosen!r}, expected {expected} or a set of special tokens")
            return words[chosen]
        for token in chosen:
            if token not in self.special_tokens:
                known = ", ".join(map(repr, self.special_tokens)) or "none"
                raise TokenizerError(f"{option} names {token!r}, which is no special token here; there are: {known}")
        return chosen

    def _finder(self, tokens: Collection[str]) -> _core.SpecialTokens | SpecialWords:
        if not tokens:
            return self._no_special
        if len(tokens) == len(self.special_tokens):
            return self._every_special
        return self._vocabulary.finder(tokens)

    def words(self, text: str) -> list[str]:
        """The words that the split pattern cuts a text into; no token reaches from one into the next.

        >>> Tokenizer.train_on(["to be or not to be"], vocab_size=260).words("You're here")
        ['You', "'re", ' here']
        """
        return [word.decode() for word in cut_words(text, self.split_pattern)]

    def merge_steps(self, word: str) -> list[tuple[int | None, list[int]]]:
        """How a word came to its tokens: the rank of each merge, and the ids after it; first the bytes, with no rank.

        It is the plain twin that says so (`reference.py`); that the core does the same is tested.

        Raises:
            TokenizerError: more than one word; or tokens are characters or words, which nothing merges.

        >>> tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
        >>> [(rank, tokenizer.pieces(ids)) for rank, ids in tokenizer.merge_steps(" be")]
        [(None, [' ', 'b', 'e']), (0, [' ', 'be']), (2, [' be'])]
        """
        if not isinstance(self._vocabulary, Vocabulary):
            raise TokenizerError("this tokenizer's tokens are whole words, which nothing merges")
        if len(words := self.words(word)) != 1:
            raise TokenizerError(f"{word!r} is {len(words)} words: {words}; give one of them")
        return reference.merge_steps(word, self._vocabulary)

    # ---- ids → text ----

    def decode(self, ids: Ids, errors: str = "replace") -> str:
        """The text of the ids; bytes that are not UTF-8 become U+FFFD, or whatever `errors` says.

        Raises:
            TokenizerError: an id outside the vocabulary.

        >>> Tokenizer.train_on(["to be or not to be"], vocab_size=260).decode([83, 78])
        'to'
        """
        return self.decode_bytes(ids).decode("utf-8", errors)

    def decode_bytes(self, ids: Ids) -> bytes:
        """The bytes of the ids; as `decode`."""
        with contextlib.suppress(IndexError):  # the slower way says what is wrong
            if isinstance(ids, list):
                return self._coder.decode(ids)
            if isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype in (np.uint16, np.uint32):
                return self._coder.decode(np.ascontiguousarray(ids))
        return self._coder.decode(self._checked(ids))

    def pieces(self, ids: Ids) -> list[str]:
        r"""The text of each token; bytes that are no whole characters are written \xNN.

        >>> tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
        >>> tokenizer.pieces(tokenizer.encode("be é"))
        ['be', ' ', '\\xc3', '\\xa9']
        """
        tokens = self._vocabulary.tokens
        return [tokens[id_].decode("utf-8", "backslashreplace") for id_ in self._checked(ids).tolist()]

    def offsets(self, ids: Ids) -> list[tuple[int, int]]:
        """Where each token stands in the text that the ids are of: its first character, and the one after its last.

        A token that is a part of a character stands where that character does. The ids are those of a whole text.

        Raises:
            TokenizerError: an id outside the vocabulary, or that of unknown words, whose length is lost.

        >>> tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
        >>> tokenizer.offsets(tokenizer.encode("é be"))
        [(0, 1), (0, 1), (1, 4)]
        """
        tokens = self._vocabulary.tokens
        if self.unknown_token is not None and self.unknown_token in ids:
            raise TokenizerError("there are unknown words among the ids, and how long they were is lost")
        lengths = np.array([len(tokens[id_]) for id_ in self._checked(ids).tolist()], dtype=np.int64)
        data = np.frombuffer(self.decode_bytes(ids), dtype=np.uint8)
        character = np.cumsum((data & 0xC0) != 0x80) - 1  # of each byte: which one it is in
        ends = np.cumsum(lengths)
        begins = ends - lengths
        return [
            (int(character[begin]), int(character[end - 1]) + 1)
            for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)
        ]

    def stream_decoder(self) -> StreamDecoder:
        """A decoder that is given one id at a time."""
        return StreamDecoder(self)

    def token_bytes(self, id_: int) -> bytes:
        """The bytes of one token; none for an id that is not in use."""
        return self.decode_bytes([id_])

    def _checked(self, ids: Ids) -> NDArray[np.uint32]:
        array = np.asarray(ids)
        if array.size == 0:
            return np.empty(0, dtype=np.uint32)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise TokenizerError(f"ids must be a list of integers, got {array.ndim} dimensions of {array.dtype}")
        if array.min() < 0 or array.max() >= self.vocab_size:
            position = int(((array < 0) | (array >= self.vocab_size)).argmax())
            raise TokenizerError(
                f"id {int(array[position])} at position {position:,} is not in the vocabulary, "
                f"which has 0 to {self.vocab_size - 1}"
            )
        return np.ascontiguousarray(array, dtype=np.uint32)

    # ---- what it is ----

    @property
    def vocab_size(self) -> int:
        """How many ids there are, special tokens among them."""
        return len(self._vocabulary.tokens)

    @property
    def special_tokens(self) -> dict[str, int]:
        """The special tokens and their ids."""
        return self._vocabulary.special_tokens

    @property
    def end_token(self) -> int | None:
        """The id of <|endoftext|>, which stands between documents, if there is one."""
        return self.special_tokens.get(END_TOKEN)

    @property
    def unknown_token(self) -> int | None:
        """The id that stands for all words without an id, where tokens are characters or words; of bytes, none."""
        return self._vocabulary.unknown_id

    @property
    def split_pattern(self) -> str:
        """The name of the pattern that cuts text into words before tokens merge; "characters" where each is one."""
        return self._vocabulary.split_pattern

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self._vocabulary == other._vocabulary

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Tokenizer(vocab_size={self.vocab_size}, split_pattern={self.split_pattern!r})"


class StreamDecoder:
    """Turns ids into text one at a time, holding back the bytes of a character until it is whole.

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


def _check_sizes(vocab_size: int, special_tokens: Sequence[str]) -> None:
    for i, token in enumerate(special_tokens):
        if not isinstance(token, str) or not token or token in special_tokens[:i]:
            raise TokenizerError(f"special token {i} is {token!r}; expected texts, none empty and none twice")
        try:
            token.encode()
        except UnicodeEncodeError as error:
            raise TokenizerError(f"special token {i}: {_surrogate_message(error)}") from error
    least = 256 + len(special_tokens)
    if not least <= vocab_size < MOST_TOKENS:
        raise TokenizerError(
            f"vocab_size is {vocab_size}, expected {least} (256 bytes, {len(special_tokens)} special) "
            f"to {MOST_TOKENS - 1}"
        )


def _limits(min_frequency: int, max_token_length: int | None) -> dict[str, int]:
    limits = {"min_frequency": min_frequency}
    if max_token_length is not None:
        limits["max_token_length"] = max_token_length
    for name, value in limits.items():
        if not 1 <= value < 1 << 32:
            raise TokenizerError(f"{name} is {value}, expected 1 to {(1 << 32) - 1}")
    return limits


def _known_pattern(split_pattern: str) -> str:
    if split_pattern not in _core.split_patterns():
        raise TokenizerError(
            f"the split pattern {split_pattern!r} is unknown; there are: {', '.join(_core.split_patterns())}"
        )
    return split_pattern


def _surrogate_message(error: UnicodeEncodeError) -> str:
    return (
        f"character {error.start:,} is {error.object[error.start]!a}, half of a surrogate pair and no character; "
        'text.encode(errors="replace").decode() replaces such halves'
    )
