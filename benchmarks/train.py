"""What a training step takes: onward beside nanoGPT, transformers and litgpt, all in the same run.

    python benchmarks/train.py [--sizes 124M 10M] [--only NAME …] [--steps 3] [--threads 2]

GPT-2 at 124 M parameters, 1 x 1024 tokens a step, and nanoGPT's shape for Shakespeare's characters at 10.7 M, 16 x 256.
Each contestant is a process of its own, so that the peak of memory is its own; its first step, which compiles, does
not count; of the others, the median does. The machine's peak is the best product of matrices, measured before every
contestant and after it. The share of it counts what the model's products need (6 operations for each weight of a
matrix and token, and 12 for each number of a query and key), whatever was computed.

Threads that wait for work spin, as torch has it, and the command `onward` where nothing else runs. litgpt takes part
where it is installed (benchmarks/requirements.txt).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from typing import Any

import torch
from peers.trainers import CONTESTANTS, SIZES, has_bfloat16
from peers.training import peak_memory

from onward.training.speed import flops_a_token, peak_flops

AS_SHIPPED = "nanoGPT as shipped"


def main() -> None:
    """Measure all that were asked for, then print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--only", nargs="+", default=list(CONTESTANTS), choices=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    dtype = "bfloat16" if has_bfloat16() else "float32"
    print(f"{asked.threads} threads, torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})")
    if dtype == "float32":
        print("nanoGPT's best tuning and onward are in float32 too: the processor has no instructions for bfloat16")
    names = [name for name in asked.only if name != "litgpt" or find_spec("litgpt")]
    if len(names) < len(asked.only):
        print("litgpt is absent: it is not installed")
    results: dict[str, dict[str, dict[str, Any]]] = {size: {} for size in asked.sizes}
    for size in asked.sizes:
        for name in names:
            command = [sys.executable, __file__, "one", size, name, dtype, str(asked.steps), str(asked.threads)]
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            results[size][name] = json.loads(output.splitlines()[-1])
            print(f"  {size:>5}  {name:<26}{results[size][name]['seconds']:8.2f} s a step", flush=True)
    peak = max(result["peak_flops"] for by_name in results.values() for result in by_name.values())
    print(f"\nproducts of matrices: {peak / 1e9:.0f} GFLOP/s in {dtype}")
    for size, by_name in results.items():
        print_table(size, by_name, peak)


def one(size_name: str, name: str, dtype: str, n_steps: int, threads: int) -> None:
    """Measure one contestant in this process, and print the result."""
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    peak = peak_flops("cpu", dtype)
    step = CONTESTANTS[name](SIZES[size_name])
    seconds = []
    for _ in range(1 + n_steps):
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    memory = peak_memory()
    result = {
        "first": seconds[0],
        "seconds": statistics.median(seconds[1:]),
        "megabytes": memory,
        "peak_flops": max(peak, peak_flops("cpu", dtype)),
    }
    print(json.dumps(result))


def print_table(size_name: str, by_name: dict[str, dict[str, Any]], peak: float) -> None:
    size = SIZES[size_name]
    flops = flops_a_token(size.model) * size.tokens
    print(f"\n{size_name:<26}{'tokens/s':>10}{'to as shipped':>15}{'of the peak':>13}{'memory':>11}{'first step':>12}")
    for name, result in by_name.items():
        rate = size.tokens / result["seconds"]
        times = f"{by_name[AS_SHIPPED]['seconds'] / result['seconds']:.2f} x" if AS_SHIPPED in by_name else "-"
        share = flops / result["seconds"] / peak
        memory = f"{result['megabytes'] / 1.048576:,.0f} MiB"
        print(f"  {name:<24}{rate:>10,.0f}{times:>15}{share:>13.0%}{memory:>11}{result['first']:>10.1f} s")
    print_worth(size.tokens, by_name)


def print_worth(tokens: int, by_name: dict[str, dict[str, Any]]) -> None:
    """When compiling pays, and what Muon adds."""
    eager = by_name.get("onward, AdamW")
    if eager is None:
        return
    if compiled := by_name.get("onward, AdamW, compiled"):
        saved, cost = eager["seconds"] - compiled["seconds"], compiled["first"] - eager["first"]
        after = f"{cost / saved:,.0f} steps" if saved > 0 else "no number of steps"
        print(f"  compiling takes {cost:.0f} s and saves {1000 * saved:.0f} ms a step: it pays after {after}")
    if muon := by_name.get("onward, Muon"):
        added = muon["seconds"] - eager["seconds"]
        many = 10 * added / eager["seconds"] * tokens
        print(
            f"  Muon adds {1000 * added:.0f} ms a step, {added / eager['seconds']:.0%} at {tokens:,} tokens a step, "
            f"and would add a tenth to steps of {max(many, 0):,.0f} tokens"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        one(*sys.argv[2:5], *map(int, sys.argv[5:]))  # type: ignore[misc]
    else:
        main()
