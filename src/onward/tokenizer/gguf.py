"""The tokenizer in the metadata of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from onward.errors import TokenizerError
from onward.tokenizer.formats import build_vocabulary, merge_parts
from onward.tokenizer.vocabulary import Vocabulary

_SPLIT_PATTERNS = {
    "gpt-2": "gpt2",
    "smollm": "smollm2",
    "llama-bpe": "llama3",
    "llama3": "llama3",
    "llama-v3": "llama3",
}
"""Our name of each of llama.cpp's ways to cut text into words."""
MODEL_ALONE = "the model alone is loaded with tokenizer=False (onward convert --no-tokenizer)"
"""What to do about a tokenizer that onward cannot represent."""
_NORMAL, _CONTROL, _UNUSED = 1, 3, 5


def vocabulary_from_gguf(metadata: Mapping[str, Any], where: Path) -> Vocabulary:
    """The tokenizer that a GGUF file's metadata describes; control tokens become special tokens.

    Raises:
        TokenizerError: it is no byte-level BPE, splits text in a way that onward does not have, or is broken.
    """
    try:
        return _vocabulary({key.removeprefix("tokenizer.ggml."): value for key, value in metadata.items()})
    except TokenizerError as error:
        raise TokenizerError(f"{where}: {error}; {MODEL_ALONE}") from None


def _vocabulary(said: Mapping[str, Any]) -> Vocabulary:
    kind = said.get("model")
    if kind != "gpt2":
        name = {"llama": "SentencePiece (llama)", "bert": "WordPiece (bert)", "t5": "Unigram (t5)"}.get(str(kind), kind)
        raise TokenizerError(f"its tokenizer is of the kind {name}; onward reads byte-level BPE (gpt2) only")
    pre = said.get("pre")
    if not (isinstance(pre, str) and pre in _SPLIT_PATTERNS):
        raise TokenizerError(f"its tokenizer.ggml.pre is {pre!r}; onward has {', '.join(_SPLIT_PATTERNS)}")
    tokens, merges = (_strings(said, key) for key in ("tokens", "merges"))
    kinds = said.get("token_type", [_NORMAL] * len(tokens))
    if not isinstance(kinds, list) or len(kinds) != len(tokens):
        raise TokenizerError("tokenizer.ggml.token_type does not say one type for each token")
    entries: dict[str, Any] = {}
    special: dict[str, int] = {}
    for id_, (token, type_) in enumerate(zip(tokens, kinds, strict=True)):
        if type_ not in (_NORMAL, _CONTROL, _UNUSED):
            raise TokenizerError(f"the token {token!r} is of type {type_}; onward has normal, control and unused ones")
        if type_ == _UNUSED:
            continue
        if token in entries:
            raise TokenizerError(f"the ids {entries[token]} and {id_} are both the token {token!r}")
        entries[token] = id_
        if type_ == _CONTROL:
            special[token] = id_
    split_pattern = _SPLIT_PATTERNS[pre]
    vocabulary = build_vocabulary(entries, [merge_parts(merge, rank) for rank, merge in enumerate(merges)], special)
    return replace(vocabulary, split_pattern=split_pattern, whole_words=split_pattern == "llama3")


def _strings(said: Mapping[str, Any], key: str) -> list[str]:
    value = said.get(key)
    if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise TokenizerError(f"tokenizer.ggml.{key} is no list of texts")
    return value
