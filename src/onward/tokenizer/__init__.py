"""Text → tokens: a byte-level BPE tokenizer, and the files it lives in."""

from onward.tokenizer.stream import StreamDecoder
from onward.tokenizer.tokenizer import AllowedSpecial, Tokenizer

__all__ = ["AllowedSpecial", "StreamDecoder", "Tokenizer"]
