"""Training a tokenizer with onward and with each of its peers, on one thread where it is not said otherwise.

A peer is imported in the process that trains, so that its memory is its own.
"""

from __future__ import annotations

import importlib
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from peers import TIKTOKEN_PATTERNS

END = "<|endoftext|>"


def train_onward(onward: Any, file: Path, vocab_size: int, threads: int = 1) -> int:
    return onward.Tokenizer.train([file], vocab_size=vocab_size, threads=threads).vocab_size


def train_onward_threads(onward: Any, file: Path, vocab_size: int) -> int:
    return train_onward(onward, file, vocab_size, threads=2)


def train_tokenizers(tokenizers: Any, file: Path, vocab_size: int) -> int:
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = byte_level(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END], initial_alphabet=byte_level.alphabet(), show_progress=False
    )
    tokenizer.train([str(file)], trainer)
    return tokenizer.get_vocab_size()


def train_gigabpe(gigabpe: Any, file: Path, vocab_size: int) -> int:
    vocabulary, _ = gigabpe.train_bpe(
        [str(file)], vocab_size, special_tokens=[END], pretokenizer="bytelevel", threads=1
    )
    return len(vocabulary)


def train_ffbpe(ffbpe: Any, file: Path, vocab_size: int) -> int:
    with file.open(encoding="utf-8", newline="") as lines:
        return len(ffbpe.train_bpe(lines, vocab_size=vocab_size, special_tokens=[END]).vocab)


def train_rustbpe(rustbpe: Any, file: Path, vocab_size: int) -> int:
    tokenizer = rustbpe.Tokenizer()
    with file.open(encoding="utf-8", newline="") as lines:
        tokenizer.train_from_iterator(lines, vocab_size, pattern=TIKTOKEN_PATTERNS["gpt2"])
    return tokenizer.vocab_size


def train_bpeasy(bpeasy: Any, file: Path, vocab_size: int) -> int:
    with file.open(encoding="utf-8", newline="") as lines:
        return len(
            bpeasy.train_bpe(lines, TIKTOKEN_PATTERNS["gpt2"], max_token_length=1_000_000, vocab_size=vocab_size)
        )


TRAINERS: dict[str, tuple[str, Callable[[Any, Path, int], int]]] = {
    "onward": ("onward.tokenizer", train_onward),
    "onward, 2 threads": ("onward.tokenizer", train_onward_threads),
    "tokenizers": ("tokenizers", train_tokenizers),
    "gigabpe": ("gigabpe", train_gigabpe),
    "ffbpe": ("ffbpe", train_ffbpe),
    "rustbpe": ("rustbpe", train_rustbpe),
    "bpeasy": ("bpeasy", train_bpeasy),
}


class Training(NamedTuple):
    """What one training took."""

    cpu: float
    """Seconds, of all threads."""
    wall: float
    """Seconds."""
    memory: float
    """MB at the peak, the interpreter's among them."""
    vocab_size: int


def train(name: str, file: Path, vocab_size: int) -> Training:
    """Train in this process, which should be a new one."""
    module, trainer = TRAINERS[name]
    module = importlib.import_module(module)
    wall, cpu = time.perf_counter(), time.process_time()
    size = trainer(module, file, vocab_size)
    return Training(time.process_time() - cpu, time.perf_counter() - wall, peak_memory(), size)


def peak_memory() -> float:
    """MB. On Linux ru_maxrss of a new process begins with that of the one that started it; VmHWM does not."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.open() if line.startswith("VmHWM")) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
