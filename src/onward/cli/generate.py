"""`onward generate`."""

from __future__ import annotations

from pathlib import Path


def generate(
    model: Path,
    /,
    *,
    prompt: str = "",
    max_tokens: int = 256,
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    dtype: str = "auto",
) -> None:
    """Write on from a prompt, streamed as it comes.

    ```
    onward generate runs/demo --prompt "ROMEO:"
    onward generate runs/demo --temperature 0 --dtype int8
    onward generate runs/demo --prompt "First Citizen:" --top-p 0.9 --seed 1
    ```

    Args:
        model: A run folder, a checkpoint in it, or any model folder.
        prompt: What the text begins with; empty: the model begins a document of its own.
        max_tokens: Stop after so many tokens, unless the document ends before.
        temperature: 0 always takes the likeliest token; 1 draws as the model says.
        top_k: Draw from the k likeliest tokens only.
        top_p: Draw from the fewest likeliest tokens whose probabilities reach p together.
        seed: The same seed gives the same text.
        dtype: What the weights are kept in: float32, bfloat16, or int8, the fastest; auto: float32.
    """
    import onward

    pieces = onward.stream(
        onward.load(model, dtype=dtype),
        prompt,
        max_tokens=max_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        seed=seed,
    )
    print(prompt, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
