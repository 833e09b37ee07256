"""torch.compile follows a whole forward pass, with hooks and without, and comes to the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from onward.model.decoder import Decoder
from onward.model.hook import Hooks
from tests.model.test_decoder import FORMS, TOKENS, decoder

pytestmark = pytest.mark.compiled


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> Decoder:
    return decoder(**FORMS[request.param])


def test_no_graph_break(form: Decoder) -> None:
    """Followed whole (fullgraph=True refuses a break), without hooks, recording, and editing by name."""
    compiled = torch.compile(form, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(TOKENS), form(TOKENS))

    def edit(activation: Tensor, name: str) -> Tensor:
        return (2 if name == "blocks.1.mlp.out" else 3) * activation

    hooks, twin = (Hooks(record=["blocks.*.attn.pattern", "embed"], edit={"blocks.*.mlp.out": edit}) for _ in range(2))
    torch.testing.assert_close(compiled(TOKENS, hooks=hooks), form(TOKENS, hooks=twin))
    assert list(hooks.cache) == ["embed", "blocks.0.attn.pattern", "blocks.1.attn.pattern"]
    for name, activation in hooks.cache.items():
        torch.testing.assert_close(activation, twin.cache[name])


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own use
def test_compiled_to_machine_code() -> None:
    model = decoder()
    compiled = torch.compile(model, fullgraph=True)
    torch.testing.assert_close(compiled(TOKENS), model(TOKENS), atol=1e-5, rtol=1e-4)
