"""Tokenizer files: Hugging Face's tokenizer.json and tiktoken's ranks in and out, GPT-2's two files in.

All may be gzipped.
A file is either represented exactly or refused, naming what stands in the way.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import gzip
import json
import os
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from onward._core import base_bytes, merges_of_ranks, split_patterns
from onward.atomic import atomic_file
from onward.errors import TokenizerError
from onward.tokenizer.pre_tokenizers import BYTE_LEVEL, pattern_of, pre_tokenizer_of, splitter_of, splitters
from onward.tokenizer.vocabulary import MOST_TOKENS, Vocabulary
from onward.tokenizer.word_level import WordLevelVocabulary

TOKENIZER_JSON = "tokenizer.json"
GPT2_FILES = (("encoder.json", "vocab.bpe"), ("vocab.json", "merges.txt"))  # OpenAI's names, Hugging Face's
RANKS_SUFFIX = ".tiktoken"
MAX_FILE_BYTES = 1 << 28
"""Reading JSON takes up to twenty times its length in memory; the largest files of tokenizers have 2 ** 25 bytes."""
MAX_RANKED_TOKEN_BYTES = 512
"""Finding the merges behind a token takes quadratic time; in OpenAI's files the longest has 128 bytes."""
MAX_UNUSED_IDS = 65_536
"""So many ids without a token are borne; a file with a stray id of four billion is not."""


FUSE = {"type": "Fuse"}

# JSON holds text, a token any bytes: GPT-2 writes each byte as a printable character, itself where it is one.
_BYTES = base_bytes()
_CHARACTER_OF_BYTE = {
    byte: chr(byte if place < _BYTES.index(0) else 256 + place - _BYTES.index(0)) for place, byte in enumerate(_BYTES)
}
_BYTE_OF_CHARACTER = {character: byte for byte, character in _CHARACTER_OF_BYTE.items()}


def load_vocabulary(path: str | os.PathLike[str]) -> Vocabulary | WordLevelVocabulary:
    """Read a tokenizer from a tokenizer.json, a file of ranks, or a folder with the former or with GPT-2's two files.

    Raises:
        TokenizerError: there is no such file, it is broken, or it holds what onward cannot represent.
    """
    path = Path(path)
    if not path.exists():
        raise TokenizerError(f"{path}: no such file; expected a {TOKENIZER_JSON}, or a folder that holds a tokenizer")
    if path.name.removesuffix(".gz").endswith(RANKS_SUFFIX):
        return _load_ranks(path)
    if not path.is_dir():
        return _load_tokenizer_json(path)
    if (file := _find(path, TOKENIZER_JSON)) is not None:
        return _load_tokenizer_json(file)
    for encoder_name, merges_name in GPT2_FILES:
        encoder, merges = _find(path, encoder_name), _find(path, merges_name)
        if encoder is not None and merges is not None:
            return _load_gpt2_files(encoder, merges)
    raise TokenizerError(
        f"{path}: no tokenizer in this folder; expected {TOKENIZER_JSON}, or encoder.json and vocab.bpe"
    )


def save_tokenizer_json(vocabulary: Vocabulary | WordLevelVocabulary, path: str | os.PathLike[str]) -> None:
    """Write a tokenizer.json, which Hugging Face's `tokenizers` reads too; a folder gets one inside.

    Raises:
        TokenizerError: a special token is written as another token is, so that the file cannot tell them apart.
    """
    path = Path(path)
    file = path / TOKENIZER_JSON if path.is_dir() or not path.suffix else path
    with _naming(file):
        parts = _bpe_parts(vocabulary) if isinstance(vocabulary, Vocabulary) else _word_level_parts(vocabulary)
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added_token(text, id_) for text, id_ in sorted(vocabulary.special_tokens.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": parts["pre_tokenizer"],
        "post_processor": vocabulary.post_processor,
        "decoder": parts["decoder"],
        "model": parts["model"],
    }
    with atomic_file(file) as temporary:
        temporary.write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")


def _bpe_parts(vocabulary: Vocabulary) -> dict[str, Any]:
    names = [_to_characters(token) for token in vocabulary.tokens]
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": vocabulary.whole_words,
        "vocab": _names_to_ids(names, vocabulary.special_tokens),
        "merges": [[names[left], names[right]] for left, right, _ in vocabulary.merges],
    }
    return {"pre_tokenizer": pre_tokenizer_of(vocabulary.split_pattern), "decoder": BYTE_LEVEL, "model": model}


def _word_level_parts(vocabulary: WordLevelVocabulary) -> dict[str, Any]:
    names = [token.decode() for token in vocabulary.tokens]
    model = {
        "type": "WordLevel",
        "vocab": _names_to_ids(names, vocabulary.special_tokens),
        "unk_token": vocabulary.unknown,
    }
    return {"pre_tokenizer": splitter_of(vocabulary.split_pattern), "decoder": FUSE, "model": model}


def _names_to_ids(names: list[str], special_tokens: dict[str, int]) -> dict[str, int]:
    """Every token with its id, the special ones too: those that are not here get ids of `tokenizers`' own choice."""
    special = set(special_tokens.values())
    ids = {name: id_ for id_, name in enumerate(names) if name and id_ not in special}
    for text in special_tokens:
        if text in ids:
            raise TokenizerError(f"the special token {text!r} is written as the token of id {ids[text]} is; rename it")
    return ids | special_tokens


def _added_token(text: str, id_: int) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": id_, "content": text, **flags}


# ---- reading files ----


def _find(folder: Path, name: str) -> Path | None:
    return next((file for file in (folder / name, folder / f"{name}.gz") if file.is_file()), None)


@contextlib.contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Put the file's name before whatever is wrong with it."""
    try:
        yield
    except TokenizerError as error:
        raise TokenizerError(f"{file}: {error}") from error


def _read_text(file: Path) -> str:
    try:
        with file.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(file) if packed else file.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise TokenizerError(f"{file}: larger than {MAX_FILE_BYTES:,} bytes, which no tokenizer is")
        return data.decode("utf-8")
    except (OSError, EOFError, zlib.error) as error:
        raise TokenizerError(f"{file}: cannot be read: {error}") from error
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{file}: not UTF-8 at byte {error.start:,}; a tokenizer file is text") from error


def _parse_json(text: str) -> dict[str, Any]:
    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            repeated = next(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
            raise TokenizerError(f"the key {_shortly(repeated)} is there twice")
        return result

    try:
        document = json.loads(text, object_pairs_hook=without_repeats)
    except json.JSONDecodeError as error:
        raise TokenizerError(
            f"line {error.lineno}, column {error.colno} is not JSON: {error.msg}; is the file cut short, or another?"
        ) from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise TokenizerError(f"not a tokenizer: {error}") from error
    return _expect(document, dict, "the file")


# ---- tokenizer.json ----


def _load_tokenizer_json(file: Path) -> Vocabulary | WordLevelVocabulary:
    text = _read_text(file)
    with _naming(file):
        return _from_tokenizer_json(_parse_json(text))


def _from_tokenizer_json(document: dict[str, Any]) -> Vocabulary | WordLevelVocabulary:
    model = _expect(document.get("model"), dict, "'model'")
    kind = model.get("type", "BPE")
    if kind not in ("BPE", "WordLevel"):
        raise TokenizerError(f"a tokenizer of type {_shortly(kind)}; onward reads byte-level BPE and WordLevel only")
    if document.get("version", "1.0") != "1.0":
        raise TokenizerError(f"'version' is {_shortly(document['version'])}, expected '1.0'")
    for option in ("normalizer", "truncation", "padding"):
        _refuse_unless(document, "", option, None)
    post_processor = document.get("post_processor")
    if post_processor is not None:
        _encoded(json.dumps(_expect(post_processor, dict, "'post_processor'"), ensure_ascii=False))
    special_tokens = _special_tokens(_expect(document.get("added_tokens", []), list, "'added_tokens'"))
    if kind == "WordLevel":
        return _word_level(document, model, special_tokens)
    return _bpe(document, model, special_tokens)


def _word_level(document: dict[str, Any], model: dict[str, Any], special_tokens: dict[str, int]) -> WordLevelVocabulary:
    split_pattern = next((name for name, step in splitters() if step == document.get("pre_tokenizer")), None)
    if split_pattern is None:
        raise TokenizerError(
            f"'pre_tokenizer' is {_shortly(document.get('pre_tokenizer'))}, which onward cannot represent for words; "
            f"it has splits into {', '.join(name for name, _ in splitters())}"
        )
    if document.get("decoder") != FUSE:
        raise TokenizerError(f"'decoder' is {_shortly(document.get('decoder'))}, expected Fuse, which joins words")
    vocabulary = _expect(model.get("vocab"), dict, "'model.vocab'")
    unknown = _expect(model.get("unk_token"), str, "'model.unk_token'")
    if unknown not in vocabulary:
        raise TokenizerError(f"'model.unk_token' is {_shortly(unknown)}, which is not in 'model.vocab'")
    return WordLevelVocabulary(
        tokens=_tokens_by_id(vocabulary, special_tokens, _encoded),
        special_tokens=special_tokens,
        unknown=unknown,
        split_pattern=split_pattern,
        post_processor=document.get("post_processor"),
    )


def _bpe(document: dict[str, Any], model: dict[str, Any], special_tokens: dict[str, int]) -> Vocabulary:
    _refuse_unless(model, "model.", "dropout", None, 0.0, 0)
    for option in ("continuing_subword_prefix", "end_of_word_suffix"):
        _refuse_unless(model, "model.", option, None, "")
    split_pattern = pattern_of(document.get("pre_tokenizer"))
    if split_pattern is None:
        raise TokenizerError(
            f"'pre_tokenizer' is {_shortly(document.get('pre_tokenizer'))}, which onward cannot represent; "
            f"it has byte-level ones that split as {', '.join(split_patterns())} do"
        )
    decoder = _expect(document.get("decoder"), dict, "'decoder'")
    if decoder.get("type") != "ByteLevel":
        raise TokenizerError(f"'decoder' is {_shortly(decoder)}, which onward cannot represent; expected ByteLevel")
    vocabulary = _expect(model.get("vocab"), dict, "'model.vocab'")
    merges = _expect(model.get("merges"), list, "'model.merges'")
    built = build_vocabulary(
        vocabulary, [merge_parts(merge, rank) for rank, merge in enumerate(merges)], special_tokens
    )
    if len(built.base_ids()) < 256:  # a byte that is no token is left out, and not marked in any way
        _refuse_unless(model, "model.", "unk_token", None)
        _refuse_unless(model, "model.", "byte_fallback", None, False)
    _refuse_unless(model, "model.", "ignore_merges", None, False, True)
    return replace(
        built,
        split_pattern=split_pattern,
        whole_words=bool(model.get("ignore_merges")),
        post_processor=document.get("post_processor"),
    )


def _refuse_unless(where: dict[str, Any], prefix: str, option: str, *harmless: Any) -> None:
    value = where.get(option)
    if not any(type(value) is type(other) and value == other for other in harmless):
        raise TokenizerError(f"'{prefix}{option}' is {_shortly(value)}, which onward cannot represent")


def _special_tokens(added_tokens: list[Any]) -> dict[str, int]:
    special_tokens: dict[str, int] = {}
    for i, entry in enumerate(added_tokens):
        entry = _expect(entry, dict, f"added token {i}")
        content = _expect(entry.get("content"), str, f"'content' of added token {i}")
        if not _encoded(content):
            raise TokenizerError(f"'content' of added token {i} is empty")
        for flag in ("single_word", "lstrip", "rstrip"):
            _refuse_unless(entry, f"added token {_shortly(content)}: ", flag, None, False)
        if entry.get("special") is not True:
            raise TokenizerError(f"the added token {_shortly(content)} is not special, which onward cannot represent")
        _refuse_unless(entry, f"added token {_shortly(content)}: ", "normalized", None, False, True)
        if content in special_tokens:
            raise TokenizerError(f"the added token {_shortly(content)} is there twice")
        special_tokens[content] = _expect(entry.get("id"), int, f"'id' of added token {_shortly(content)}")
    # `tokenizers` looks for those that are not normalized first, wherever they stand.
    if len({bool(entry.get("normalized")) for entry in added_tokens}) > 1:
        raise TokenizerError("some added tokens are 'normalized' and some are not, which onward cannot represent")
    return special_tokens


def merge_parts(merge: Any, rank: int) -> tuple[str, str]:
    """The two tokens of a merge, written as a pair or with a blank between."""
    parts = merge.split(" ") if isinstance(merge, str) else _expect(merge, list, f"merge {rank}")
    if len(parts) != 2 or not all(isinstance(part, str) for part in parts):
        raise TokenizerError(f"merge {rank} is {_shortly(merge)}, expected two tokens")
    return parts[0], parts[1]


# ---- GPT-2's encoder.json and vocab.bpe ----


def _load_gpt2_files(encoder_file: Path, merges_file: Path) -> Vocabulary:
    encoder_text, merges_text = _read_text(encoder_file), _read_text(merges_file)
    with _naming(encoder_file):
        encoder = _parse_json(encoder_text)
    with _naming(merges_file):
        lines = merges_text.split("\n")
        lines = lines[1:] if lines[0].startswith("#version") else lines
        merges = [merge_parts(line, rank) for rank, line in enumerate(lines) if line]
    with _naming(encoder_file.parent):
        # What is neither a byte nor made by a merge can come from no text: a special token.
        made = {left + right for left, right in merges}
        special = {
            token: id_ for token, id_ in encoder.items() if token not in made and token not in _BYTE_OF_CHARACTER
        }
        for token in special:
            if not (token.startswith("<") and token.endswith(">")):
                raise TokenizerError(
                    f"no merge makes the token {_shortly(token)}, and it does not look like a special one, which are "
                    f"written <...>; is {merges_file.name} cut short, or another's?"
                )
        return build_vocabulary(encoder, merges, special)


# ---- tiktoken's ranks ----

_FIM = {"<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260}
_RANKS = {
    "r50k_base": ("gpt2", 50_256, {"<|endoftext|>": 50256}),
    "cl100k_base": ("cl100k", 100_256, {"<|endoftext|>": 100257, **_FIM, "<|endofprompt|>": 100276}),
    "o200k_base": ("o200k", 199_998, {"<|endoftext|>": 199999, "<|endofprompt|>": 200018}),
}
"""What a file of ranks does not say: of each that OpenAI publishes, the pattern, the number of ranks, the specials."""


def _load_ranks(file: Path) -> Vocabulary:
    text = _read_text(file)
    with _naming(file):
        name = file.name.removesuffix(".gz").removesuffix(RANKS_SUFFIX)
        if name not in _RANKS:
            raise TokenizerError(
                "ranks alone do not say how text is split, and onward knows that by the file's name only of "
                f"{', '.join(_RANKS)}"
            )
        split_pattern, expected, special_tokens = _RANKS[name]
        tokens = [_rank_line(line, rank) for rank, line in enumerate(text.splitlines())]
        if len(tokens) != expected:
            raise TokenizerError(f"{len(tokens):,} ranks, expected {expected:,}; is the file cut short, or another?")
        try:
            merges = merges_of_ranks(tokens)
        except ValueError as error:
            raise TokenizerError(str(error)) from error
        tokens += [b""] * (max(special_tokens.values()) + 1 - len(tokens))
        for token, id_ in special_tokens.items():
            tokens[id_] = token.encode()
        return Vocabulary(tokens=tokens, merges=merges, special_tokens=special_tokens, split_pattern=split_pattern)


def _rank_line(line: str, expected_rank: int) -> bytes:
    try:
        encoded, rank = line.split(" ")
        token = base64.b64decode(encoded, validate=True)
        if int(rank) != expected_rank or not 0 < len(token) <= MAX_RANKED_TOKEN_BYTES:
            raise ValueError
    except (ValueError, binascii.Error):
        raise TokenizerError(
            f"line {expected_rank + 1} is {_shortly(line)}, expected a token in base64 and the rank {expected_rank}"
        ) from None
    return token


def save_ranks(vocabulary: Vocabulary, path: str | os.PathLike[str]) -> None:
    """Write the tokens by rank as tiktoken reads them; the pattern and the special tokens are not in such a file.

    Raises:
        TokenizerError: the order of the ids is not that of the merges, so that ranks cannot represent the tokenizer.
    """
    special = set(vocabulary.special_tokens.values())
    ranks = [id_ for id_, token in enumerate(vocabulary.tokens) if token and id_ not in special]
    made = [made for _, _, made in vocabulary.merges]
    if ranks != list(range(len(ranks))) or made != ranks[256:] or vocabulary.whole_words:
        raise TokenizerError(
            f"{path}: a file of ranks holds tokens in the order of their merges, special tokens last, and these are not"
        )
    with atomic_file(path) as temporary, temporary.open("wb") as stream:
        stream.writelines(b"%s %d\n" % (base64.b64encode(vocabulary.tokens[id_]), id_) for id_ in ranks)


# ---- both ----


def build_vocabulary(
    entries: dict[str, Any], merges: list[tuple[str, str]], special_tokens: dict[str, int]
) -> Vocabulary:
    """A vocabulary from tokens written in GPT-2's characters and the two parts of each merge."""
    tokens = _tokens_by_id(entries, special_tokens, _to_bytes)
    ranked = []
    for rank, (left, right) in enumerate(merges):
        for part in (left, right, left + right):
            if part not in entries:
                raise TokenizerError(
                    f"merge {rank} is of {_shortly(left)} and {_shortly(right)}, but {_shortly(part)} is no token"
                )
        ranked.append((entries[left], entries[right], entries[left + right]))
    return Vocabulary(tokens=tokens, merges=ranked, special_tokens=special_tokens)


def _tokens_by_id(
    entries: dict[str, Any], special_tokens: dict[str, int], to_bytes: Callable[[str], bytes]
) -> list[bytes]:
    """The bytes of every token at the place of its id, as they are written in the file."""
    if len(entries) >= MOST_TOKENS:
        raise TokenizerError(f"{len(entries):,} tokens, expected fewer than {MOST_TOKENS:,}")
    tokens: dict[int, bytes] = {}
    for name, id_ in (entries | special_tokens).items():
        if not name:
            raise TokenizerError("there is an empty token")
        id_ = _expect(id_, int, f"the id of {_shortly(name)}")
        if not 0 <= id_ < len(entries) + len(special_tokens) + MAX_UNUSED_IDS:
            raise TokenizerError(f"the id {_shortly(id_)} of {_shortly(name)} is out of range")
        if id_ in tokens:
            raise TokenizerError(f"the id {id_} is both {_shortly(name)} and the token {_shortly(tokens[id_])}")
        if name in special_tokens and entries.get(name, id_) != special_tokens[name]:
            raise TokenizerError(f"{_shortly(name)} has the ids {_shortly(entries[name])} and {special_tokens[name]}")
        tokens[id_] = _encoded(name) if name in special_tokens else to_bytes(name)
    if not tokens:
        raise TokenizerError("a tokenizer without tokens")
    return [tokens.get(id_, b"") for id_ in range(max(tokens) + 1)]


def _to_characters(token: bytes) -> str:
    return "".join(_CHARACTER_OF_BYTE[byte] for byte in token)


def _to_bytes(name: str) -> bytes:
    try:
        return bytes(_BYTE_OF_CHARACTER[character] for character in name)
    except KeyError as error:
        raise TokenizerError(
            f"the token {_shortly(name)} is not written in bytes, as byte-level BPE writes it; "
            "SentencePiece tokenizers cannot be represented"
        ) from error


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"the token {_shortly(text)} holds half a surrogate pair, which is no character"
        ) from error


_Kind = TypeVar("_Kind")


def _expect(value: Any, kind: type[_Kind], what: str) -> _Kind:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TokenizerError(f"{what} is {_shortly(value)}, expected a JSON {kind.__name__}")
    return value


def _shortly(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
