"""The peers that onward is measured against, each used in the fastest way that its documentation shows."""

from importlib.util import find_spec

PEERS = {
    "tokenizers": "tokenizers",
    "tiktoken": "tiktoken",
    "gigabpe": "gigabpe",
    "ffbpe": "ffbpe",
    "rustbpe": "rustbpe",
    "bpeasy": "bpeasy",
    "gigatoken": "gigatoken",
    "fastokens": "fastokens",
    "tuetoken": "tuetoken",
    "toktok-rs": "toktok",
    "quicktok-v1": "quicktok",
}
"""The tokenizers: what each is installed as, and what it is imported as."""

TIKTOKEN_PATTERNS = {
    "gpt2": r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s""",
    "cl100k": r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$"""
    r"""|\s*[\r\n]|\s+(?!\S)|\s""",
}
"""As tiktoken 0.14 writes them. Without the possessive quantifiers it gives up on a megabyte of spaces."""


def installed(module: str) -> bool:
    """Whether it can be imported."""
    return find_spec(module) is not None
