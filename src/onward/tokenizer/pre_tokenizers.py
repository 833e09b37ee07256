"""How the split patterns are written in tokenizer.json, as Hugging Face's pre-tokenizers."""

from __future__ import annotations

from typing import Any

from onward.tokenizer.reference import PATTERNS
from onward.tokenizer.word_level import CHARACTERS


def _byte_level(use_regex: bool) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


BYTE_LEVEL = _byte_level(True)
_DIGITS = {"type": "Digits", "individual_digits": True}
_EXPRESSIONS = {
    PATTERNS["llama3"]: "llama3",
    PATTERNS["o200k"]: "o200k",
    PATTERNS["whitespace"]: "whitespace",
    PATTERNS["cl100k"].replace(r"\Z", r"\z"): "cl100k",  # the end of the text, in the dialect of that library
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt2",
}


def pre_tokenizer_of(split_pattern: str) -> dict[str, Any]:
    """The pre-tokenizer that splits so."""
    if split_pattern == "gpt2":
        return BYTE_LEVEL
    if split_pattern == "byte":
        return _byte_level(False)
    if split_pattern == "smollm2":
        return {"type": "Sequence", "pretokenizers": [_DIGITS, BYTE_LEVEL]}
    expression = next(text for text, name in _EXPRESSIONS.items() if name == split_pattern)
    return {"type": "Sequence", "pretokenizers": [_split(expression), _byte_level(False)]}


def splitter_of(split_pattern: str) -> dict[str, Any]:
    """The pre-tokenizer that splits so and leaves the words as they are; for "characters", too."""
    if split_pattern == CHARACTERS:
        return _split("(?m:.)")
    # That library's dialect has another end of the text, and another way to say that a dot matches line ends too.
    return _split(PATTERNS[split_pattern].replace(r"\Z", r"\z").replace("(?s:", "(?m:"))


def splitters() -> list[tuple[str, dict[str, Any]]]:
    """Every split that there is for words, with its pre-tokenizer."""
    return [(name, splitter_of(name)) for name in (CHARACTERS, *PATTERNS)]


def _split(expression: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}


def pattern_of(pre_tokenizer: Any) -> str | None:
    """The pattern that splits as this pre-tokenizer does, if there is one."""
    steps = pre_tokenizer.get("pretokenizers") if _is(pre_tokenizer, "Sequence") else [pre_tokenizer]
    if not isinstance(steps, list) or not 1 <= len(steps) <= 2:
        return None
    byte_level = steps[-1]
    if not _is(byte_level, "ByteLevel") or byte_level.get("add_prefix_space") is not False:
        return None
    splits_again = byte_level.get("use_regex", True)
    if not isinstance(splits_again, bool):
        return None
    if len(steps) == 1:
        return "gpt2" if splits_again else "byte"
    if _is(steps[0], "Digits"):
        return "smollm2" if splits_again and steps[0].get("individual_digits") is True else None
    return None if splits_again else _pattern_of_split(steps[0])


def _pattern_of_split(split: Any) -> str | None:
    """The expressions match every character, so that keeping the matches and cutting around them are the same."""
    if (
        not _is(split, "Split")
        or not isinstance(split.get("invert"), bool)
        or (split.get("behavior"), split.get("invert"))
        not in (
            ("Isolated", False),
            ("Removed", True),
        )
    ):
        return None
    pattern = split.get("pattern")
    expression = pattern.get("Regex") if isinstance(pattern, dict) else None
    return _EXPRESSIONS.get(expression) if isinstance(expression, str) else None


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, dict) and value.get("type") == kind
