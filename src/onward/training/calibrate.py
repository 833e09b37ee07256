"""What is measured before a run begins: the faster type, and how many steps fit into the time."""

from __future__ import annotations

import dataclasses
import time
from typing import Literal

import torch

from onward.errors import ConfigError
from onward.run import Run
from onward.training.config import RunConfig
from onward.training.trainer import Trainer

# Other work on the machine slows single steps down many times over, so that a few steps say nothing.
_FEWEST_STEPS, _MOST_STEPS = 10, 60
_SECONDS, _MOST_SECONDS = 1.5, 15.0
_SAMPLE_TOKENS = 8192
# The machine may get a little slower during the run, and it ends with a checkpoint and a picture.
_USABLE_SHARE = 0.94

# Numbers of bfloat16 in a row of a tile register.
_WHOLE_TILE = 32

Dtype = Literal["float32", "bfloat16"]


def faster_dtype(run: Run, config: RunConfig) -> Dtype:
    """bfloat16 where the processor has instructions for it and a step is measured to be faster with them.

    On a CPU, only for shapes whose products are summed over a multiple of 32 numbers: for others, the kernels of oneDNN
    up to 3.14 (https://github.com/uxlfoundation/oneDNN/issues/5717) multiply what lies beyond a row by zero, which is
    NaN if that is no finite number.
    """
    if not _has_bfloat16(config.training.device):
        return "float32"
    if config.training.device == "cpu" and any(size % _WHOLE_TILE for size in _inner_sizes(config)):
        return "float32"
    dtypes: tuple[Dtype, ...] = ("float32", "bfloat16")
    return min(
        dtypes,
        key=lambda dtype: seconds_a_step(
            Trainer(run, dataclasses.replace(config, training=dataclasses.replace(config.training, dtype=dtype)))
        ),
    )


def fit_into(run: Run, config: RunConfig, evaluate_every: int, deadline: float) -> tuple[int, int]:
    """How many steps can be taken until a deadline, and on how many tokens the evaluations may be made.

    Args:
        run: a folder with tokenizer and token files.
        config: the run's settings but for its steps.
        evaluate_every: steps between evaluations; 0: ten evaluations in all.
        deadline: in seconds, on the performance counter.

    Returns:
        Steps, and tokens of an evaluation: those of the config, or fewer, so that ten take a tenth of the time.

    Raises:
        ConfigError: not one step fits.
    """
    trainer = Trainer(run, config)
    step_seconds = seconds_a_step(trainer)
    began = time.perf_counter()
    evaluated = trainer.evaluate(_SAMPLE_TOKENS)
    token_seconds = (time.perf_counter() - began) / evaluated.n_tokens
    left = (deadline - time.perf_counter()) * _USABLE_SHARE
    evaluation_tokens = max(int(min(left / 100 / token_seconds, config.training.evaluation_tokens)), 1)
    evaluation_seconds = min(evaluation_tokens, len(trainer.validation_text.tokens)) * token_seconds
    if evaluate_every:
        steps = int(left / (step_seconds + evaluation_seconds / evaluate_every))
    else:
        steps = int((left - 10 * evaluation_seconds) / step_seconds)
    if steps < 1:
        raise ConfigError(
            f"the time is too short: {max(left, 0):.1f} s are left after preparing, and a step takes "
            f"{step_seconds:.2f} s; give more --minutes, a smaller --size, or --steps"
        )
    return steps, evaluation_tokens


def seconds_a_step(trainer: Trainer) -> float:
    """The time that a step takes when little else runs: the lower quartile, of a trainer that is thrown away."""
    trainer.step()
    seconds: list[float] = []
    while len(seconds) < _MOST_STEPS and sum(seconds) < (_SECONDS if len(seconds) >= _FEWEST_STEPS else _MOST_SECONDS):
        began = time.perf_counter()
        trainer.step()
        seconds.append(time.perf_counter() - began)
    return sorted(seconds)[len(seconds) // 4]


def _inner_sizes(config: RunConfig) -> tuple[int, ...]:
    """Over how many numbers the matrix products of a training step sum; the positions of a batch come in windows."""
    model = config.model
    heads = (model.n_heads * model.d_head, model.n_kv_heads * model.d_head, model.n_kv_heads * model.d_value)
    return (*heads, model.d_model, model.d_mlp, model.d_head, model.d_value, config.window_length, model.vocab_size)


def _has_bfloat16(device: str) -> bool:
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    return device == "cpu" and torch.cpu._is_avx512_bf16_supported()
