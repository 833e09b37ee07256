"""The tokenizer: text → ids → text, by byte-level BPE.

As in Radford et al., 2019, "Language Models are Unsupervised Multitask Learners", section 2.2.
The work is done in C++ (csrc/); `reference.py` does the same in plain Python, and explains it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, AnyStr, Literal

import numpy as np
from numpy.typing import NDArray

from onward import _core
from onward.errors import TokenizerError
from onward.tokenizer import reference
from onward.tokenizer.formats import RANKS_SUFFIX, load_vocabulary, save_ranks, save_tokenizer_json
from onward.tokenizer.sources import Paths, TextFiles
from onward.tokenizer.stream import StreamDecoder
from onward.tokenizer.threads import map_in_order, thread_count
from onward.tokenizer.train import (
    TrainingOptions,
    Watch,
    add_special_tokens,
    extend_vocabulary,
    learn_vocabulary,
    surrogate_message,
)
from onward.tokenizer.vocabulary import Vocabulary
from onward.tokenizer.word_level import SpecialWords, WordLevelVocabulary, cut_words

END_TOKEN = "<|endoftext|>"
_BEGIN_OF_TEXT, _END_OF_TEXT = "<|begin_of_text|>", "<|end_of_text|>"  # Llama 3's
_ENDS = (END_TOKEN, _END_OF_TEXT, "<|im_end|>", "<|eot_id|>", "<|eom_id|>")

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
        files: Paths,
        *,
        vocab_size: int,
        special_tokens: Sequence[str] = (END_TOKEN,),
        split_pattern: str = "gpt2",
        min_frequency: int = 1,
        max_token_length: int | None = None,
        max_words: int | None = None,
        max_bytes: int | None = None,
        threads: int | None = None,
        watch: Watch | None = None,
    ) -> Tokenizer:
        """Learn a tokenizer from files of UTF-8 text, each a text of its own, read block by block.

        Memory is bounded by the distinct words of the text. The result is the same whatever the number of threads.

        Args:
            files: a path or paths of text files, plain or compressed (.gz, .xz, .zst); of JSON Lines (.jsonl), whose
                lines have a "text"; of folders, of which every .txt, .md and .jsonl is read.
            vocab_size: how many tokens to have, the 256 bytes and the special tokens among them.
            special_tokens: tokens that stand for no text; they get the last ids.
            split_pattern: how text is cut into the words inside which tokens merge: "gpt2", "cl100k" (GPT-4),
                "o200k" (GPT-4o), "llama3", "smollm2" (digits apart), "whitespace", or "byte" (not at all).
            min_frequency: how often a pair of tokens must occur to be merged.
            max_token_length: how many bytes a token may have; None is as many as may be.
            max_words: how many distinct words to keep in memory: whenever there are more, the rarer half is dropped,
                and `watch` is told. One thread counts then. None keeps all.
            max_bytes: how much of the text to read, from its beginning; None is all of it.
            threads: how many threads count words; None is as many as there are processors.
            watch: is called now and then, and at the end, with how far training has come and what was left out.

        Raises:
            TokenizerError: a file that cannot be read or is not UTF-8; a vocabulary too small for the bytes and
                the special tokens, or larger than the text can fill.

        >>> import pathlib, tempfile
        >>> book = pathlib.Path(tempfile.mkdtemp()) / "book.txt"
        >>> _ = book.write_text("to be or not to be")
        >>> Tokenizer.train([book], vocab_size=260).vocab_size
        260
        """
        options = TrainingOptions(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            max_token_length=max_token_length,
            max_words=max_words,
            max_bytes=max_bytes,
            threads=threads,
            watch=watch,
        )
        return cls(learn_vocabulary(TextFiles(files), special_tokens, split_pattern, options))

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
        max_words: int | None = None,
        max_bytes: int | None = None,
        threads: int | None = None,
        watch: Watch | None = None,
    ) -> Tokenizer:
        """Learn a tokenizer from texts, which may be made one by one; otherwise as `train`.

        >>> Tokenizer.train_on(["to be or not to be"], vocab_size=260).vocab_size
        260
        """
        options = TrainingOptions(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            max_token_length=max_token_length,
            max_words=max_words,
            max_bytes=max_bytes,
            threads=threads,
            watch=watch,
        )
        return cls(learn_vocabulary(texts, special_tokens, split_pattern, options))

    def extend(
        self,
        files: Paths,
        *,
        vocab_size: int,
        min_frequency: int = 1,
        max_token_length: int | None = None,
        max_words: int | None = None,
        max_bytes: int | None = None,
        threads: int | None = None,
        watch: Watch | None = None,
    ) -> Tokenizer:
        """This tokenizer with more tokens, learned from more text.

        All ids stay, so that a model's embedding only grows; the new ones follow, behind the special tokens. What is
        learned are merges of the tokens that this tokenizer makes of the text.

        Args:
            files: as of `train`.
            vocab_size: how many tokens to have, those of this tokenizer among them.
            min_frequency: as of `train`, and so on.
            max_token_length: of the new tokens.
            max_words: as of `train`.
            max_bytes: as of `train`.
            threads: as of `train`.
            watch: as of `train`.

        Raises:
            TokenizerError: as `train`; a vocabulary that would not grow.

        >>> import pathlib, tempfile
        >>> book = pathlib.Path(tempfile.mkdtemp()) / "book.txt"
        >>> _ = book.write_text("not to be")
        >>> small = Tokenizer.train_on(["to be or to be"], vocab_size=258)
        >>> larger = small.extend(book, vocab_size=260)
        >>> small.pieces(small.encode("to be")), larger.pieces(larger.encode("to be"))
        (['t', 'o', ' ', 'be'], ['to', ' ', 'be'])
        """
        options = TrainingOptions(
            vocab_size=vocab_size,
            min_frequency=min_frequency,
            max_token_length=max_token_length,
            max_words=max_words,
            max_bytes=max_bytes,
            threads=threads,
            watch=watch,
        )
        return Tokenizer(extend_vocabulary(self._vocabulary, TextFiles(files), options))

    def with_special_tokens(self, names: Sequence[str]) -> Tokenizer:
        """This tokenizer with more special tokens; all ids stay, and the new ones follow.

        Raises:
            TokenizerError: one that is a token already, or no text.

        >>> tokenizer = Tokenizer.train_on(["to be or not to be"], vocab_size=260)
        >>> tokenizer.with_special_tokens(["<|im_end|>"]).special_tokens
        {'<|endoftext|>': 259, '<|im_end|>': 260}
        """
        return Tokenizer(add_special_tokens(self._vocabulary, names))

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
        threads, texts = thread_count(threads), list(texts)

        def encode_part(part: Sequence[str]) -> list[NDArray[np.unsignedinteger]]:
            return [
                self.encode_array(text, allowed_special=allowed_special, disallowed_special=disallowed_special)
                for text in part
            ]

        # Parts that are many enough to share the work evenly, and few enough to cost nothing.
        part_size = -(-len(texts) // (8 * threads)) or 1
        parts = (texts[i : i + part_size] for i in range(0, len(texts), part_size))
        return list(itertools.chain.from_iterable(map_in_order(encode_part, parts, threads)))

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
            raise TokenizerError(surrogate_message(text, error.start)) from error
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
        return self._decoded(ids, lambda ids: self._coder.decode_text(ids, errors))

    def decode_bytes(self, ids: Ids) -> bytes:
        """The bytes of the ids; as `decode`."""
        return self._decoded(ids, self._coder.decode)

    def _decoded(self, ids: Ids, decode: Callable[[Any], AnyStr]) -> AnyStr:
        with contextlib.suppress(IndexError):  # the slower way says what is wrong
            if isinstance(ids, list):
                return decode(ids)
            if isinstance(ids, np.ndarray) and ids.ndim == 1 and ids.dtype in (np.uint16, np.uint32):
                return decode(np.ascontiguousarray(ids))
        return decode(self._checked(ids))

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
        """The id of <|endoftext|>, or Llama 3's <|end_of_text|>, which stands between documents, if there is one."""
        return self.special_tokens.get(END_TOKEN, self.special_tokens.get(_END_OF_TEXT))

    @property
    def begin_token(self) -> int | None:
        """The id that a document begins with: Llama 3's <|begin_of_text|>; elsewhere the end token before it."""
        return self.special_tokens.get(_BEGIN_OF_TEXT, self.end_token)

    @property
    def closing_tokens(self) -> list[int]:
        """The ids that end a text: a document (<|endoftext|>, <|end_of_text|>) or a reply (<|im_end|>, <|eot_id|>)."""
        return [self.special_tokens[token] for token in _ENDS if token in self.special_tokens]

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
