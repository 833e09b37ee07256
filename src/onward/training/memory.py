"""Memory: kept for the next step where it was freed, and refused in one line where there is too little."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from onward.errors import ConfigError
from onward.model.attention import LONGEST_EXPLICIT
from onward.model.config import ModelConfig
from onward.model.decoder import count_parameters
from onward.training.config import TrainingConfig
from onward.training.loss import LOGITS_AT_ONCE

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Between the tensors of a step the C library leaves room that no other fits into: up to half as much again.
_HOLES = 1.5
_CGROUP = Path("/sys/fs/cgroup")


def keep_freed_memory() -> None:
    """Let the C library keep what the tensors of a step free, for those of the next.

    It would hand every large one back to the system, which clears its pages anew for the next: for an elementwise
    operation that costs three times what the operation does.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):  # glibc; musl has none
            library.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            library.mallopt(_M_TRIM_THRESHOLD, -1)


def kept_a_token(model: ModelConfig, explicit_length: int = 0) -> int:
    """How many numbers a block keeps of each token for the way back: what its products, norms and activation read.

    Where attention is explicit, its patterns have a number for each pair of positions of such a length.

    >>> from onward.model.config import preset
    >>> kept_a_token(preset("small", vocab_size=512, activation="gelu")) / 128
    12.0
    """
    heads = 2 * (model.n_heads + model.n_kv_heads) * model.d_head + (model.n_heads + model.n_kv_heads) * model.d_value
    feedforward = (2 if model.activation == "swiglu" else 1) * model.d_mlp
    norms = (2 if model.norm == "rms" else 4) * model.d_model
    return norms + heads + feedforward + 2 * model.n_heads * explicit_length


def step_bytes(model: ModelConfig, training: TrainingConfig) -> int:
    """About how much memory a step takes at its peak: the weights and what updates them, and one micro-batch.

    Measured peaks lie within a quarter of this.

    >>> from onward.model.config import preset
    >>> config = preset("small", vocab_size=512)
    >>> [step_bytes(config, TrainingConfig(steps=1, batch_size=size)) >> 20 for size in (32, 128)]
    [257, 986]
    """
    length = training.window_length or model.context_length
    tokens = training.micro_batch_size * length
    is_kernels = training.dtype == "float32" and not training.compile
    is_explicit = training.device == "cpu" and length <= LONGEST_EXPLICIT and not is_kernels
    kept = tokens * model.n_layers * kept_a_token(model, length if is_explicit else 0)
    passing = tokens * (4 * model.d_model + 4 * model.d_mlp)
    logits = 3 * min(tokens * model.vocab_size, LOGITS_AT_ONCE)
    holes = _HOLES if training.device == "cpu" else 1.0
    return int(4 * (4 * count_parameters(model) + holes * (kept + passing + logits)))


def check_fits(model: ModelConfig, training: TrainingConfig, free_bytes: int | None = None) -> None:
    """Refuse a step that takes more memory than there is, before it is tried.

    Args:
        model: the shape of the model.
        training: how it is trained.
        free_bytes: how much memory there is; None: what the system says.

    Raises:
        ConfigError: with what the step wants, and what to lower.
    """
    free = _free_bytes(training.device) if free_bytes is None else free_bytes
    wanted = step_bytes(model, training)
    if free is not None and wanted > free:
        raise ConfigError(
            f"a step wants about {wanted / 2**30:.1f} GiB of memory, and {free / 2**30:.1f} GiB are free; "
            + _advice(training)
        )


@contextlib.contextmanager
def lack_explained(model: ModelConfig, training: TrainingConfig) -> Iterator[None]:
    """Turn torch's errors about memory into one that says what was wanted, and what to lower.

    Raises:
        ConfigError: there was not enough memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        is_lack = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "allocate memory" in str(error)
        if not is_lack:
            raise
        wanted = step_bytes(model, training) / 2**30
        raise ConfigError(
            f"there is too little memory: a step wants about {wanted:.1f} GiB; {_advice(training)}"
        ) from error


def _advice(training: TrainingConfig) -> str:
    at_once = training.micro_batch_size
    if at_once == 1:
        return "take a smaller --size, or a shorter context with --set model.context_length=..."
    smaller = next(size for size in range(at_once // 2, 0, -1) if training.batch_size % size == 0)
    return (
        f"lower the windows at once, which changes nothing else, from {at_once} "
        f"with --set training.micro_batch_size={smaller}, or take a smaller --size"
    )


def _free_bytes(device: str) -> int | None:
    """How much memory can still be had; None: nobody says."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = 1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    with contextlib.suppress(OSError, ValueError):  # a container's own limit, where there is one
        used, limit = (int((_CGROUP / f"memory.{name}").read_text(encoding="ascii")) for name in ("current", "max"))
        free = min(free, limit - used)
    return free
