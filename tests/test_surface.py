"""The public names are exact, imports are light, rooms use only the rooms before them, and nothing grows too large."""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

import onward

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "onward"
PYTHON_FILES = sorted(SOURCE.rglob("*.py"))

# A room uses the rooms before it, never one after it. Rooms of one line may use each other in the order given.
ROOMS = [
    ["atomic", "errors", "config", "device", "plots", "threads"],
    ["_core", "_kernels"],
    ["tokenizer"],
    ["data"],
    ["model"],
    ["generation"],
    ["run"],
    ["training"],
    ["inspection"],
    ["library"],
    ["cli"],
]
RANK = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_public_names_are_exact_and_all_there() -> None:
    assert onward.__all__ == [
        "OnwardError",
        "Tokenizer",
        "ModelConfig",
        "Decoder",
        "Hooks",
        "Sampling",
        "generate",
        "stream",
        "generate_batch",
        "Run",
        "train",
        "load",
    ]
    for name in onward.__all__:
        assert getattr(onward, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'gnerate'"):
        _ = onward.gnerate


def test_import_loads_neither_torch_nor_jaxtyping() -> None:
    heavy = "{'torch', 'jaxtyping', 'numpy', 'matplotlib', 'safetensors'}"
    for module in ("onward", "onward.cli.app", "onward.cli.train"):
        loaded = run_python(f"import sys, {module}; print(sorted({heavy} & sys.modules.keys()))")
        assert loaded == "[]", module


def test_tokenizer_loads_no_torch() -> None:
    assert run_python("import sys, onward; onward.Tokenizer; print('torch' in sys.modules)") == "False"


def test_help_is_quick() -> None:
    def seconds(command: list[str]) -> float:
        began = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        return time.perf_counter() - began

    help_seconds, python_seconds = [], []
    for _ in range(5):
        help_seconds.append(seconds([sys.executable, "-m", "onward.cli.app", "--help"]))
        python_seconds.append(seconds([sys.executable, "-c", "import json, dataclasses"]))
    # Half a second on a quiet machine; a busy one is allowed what it costs Python itself to start there.
    assert min(help_seconds) < 0.5 + 10 * min(python_seconds), statistics.median(help_seconds)


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_room_imports_only_rooms_before_it(path: Path) -> None:
    room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    if room == "__init__":
        return
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the room"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if match := re.match(r"onward\.(\w+)", name):
                assert RANK[match[1]] <= RANK[room], f"{room} imports {name}"


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_pickle_and_no_eval(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not {"pickle", "dill", "cloudpickle", "jinja2", "marshal"} & set(names)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "torch.load", "torch.save", "np.load"}, called


def test_size_budget() -> None:
    sources = [*PYTHON_FILES, *(ROOT / "csrc").glob("*.?pp")]
    lengths = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources}
    assert {name: length for name, length in lengths.items() if length > 500} == {}
    functions = {
        f"{path}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for path in PYTHON_FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert {name: length for name, length in functions.items() if length > 80} == {}
    short = sum(length < 40 for length in functions.values())
    assert short >= 0.9 * len(functions), f"{short} of {len(functions)} functions are under 40 lines"
