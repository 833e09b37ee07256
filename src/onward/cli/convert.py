"""`onward convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter


def convert(
    source: Path,
    target: Path,
    /,
    *,
    to: Literal["huggingface", "onward"] | None = None,
    tokenizer: Annotated[bool, Parameter(negative="--no-tokenizer")] = True,
) -> None:
    """Convert a model: one of onward for transformers, one of Hugging Face or GGUF for onward.

    ```
    onward convert runs/demo demo-hf                    # for transformers, as gpt2, llama, qwen3 or nanochat
    onward convert SmolLM2.gguf smollm2                 # for onward
    onward convert SmolLM2.gguf smollm2-hf --to huggingface
    ```

    The model stays exactly what it is, or is refused with what stands in the way. Numbers are written as 32-bit floats.

    Args:
        source: A run folder, a checkpoint in it, any model folder, a folder of Hugging Face, or a GGUF file.
        target: The folder to write; it must not exist.
        to: What to write: huggingface or onward; if not given, what the source is not (onward for a GGUF file).
        tokenizer: Take the tokenizer along, or convert the model alone.
    """
    from onward.library import convert as convert_model

    if convert_model(source, target, to=to, tokenizer=tokenizer) == "huggingface":
        print(f'{target}: AutoModelForCausalLM.from_pretrained("{target}") of transformers loads it')
    else:
        print(f'{target}: next: onward generate {target} --prompt "..."')
