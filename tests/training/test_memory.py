from __future__ import annotations

import pytest
import torch

from onward.errors import ConfigError
from onward.model.config import preset
from onward.training.config import TrainingConfig
from onward.training.memory import check_fits, lack_explained, step_bytes

MODEL = preset("small", vocab_size=512)


def training(batch_size: int, micro_batch_size: int = 0) -> TrainingConfig:
    return TrainingConfig(steps=1, batch_size=batch_size, micro_batch_size=micro_batch_size)


def test_a_batch_that_does_not_fit_says_what_it_wants_and_what_to_lower() -> None:
    check_fits(MODEL, training(32), free_bytes=1 << 30)
    with pytest.raises(ConfigError, match=r"wants about 3\.\d GiB .*1\.0 GiB are free.*micro_batch_size=256"):
        check_fits(MODEL, training(512), free_bytes=1 << 30)
    with pytest.raises(ConfigError, match="smaller --size, or a shorter context"):
        check_fits(MODEL, training(512, 1), free_bytes=1 << 20)
    with pytest.raises(ConfigError, match="micro_batch_size=5,"):
        check_fits(MODEL, training(15), free_bytes=1 << 20)


def test_what_the_system_has_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="are free; lower the windows at once"):
        check_fits(MODEL, training(1 << 30))


def test_less_at_once_wants_less() -> None:
    assert step_bytes(MODEL, training(64, 16)) < step_bytes(MODEL, training(64)) / 2


def test_an_allocation_that_fails_is_explained_and_no_other_error_is() -> None:
    with (
        pytest.raises(ConfigError, match=r"too little memory: a step wants about 0\.\d GiB; lower"),
        lack_explained(MODEL, training(32)),
    ):
        torch.empty(1 << 50)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), lack_explained(MODEL, training(32)):
        torch.ones(2, 3) @ torch.ones(2, 3)
