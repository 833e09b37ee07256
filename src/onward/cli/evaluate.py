"""`onward evaluate`."""

from __future__ import annotations

from pathlib import Path


def evaluate(model: Path, text: Path, /, *more: Path, stride: int | None = None) -> None:
    """Say how well a model predicts a text: loss, bits per byte, perplexity, accuracy, calibration, loss by position.

    Every byte is scored once. Bits per byte compare across models with different tokenizers.

    ```
    onward evaluate runs/demo other.txt
    onward evaluate runs/demo other.txt --stride 32
    ```

    Args:
        model: A run folder, a checkpoint in it, or any model folder.
        text: A UTF-8 file, or a folder of .txt and .txt.gz files.
        more: More of them.
        stride: Let windows overlap: each begins so many tokens after the one before, and predicts what that did not
            reach. Small strides give every token a long context, and take longer. [default: windows side by side]
    """
    import onward
    from onward.training.evaluate import describe, evaluate_texts

    print(describe(evaluate_texts(onward.load(model), [text, *more], stride=stride)))
