"""onward: from raw text to a transformer that you trained, run and see through.

The names below are the public surface, in the order in which data passes them. They are imported when they are first
used, so that `import onward` is quick; the rest is reached by its module.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onward.errors import OnwardError as OnwardError
    from onward.generation.config import Sampling as Sampling
    from onward.generation.generator import generate as generate
    from onward.generation.generator import generate_batch as generate_batch
    from onward.generation.generator import stream as stream
    from onward.library import load as load
    from onward.model.config import ModelConfig as ModelConfig
    from onward.model.decoder import Decoder as Decoder
    from onward.model.hook import Hooks as Hooks
    from onward.run import Run as Run
    from onward.tokenizer import Tokenizer as Tokenizer
    from onward.training.train import train as train

_HOMES = {
    "OnwardError": "onward.errors",
    "Tokenizer": "onward.tokenizer",
    "ModelConfig": "onward.model.config",
    "Decoder": "onward.model.decoder",
    "Hooks": "onward.model.hook",
    "Sampling": "onward.generation.config",
    "generate": "onward.generation.generator",
    "stream": "onward.generation.generator",
    "generate_batch": "onward.generation.generator",
    "Run": "onward.run",
    "train": "onward.training.train",
    "load": "onward.library",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'onward' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
