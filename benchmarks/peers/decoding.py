"""Greedy decoding of one GPT-2 by the libraries that onward is measured against, each as its documentation shows.

What converts the model for whom is read on the way; each peer gets float32, where it must write what onward writes, and
its weights in 8 bits, or in 4 where that is its quickest.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from peers import installed

Contestant = Callable[[list[int], int, int], Iterator[list[int]]]
"""prompt, texts, steps → the texts' next tokens: those after the prompt, then those of each step."""


def save_model(folder: Path) -> None:
    """The same random weights for everyone: saved by transformers, read by the others."""
    torch.manual_seed(1)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)
    save_word_tokenizer(folder, GPT2Config().vocab_size)


def save_word_tokenizer(folder: Path, vocab_size: int) -> None:
    """Tokens t0, t1, …: CTranslate2 converts no model without a tokenizer."""
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({f"t{token}": token for token in range(vocab_size)}, unk_token="t0"))
    last = f"t{vocab_size - 1}"
    PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="t0", bos_token=last, eos_token=last, pad_token=last
    ).save_pretrained(folder)


def peer_decoders(folder: Path, threads: int) -> dict[str, Contestant]:
    """The peers that are installed, by name and precision; says who is absent."""
    contestants: dict[str, Contestant] = {}
    for modules, maker in (
        (["transformers"], transformers_decoders),
        (["ctranslate2"], ctranslate2_decoders),
        (["xllamacpp"], llama_cpp_decoders),
        (["openvino_genai", "nncf"], openvino_decoders),
        (["onnxruntime", "onnx"], onnxruntime_decoders),
    ):
        if missing := [module for module in modules if not installed(module)]:
            print(f"{modules[0]} is absent: {', '.join(missing)} is not installed")
        else:
            contestants |= maker(folder, threads)
            print(f"{modules[0]} {importlib.metadata.version(modules[0])}", flush=True)
    return contestants


def float_types() -> list[str]:
    """The number types that the processor has instructions for; others take many times as long as float32."""
    return ["float32", "bfloat16"] if torch.ops.mkldnn._is_mkldnn_bf16_supported() else ["float32"]


def transformers_decoders(folder: Path, threads: int) -> dict[str, Contestant]:  # noqa: ARG001 (torch has the threads)
    return {
        f"transformers {dtype}": transformers_decoder(
            GPT2LMHeadModel.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").eval()
        )
        for dtype in float_types()
    }


def transformers_decoder(model: GPT2LMHeadModel) -> Contestant:
    """A bare loop, which is quicker than its `generate`, over its default cache, quicker here than its static one."""

    @torch.inference_mode()
    def write(prompt: list[int], n_texts: int, n_steps: int) -> Iterator[list[int]]:
        output = model(torch.tensor([prompt]), use_cache=True, logits_to_keep=1)
        cache, logits = output.cache, output.logits.expand(n_texts, -1, -1)
        cache.batch_repeat_interleave(n_texts)
        for step in range(n_steps + 1):
            tokens = logits[:, -1].argmax(dim=-1, keepdim=True)
            yield tokens.flatten().tolist()
            if step < n_steps:
                logits = model(tokens, cache=cache, use_cache=True, logits_to_keep=1).logits

    return write


def ctranslate2_decoders(folder: Path, threads: int) -> dict[str, Contestant]:
    return {f"ctranslate2 {kind}": ctranslate2_decoder(folder, kind, threads) for kind in ("float32", "int8")}


def ctranslate2_decoder(folder: Path, precision: str, threads: int) -> Contestant:
    import ctranslate2

    target = folder / f"ctranslate2-{precision}"
    ctranslate2.converters.TransformersConverter(str(folder)).convert(str(target), quantization=precision)
    generator = ctranslate2.Generator(str(target), device="cpu", compute_type=precision, intra_threads=threads)

    def write(prompt: list[int], n_texts: int, n_steps: int) -> Iterator[list[int]]:
        results = generator.generate_tokens(
            [f"t{token}" for token in prompt], max_length=n_steps + 1, min_length=n_steps + 1
        )
        if n_texts == 1:
            yield from ([result.token_id] for result in results)
            return
        # Several texts come back only when all are whole: the first token's time is taken on its own.
        prompts = [[f"t{token}" for token in prompt]] * n_texts
        for length in (1, n_steps + 1):
            whole = generator.generate_batch(
                prompts, max_length=length, min_length=length, include_prompt_in_result=False, sampling_topk=1
            )
            yield [result.sequences_ids[0][-1] for result in whole]

    return write


def llama_cpp_decoders(folder: Path, threads: int) -> dict[str, Contestant]:
    from peers.llama_cpp import llama_cpp_decoder

    kinds = {"float32": "F32", "Q8_0": "Q8_0", "Q4_0": "Q4_0"}
    return {f"llama.cpp {name}": llama_cpp_decoder(folder, kind, threads) for name, kind in kinds.items()}


def openvino_decoders(folder: Path, threads: int) -> dict[str, Contestant]:
    from peers.openvino import convert, openvino_decoder

    convert(folder)
    return {f"openvino {kind}": openvino_decoder(folder, kind, threads) for kind in ("float32", "int8")}


def onnxruntime_decoders(folder: Path, threads: int) -> dict[str, Contestant]:
    from peers.onnxruntime import onnxruntime_decoder

    return {f"onnxruntime {kind}": onnxruntime_decoder(folder, kind, threads) for kind in ("float32", "int8", "int4")}
