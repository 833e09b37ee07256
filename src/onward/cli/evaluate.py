"""`onward evaluate`."""

from __future__ import annotations

from pathlib import Path


def evaluate(model: Path, text: Path, /, *more: Path) -> None:
    """Say how well a model predicts a text: loss, bits per byte, perplexity.

    Every byte is scored once, in windows of the model's context that do not overlap. Bits per byte compare across
    models with different tokenizers.

    ```
    onward evaluate runs/demo other.txt
    ```

    Args:
        model: A run folder, a checkpoint in it, or any model folder.
        text: A UTF-8 file, or a folder of .txt and .txt.gz files.
        more: More of them.
    """
    import onward
    from onward.training.evaluate import evaluate_texts

    result = evaluate_texts(onward.load(model), [text, *more])
    print(f"tokens         {result.n_tokens:,}")
    print(f"bytes          {result.n_bytes:,}")
    print(f"loss           {result.loss:.4f} nats per token")
    print(f"bits per byte  {result.bits_per_byte:.4f}")
    print(f"perplexity     {result.perplexity:.2f}")
    if result.n_unknown:
        share = 100 * result.n_unknown / result.n_tokens
        print(f"unknown        {result.n_unknown:,} tokens ({share:.2f} %), which count as spelled out, 8 bits a byte")
