"""Text → tokens: a byte-level BPE tokenizer, and the files it lives in."""

from onward.tokenizer.tokenizer import AllowedSpecial, StreamDecoder, Tokenizer

__all__ = ["AllowedSpecial", "StreamDecoder", "Tokenizer"]
