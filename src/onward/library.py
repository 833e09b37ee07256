"""Any model by its path: runs, checkpoints and model folders of ours, Hugging Face's folders, GGUF files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from onward.atomic import atomic_folder
from onward.device import resolve_device, resolve_dtype
from onward.errors import CheckpointError
from onward.model.config import PRESETS, form_name, preset
from onward.model.decoder import Decoder, count_parameters
from onward.model.folder import write_model_folder
from onward.model.huggingface import write_huggingface_folder
from onward.model.linear import to_int8
from onward.model.read import form_of, read_decoder
from onward.run import Run, model_folder

ARCHITECTURES = {"decoder": Decoder}
"""The class of each architecture that a config.json may name."""

Form = Literal["onward", "huggingface"]


def load(path: str | Path, *, device: str = "auto", dtype: str = "auto", tokenizer: bool = True) -> Decoder:
    """Load the model of a run (its newest checkpoint), of a model folder, or of a GGUF file, ready to run.

    Args:
        path: a run folder, a checkpoint in it, or any folder with config.json and model.safetensors, of ours or of
            Hugging Face's (gpt2, llama, qwen3, nanochat); or a GGUF file (gpt2, llama).
        device: where the weights go: cpu, cuda or mps; auto: the fastest that there is.
        dtype: what the weights are kept in: float32, bfloat16, or int8, the fastest (docs/speed.md says what each
            costs); auto: float32, which holds them exactly, however they were saved.
        tokenizer: whether to set its tokenizer, too.

    Raises:
        CheckpointError: there is no model in `path`, or it is broken, or of a kind that a Decoder cannot be.
        TokenizerError: its tokenizer is broken, or of another kind than byte-level BPE.
        ConfigError: there is no such device or dtype.

    >>> model = load("runs/book")  # doctest: +SKIP
    """
    device, dtype = resolve_device(device), resolve_dtype(dtype)
    model = _read(Path(path), device, tokenizer)
    if dtype == "int8":
        to_int8(model)
    elif dtype == "bfloat16":
        model.bfloat16()
    return model


def _read(path: Path, device: str, tokenizer: bool) -> Decoder:
    """The model at `path`, in float32."""
    folder = model_folder(path)
    try:
        return read_decoder(folder, ARCHITECTURES, device, tokenizer=tokenizer)
    except CheckpointError as error:
        before = Run(path).checkpoint_folders()[-2:-1] if folder != path else []
        raise CheckpointError(f"{error}{f'; the one before it is {before[0]}' if before else ''}") from None


def convert(source: str | Path, target: str | Path, *, to: Form | None = None, tokenizer: bool = True) -> Form:
    """Write the model at `source`, whatever its form, as a model folder of ours or of Hugging Face's.

    Args:
        source: whatever `load` takes.
        target: the folder to write, which must not exist.
        to: the form of the folder; None: Hugging Face's for a model of ours, ours for any other.
        tokenizer: whether to take the tokenizer along.

    Returns:
        The form that was written.

    Raises:
        CheckpointError: as `load`; or the target exists.
        ConfigError: no architecture of Hugging Face's is this model; with what stands in the way.

    >>> convert("runs/book", "book-for-transformers")  # doctest: +SKIP
    'huggingface'
    """
    source, target = Path(source), Path(target)
    if target.exists():
        raise CheckpointError(f"{target} exists already; give a folder that does not")
    to = to or ("huggingface" if form_of(source) == "onward" else "onward")
    model = load(source, device="cpu", tokenizer=tokenizer)
    with atomic_folder(target) as folder:
        write_huggingface_folder(folder, model) if to == "huggingface" else write_model_folder(folder, model)
    return to


def size_table() -> str:
    """Every size by name: its form, parameters, layers, width, heads, context and vocabulary, a line each.

    >>> print(size_table().splitlines()[1])
    tiny            onward        106,496 + 128 a token       2     64      1         1       64     by text
    """
    lines = ["size            form                     parameters  layers  width  heads  kv heads  context  vocabulary"]
    for name, fields in PRESETS.items():
        config, grown = (preset(name, **{"vocab_size": n_tokens, **fields}) for n_tokens in (1, 2))
        n_parameters, vocabulary = f"{count_parameters(config):,}", f"{config.vocab_size:,}"
        if "vocab_size" not in fields:
            a_token = count_parameters(grown) - count_parameters(config)
            n_parameters, vocabulary = f"{count_parameters(config) - a_token:,} + {a_token} a token", "by text"
        lines.append(
            f"{name:<15} {form_name(config):<8} {n_parameters:>26} {config.n_layers:>7} {config.d_model:>6} "
            f"{config.n_heads:>6} {config.n_kv_heads:>9} {config.context_length:>8} {vocabulary:>11}"
        )
    return "\n".join(lines)
