"""`make demo` from nothing: how long it takes, how much of that trains, and how good the model gets.

The last commit is cloned into a temporary folder, so nothing that is built or installed here helps it. The figure of
2.72 bits per byte to compare with is that of nanoGPT's CPU recipe (4 layers, width 128, context 64, batch 12,
characters, 2000 steps). Run: python3 benchmarks/demo.py
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "onward"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        began = time.perf_counter()
        subprocess.run(["make", "demo"], cwd=clone, check=True)
        total = time.perf_counter() - began
        last = json.loads((clone / "runs/demo/metrics.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    print(f"\nmake demo          {total:6.1f} s in all, {last['seconds']:.1f} s of it in training")
    print(f"steps, tokens      {last['step']:,}, {last['tokens']:,}")
    print(f"bits per byte      {last['validation_bits_per_byte']:.3f} (nanoGPT's CPU recipe: 2.72)")


if __name__ == "__main__":
    main()
