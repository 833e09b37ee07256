"""What weights of 8 bits cost: loss, bits per byte, and how often the first choice is another, on a text.

Run: .venv/bin/python benchmarks/int8.py MODEL TEXT [TOKENS]

MODEL is whatever `onward generate` takes, TEXT a file; its first TOKENS tokens (2,048) are read.
"""

from __future__ import annotations

import gzip
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import onward
from onward.model.decoder import Decoder

WINDOW = 512
PROMPT = "The capital of Italy is"


def read_text(path: Path) -> str:
    """A UTF-8 file, plain or .gz."""
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


@torch.inference_mode()
def read(model: Decoder, tokens: list[int]) -> tuple[Tensor, Tensor]:
    """The nats of each token but the first of a window, and the likeliest token at its place."""
    nats, choices = [], []
    for begin in range(0, len(tokens) - 1, WINDOW):
        window = torch.tensor([tokens[begin : begin + WINDOW + 1]])
        logits = model(window[:, :-1])[0]
        nats.append(F.cross_entropy(logits, window[0, 1:], reduction="none"))
        choices.append(logits.argmax(-1))
    return torch.cat(nats), torch.cat(choices)


def main() -> None:
    """Print the table."""
    if len(sys.argv) < 3:
        print(__doc__)
        return
    path, text = Path(sys.argv[1]), read_text(Path(sys.argv[2]))
    n_tokens = int(sys.argv[3]) if len(sys.argv) > 3 else 2048
    print(f"{'':<10}{'nats a token':>14}{'bits per byte':>15}{'same first choice':>19}{'weights':>10}   it writes")
    exact = None
    for dtype in ("float32", "int8"):
        model = onward.load(path, dtype=dtype)
        assert model.tokenizer is not None
        tokens = model.tokenizer.encode(text[: 16 * n_tokens], disallowed_special=())[:n_tokens]
        n_bytes = len(model.tokenizer.decode_bytes(tokens[1:]))
        nats, choices = read(model, tokens)
        exact = choices if exact is None else exact
        same = f"{100 * (choices == exact).float().mean():.1f} %"
        bits = nats.sum() / math.log(2) / n_bytes
        written = onward.generate(model, PROMPT, max_tokens=24, temperature=0)
        print(
            f"{dtype:<10}{nats.mean():>14.4f}{bits:>15.4f}{same:>19}{model.n_bytes / 1e6:>7.0f} MB   {written!r}",
            flush=True,
        )


if __name__ == "__main__":
    main()
