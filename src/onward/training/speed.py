"""How many floating-point operations training takes and the machine can do; torch.compile, made exact."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from onward.errors import ConfigError
from onward.model.config import ModelConfig
from onward.model.decoder import count_parameters

_SIZE = 1024
_SECONDS = 0.1


def flops_a_token(model: ModelConfig) -> int:
    """Floating-point operations of the matrix products of one token's way forward and back.

    Six for each number of a matrix: a product and a sum on the way forward, twice that on the way back. Scores, and
    what is gathered by them, take 12 for each layer, position and number of a query. To look up a vector takes none.

    Source: Chowdhery et al., PaLM, 2022, appendix B.

    >>> from onward.model.config import preset
    >>> round(flops_a_token(preset("gpt2")) / 1e6)
    855
    """
    looked_up = 0 if model.tied_embeddings else model.vocab_size * model.d_model
    if model.positions == "learned":
        looked_up += model.context_length * model.d_model
    scores = 6 * model.n_layers * model.n_heads * (model.d_head + model.d_value) * model.context_length
    return 6 * (count_parameters(model) - looked_up) + scores


def peak_flops(device: str, dtype: str) -> float:
    """Floating-point operations a second in a product of large matrices: the best of a tenth of a second."""
    one, other = (torch.randn(_SIZE, _SIZE, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    (one @ other).sum().item()
    best, began = float("inf"), time.perf_counter()
    while time.perf_counter() - began < _SECONDS:
        before = time.perf_counter()
        (one @ other)[0, 0].item()  # waits until it is done
        best = min(best, time.perf_counter() - before)
    return 2 * _SIZE**3 / best


def has_compiler(device: str) -> bool:
    """Whether torch.compile finds here what it needs to make machine code: on a CPU, a C++ compiler."""
    if device != "cpu":
        return device.startswith("cuda")
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        return bool(get_cpp_compiler())
    except InvalidCxxCompiler:
        return False


def compiled(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    """What torch.compile makes of `function`, for steps that come out the same whenever they are taken.

    Without deterministic algorithms, threads add up the gradients of an embedding in the order in which they come; with
    random numbers of its own, dropout would not follow from the seed of a step.

    Raises:
        ConfigError: there is no compiler.
    """
    if not has_compiler(device):
        raise ConfigError(
            "training.compile = true needs a C++ compiler, and there is none here: install one (apt install g++); "
            "a new run can do without, with --set training.compile=false"
        )
    import torch._inductor.config as inductor

    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # would take time
    inductor.fallback_random = True
    return torch.compile(function, dynamic=False)
