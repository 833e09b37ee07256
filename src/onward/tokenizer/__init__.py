"""Text → tokens: a byte-level BPE tokenizer, and the files it lives in."""

from onward.tokenizer.tokenizer import StreamDecoder, Tokenizer

__all__ = ["StreamDecoder", "Tokenizer"]
