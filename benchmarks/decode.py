"""onward's decoder beside its peers: GPT-2 with 124 million random weights, on the CPU, all in the same run.

    python benchmarks/decode.py [--threads 2] [--rounds 3]

Three figures each, in tokens a second: reading a prompt of 512 tokens, and writing greedily after 128 tokens, one text
alone and 16 together. The contestants take turns, and the median of the rounds counts; then a table says where
onward's time goes, and what the machine could do at most. transformers comes with the [dev] extra; CTranslate2,
llama.cpp, openvino-genai and onnxruntime take part where they are installed (benchmarks/requirements.txt).

Threads that wait for work spin for some milliseconds, as all these libraries have it, and the command `onward` where
nothing else runs. OMP_WAIT_POLICY=PASSIVE lets all but those of openvino and onnxruntime sleep.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# As they wait in a process that has one such library: in one that has many, libgomp would let them sleep at once.
if os.environ.setdefault("OMP_WAIT_POLICY", "ACTIVE") == "ACTIVE":
    os.environ.setdefault("GOMP_SPINCOUNT", "300000")

import torch
import transformers
from peers.decoding import Contestant, float_types, peer_decoders, save_model
from torch import Tensor

import onward
from onward.generation.batch import Batch, Row
from onward.generation.config import Sampling
from onward.model.attention import Attention
from onward.model.decoder import Decoder
from onward.model.kv_cache import KVCache
from onward.model.linear import Int8Linear, Linear
from onward.model.norm import LayerNorm

PROMPT, LONG_PROMPT = 128, 512
WORKLOADS = {"prefill 512": (LONG_PROMPT, 1, 0), "decode 1": (PROMPT, 1, 32), "decode 16": (PROMPT, 16, 16)}
"""What is timed: tokens in the prompt, texts, tokens that each text goes on for."""


def onward_decoder(model: Decoder) -> Contestant:
    @torch.inference_mode()
    def write(prompt: list[int], n_texts: int, n_steps: int) -> Iterator[list[int]]:
        state = model.start(1)
        logits = model(torch.tensor([prompt]), state, last_only=True)
        # One prefill serves all texts: in bfloat16, without instructions for it, sixteen would take half a minute.
        state, logits = state.select([0] * n_texts), logits.expand(n_texts, -1, -1)
        for step in range(n_steps + 1):
            tokens = logits[:, -1].argmax(dim=-1, keepdim=True)
            yield tokens.flatten().tolist()
            if step < n_steps:
                logits = model(tokens, state, last_only=True)

    return write


def make_contestants(folder: Path, threads: int) -> dict[str, Contestant]:
    if float_types() == ["float32"]:
        print("bfloat16 is absent: the processor has no instructions for it")
    save_model(folder)
    contestants = {
        f"onward {dtype}": onward_decoder(onward.load(folder, device="cpu", dtype=dtype, tokenizer=False))
        for dtype in (*float_types(), "int8")
    }
    return contestants | peer_decoders(folder, threads)


def rates(contestants: dict[str, Contestant], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Tokens a second of every round, by workload and contestant."""
    prompt = random_prompt(LONG_PROMPT, seed=1)
    measured: dict[str, dict[str, list[float]]] = {name: defaultdict(list) for name in WORKLOADS}
    for write in contestants.values():  # nobody's first time counts; some compile for each length of input
        list(write(prompt, 1, 1))
        list(write(prompt[:8], 16, 1))
    for round_ in range(1, rounds + 1):
        for name, write in contestants.items():
            print(f"  round {round_} of {rounds}  {name:<24}", end="", flush=True)
            for workload, (n_prompt, n_texts, n_steps) in WORKLOADS.items():
                began = time.perf_counter()
                times = [time.perf_counter() for _ in write(prompt[:n_prompt], n_texts, n_steps)]
                if n_steps == 0:
                    measured[workload][name].append(n_prompt / (times[0] - began))
                else:
                    # Where all comes at once, the second time includes a prefill of its own.
                    again = times[0] - began if len(times) == 2 else 0
                    measured[workload][name].append(n_texts * n_steps / (times[-1] - times[0] - again))
                print(f"{workload:>14}{measured[workload][name][-1]:>8.1f}", end="", flush=True)
            print()
    return measured


def random_prompt(length: int, seed: int) -> list[int]:
    return torch.randint(50_000, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def check_agreement(contestants: dict[str, Contestant]) -> None:
    """In float32, all write the same."""
    exact = {name: write for name, write in contestants.items() if name.endswith("float32")}
    for seed in range(4):
        prompt = random_prompt(20, seed)
        texts = {name: list(write(prompt, 2, 3)) for name, write in exact.items()}
        # Not all tell what lies between the first token and the last.
        assert len({str((text[0], text[-1])) for text in texts.values()}) == 1, f"float32 texts differ: {texts}"


def print_rates(measured: dict[str, dict[str, list[float]]]) -> None:
    for workload, by_name in measured.items():
        medians = {name: statistics.median(values) for name, values in by_name.items()}
        best_transformers = max(rate for name, rate in medians.items() if name.startswith("transformers"))
        print(f"\n{workload:<26}{'tokens/s':>10}{'to the best transformers':>28}")
        for name, median in medians.items():
            print(f"  {name:<24}{median:>10.1f}{median / best_transformers:>26.2f} x")


class Parts:
    """The time spent in each part of a pass, taken by standing around the methods that do the work."""

    METHODS = (
        ("linear layers", Linear, "forward"),
        ("linear layers", Int8Linear, "forward"),
        ("attention", Attention, "fused"),
        ("attention", KVCache, "extend"),
        ("norms", LayerNorm, "forward"),
        ("sampling", Row, "take"),
    )

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def __enter__(self) -> Parts:
        self._originals = [(owner, method, getattr(owner, method)) for _, owner, method in self.METHODS]
        for part, owner, method in self.METHODS:
            setattr(owner, method, self.timed(part, getattr(owner, method)))
        return self

    def __exit__(self, *_error: object) -> None:
        for owner, method, original in self._originals:
            setattr(owner, method, original)

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time counted for `part`."""

        def around(*args: Any, **keywords: Any) -> Any:
            began = time.perf_counter()
            result = function(*args, **keywords)
            self.seconds[part] += time.perf_counter() - began
            return result

        return around


def where_time_goes(model: Decoder) -> dict[str, dict[str, float]]:
    """Milliseconds a pass, by workload and part; as onward.generate_batch runs it, sampling included."""
    table: dict[str, dict[str, float]] = {}
    for workload, (n_prompt, n_texts, n_steps) in WORKLOADS.items():
        batch = Batch(model)
        settings = Sampling(max_tokens=n_steps + 2, temperature=0)
        batch.add([Row(model, list(range(n_prompt)), settings) for _ in range(n_texts)])
        if n_steps:
            batch.step()
        with Parts() as parts:
            activation = model.blocks[0].mlp.activation
            for block in model.blocks:
                block.mlp.activation = parts.timed("activation", activation)
            began = time.perf_counter()
            for _ in range(max(n_steps, 1)):
                batch.step()
            total = time.perf_counter() - began
            for block in model.blocks:
                block.mlp.activation = activation
        seconds = {**parts.seconds, "Python and the rest": total - sum(parts.seconds.values()), "all": total}
        table[workload] = {part: 1000 * value / max(n_steps, 1) for part, value in seconds.items()}
    return table


def print_parts(title: str, table: dict[str, dict[str, float]]) -> None:
    print(f"\n{title}, ms a pass{''.join(f'{workload:>16}' for workload in table)}")
    for part in ("linear layers", "attention", "norms", "activation", "sampling", "Python and the rest", "all"):
        print(f"  {part:<32}" + "".join(f"{parts.get(part, 0.0):>16.2f}" for parts in table.values()))


def best(work: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the quickest of some repeats."""

    def once() -> float:
        began = time.perf_counter()
        work()
        return time.perf_counter() - began

    return min(once() for _ in range(repeats))


def print_peaks(models: dict[str, Decoder]) -> None:
    """What the machine can do, and how soon it could have read all weights once: no decode step is quicker."""
    numbers, square = torch.ones(1 << 27), torch.randn(2048, 2048)
    bandwidth = numbers.nbytes / best(numbers.sum)
    products = 2 * 2048**3 / best(lambda: square @ square)
    print(f"\nmemory is read at {bandwidth / 1e9:.1f} GB/s; products in float32 reach {products / 1e9:.0f} GFLOP/s")
    for dtype, model in models.items():
        position_table: Tensor = model.get_submodule("position_embed").weight
        # Of an untied embedding only some rows are read; GPT-2's is tied, and read whole as the unembedding.
        n_bytes = model.n_bytes - position_table.nbytes
        print(f"  {dtype:<10}{n_bytes / 1e6:>6.0f} MB of weights, read in {1000 * n_bytes / bandwidth:.1f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable(logging.INFO)  # converters say much
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    print(f"{options.threads} threads, OMP_WAIT_POLICY={os.environ['OMP_WAIT_POLICY']}")
    print(f"torch {torch.__version__} ({torch.backends.cpu.get_cpu_capability()})")
    with tempfile.TemporaryDirectory() as name:
        contestants = make_contestants(Path(name), options.threads)
        check_agreement(contestants)
        print_rates(rates(contestants, options.rounds))
        models = {dtype: onward.load(name, device="cpu", dtype=dtype, tokenizer=False) for dtype in ("float32", "int8")}
        for dtype, model in models.items():
            where_time_goes(model)
            print_parts(f"onward {dtype}", where_time_goes(model))
        print_peaks(models)


if __name__ == "__main__":
    main()
