"""A compiled run is as exact as any other, and comes to nearly what an eager one does."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from onward.errors import ConfigError
from onward.run import Metrics
from onward.training import speed
from onward.training.config import RunConfig
from tests.training.conftest import PrepareRun, assert_same_weights, train


@pytest.fixture
def compiler() -> Iterator[None]:
    """torch.compile, and then its settings as they were."""
    import torch._inductor.config as inductor

    torch.compiler.reset()
    was = inductor.fallback_random
    yield
    inductor.fallback_random = was
    torch.use_deterministic_algorithms(False)
    torch.compiler.reset()


@pytest.mark.compiled
@pytest.mark.usefixtures("compiler")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch compiles itself with what it deprecates
def test_stopped_and_resumed_is_as_never_stopped(prepare_run: PrepareRun) -> None:
    settings = ["training.compile=true", "training.checkpoint_every=2", "model.dropout=0.2", "model.n_layers=1"]
    settings.append("training.micro_batch_size=2")
    whole, stopped = (prepare_run(name, *settings, steps=4) for name in ("whole", "stopped"))

    def kill(metrics: Metrics) -> None:
        if metrics.step == 3:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        train(*stopped, after=kill)
    assert RunConfig.load(stopped[0].config_file).training.compile
    assert_same_weights(train(*whole), train(*stopped))
    eager = prepare_run("eager", *settings[1:], steps=4)
    train(*eager)
    for compiled, plain in zip(whole[0].metrics(), eager[0].metrics(), strict=True):
        assert compiled.loss == pytest.approx(plain.loss, abs=1e-3)


def test_without_a_compiler(prepare_run: PrepareRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run, config = prepare_run("run", "training.compile=true")
    monkeypatch.setattr(speed, "has_compiler", lambda device: False)
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler, and there is none here: install one"):
        train(run, config)
