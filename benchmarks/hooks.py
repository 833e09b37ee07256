"""What HookPoints cost when nobody looks: a decode step of GPT-2's shape (124M, random weights) with them and without.

"Without" is the same code with every HookPoint call cut out of its source. The two take turns on one model, in CPU
time, so that other work on the machine touches both alike. The difference is far below what one step varies by; so
the HookPoint calls of a step are timed alone too. Run: .venv/bin/python benchmarks/hooks.py
"""

from __future__ import annotations

import ast
import inspect
import statistics
import sys
import textwrap
import time
from types import FunctionType

import torch
from torch import Tensor, nn

from onward.model.config import preset
from onward.model.decoder import Decoder
from onward.model.hook import HookPoint
from onward.model.init import initialise

ROUNDS = 60
PREFILL = 128


class CutHooks(ast.NodeTransformer):
    """Replaces `self.hook_x(activation, hooks)` by `activation`."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Cut this call, if it is one of a HookPoint."""
        self.generic_visit(node)
        is_hook = isinstance(node.func, ast.Attribute) and node.func.attr.startswith("hook_")
        return node.args[0] if is_hook else node


def without_hooks(kind: type[nn.Module]) -> type[nn.Module]:
    """The class, its methods without HookPoint calls."""
    methods = {}
    for name, method in vars(kind).items():
        if isinstance(method, FunctionType) and ".hook_" in (source := inspect.getsource(method)):
            tree = CutHooks().visit(ast.parse(textwrap.dedent(source)))
            if name != "__init__":
                code = compile(ast.fix_missing_locations(tree), f"{kind.__name__} without hooks", "exec")
                # The class's own module gives the names that the method uses; what is defined goes elsewhere.
                exec(code, vars(sys.modules[kind.__module__]), methods)
    return type(kind.__name__, (kind,), methods)


def hook_calls_alone(model: Decoder) -> float:
    """Seconds that all HookPoint calls of one decode step take, without the step."""
    points = [value for module in model.modules() for value in vars(module).values() if isinstance(value, HookPoint)]
    activation, repeats = torch.zeros(1), 2000
    began = time.process_time()
    for _ in range(repeats):
        for point in points:
            point(activation, None)
    return (time.process_time() - began) / repeats


@torch.inference_mode()
def main() -> None:
    """Print the table."""
    model = Decoder(preset("gpt2"))
    initialise(model, seed=1)
    state, prompt = model.start(1), torch.arange(PREFILL).unsqueeze(0)
    model(prompt, state, last_only=True)
    classes = {"with": {}, "without": {}}
    cut = {kind: without_hooks(kind) for kind in {type(module) for module in model.modules()}}
    for module in model.modules():
        classes["with"][module], classes["without"][module] = type(module), cut[type(module)]

    def step(kind: str) -> tuple[float, Tensor]:
        for module, of_module in classes[kind].items():
            module.__class__ = of_module
        state.lengths = [PREFILL]
        began = time.process_time()
        logits = model(prompt[:, :1], state, last_only=True)
        return time.process_time() - began, logits

    assert torch.equal(step("with")[1], step("without")[1])
    seconds: dict[str, list[float]] = {"with": [], "without": []}
    for number in range(ROUNDS):
        for kind in ("with", "without") if number % 2 else ("without", "with"):
            seconds[kind].append(step(kind)[0])
    medians = {kind: statistics.median(values) for kind, values in seconds.items()}
    ratio = statistics.median(a / b for a, b in zip(seconds["with"], seconds["without"], strict=True))
    alone = hook_calls_alone(model)
    print(f"CPU time of a decode step, {model.n_parameters / 1e6:.0f}M, float32, {torch.get_num_threads()} threads:")
    print(f"with HookPoints     {1e3 * medians['with']:8.2f} ms")
    print(f"without             {1e3 * medians['without']:8.2f} ms")
    print(f"median ratio        {ratio:8.4f}")
    print(f"HookPoint calls     {1e3 * alone:8.4f} ms, {alone / medians['without']:.3%} of a step")


if __name__ == "__main__":
    main()
