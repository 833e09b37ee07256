"""Every error that onward raises on purpose.

    OnwardError
    ├── ConfigError          a setting that is unknown, out of range, or contradicts another
    ├── TokenizerError       a tokenizer that cannot be trained or read, text or ids that it cannot take
    ├── DataError            text, tokens or a token file: missing, empty, broken, too short, out of the vocabulary
    ├── CheckpointError      a model folder or a checkpoint that is missing, broken or of another kind
    ├── RunError             a run folder that exists already, is in use, or holds no run
    ├── ContextLengthError   more tokens than the model's context has room for
    └── NonFiniteError       a loss or logits that are infinite or not a number

A message says what was got, where, what was expected, and what to do about it, in one line: the command
prints it as it is.
"""

from __future__ import annotations


class OnwardError(Exception):
    """Whatever onward refuses, with a message made for the person who reads it."""


class ConfigError(OnwardError):
    """A setting that is unknown, out of range, or contradicts another."""


class TokenizerError(OnwardError):
    """A tokenizer that cannot be trained or read, or text or ids that it cannot take."""


class DataError(OnwardError):
    """Text, tokens or a token file: missing, empty, broken, too short, or outside the vocabulary."""


class CheckpointError(OnwardError):
    """A model folder or a checkpoint that is missing, broken or of another kind."""


class RunError(OnwardError):
    """A run folder that exists already, is in use, or holds no run."""


class ContextLengthError(OnwardError):
    """More tokens than the model's context has room for."""


class NonFiniteError(OnwardError):
    """A loss or logits that are infinite or not a number."""
