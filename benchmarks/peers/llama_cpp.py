"""llama.cpp, through the wheel xllamacpp, which has it compiled for AVX2; llama-cpp-python has no wheel on PyPI.

The model is written as GGUF from the same weights; the server inside llama.cpp is asked without HTTP, and tells every
token as it comes. Source: https://github.com/xorbitsai/xllamacpp
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from peers.decoding import Contestant

MODULES = {
    "wte": "token_embd",
    "wpe": "position_embd",
    "ln_f": "output_norm",
    "ln_1": "attn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_2": "ffn_norm",
    "mlp.c_fc": "ffn_up",
    "mlp.c_proj": "ffn_down",
}
"""GPT-2's names in transformers: those in a GGUF."""
MOST_TEXTS, MOST_TOKENS = 16, 640
PATIENCE = 120  # seconds for one token


def llama_cpp_decoder(folder: Path, kind: str, threads: int) -> Contestant:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(folder / f"{kind}.gguf")
    write_gguf(folder, Path(params.model.path), kind)
    params.n_parallel, params.n_ctx = MOST_TEXTS, MOST_TEXTS * MOST_TOKENS
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.cache_ram_mib = 0  # no prompt is kept for the next time
    params.verbosity = 0
    server = xllamacpp.Server(params)

    def ask(prompt: list[int], n_tokens: int, tokens: SimpleQueue[int]) -> None:
        def take(chunk: dict[str, Any]) -> None:
            if text := chunk["choices"][0]["text"]:
                tokens.put(int(text.removeprefix("t")))

        request = {"prompt": prompt, "max_tokens": n_tokens, "ignore_eos": True, "temperature": 0, "top_k": 1}
        server.handle_completions({**request, "cache_prompt": False, "stream": True}, take)

    def write(prompt: list[int], n_texts: int, n_steps: int) -> Iterator[list[int]]:
        texts: list[SimpleQueue[int]] = [SimpleQueue() for _ in range(n_texts)]
        with ThreadPoolExecutor(n_texts) as pool:
            asked = [pool.submit(ask, prompt, n_steps + 1, text) for text in texts]
            for _ in range(n_steps + 1):
                yield [text.get(timeout=PATIENCE) for text in texts]
            for answer in asked:
                answer.result()

    return write


def write_gguf(folder: Path, path: Path, kind: str) -> None:
    """The model of a folder as one GGUF file, its matrices in the quantisation `kind`."""
    import gguf
    from safetensors.numpy import load_file
    from transformers import GPT2Config

    config = GPT2Config.from_pretrained(folder)
    writer = gguf.GGUFWriter(path, "gpt2")
    writer.add_block_count(config.n_layer)
    writer.add_context_length(config.n_positions)
    writer.add_embedding_length(config.n_embd)
    writer.add_feed_forward_length(4 * config.n_embd)
    writer.add_head_count(config.n_head)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([f"t{token}" for token in range(config.vocab_size)])
    writer.add_token_types([gguf.TokenType.NORMAL] * (config.vocab_size - 1) + [gguf.TokenType.CONTROL])
    writer.add_token_merges(["t 0"])  # it refuses a vocabulary without a merge
    writer.add_bos_token_id(config.vocab_size - 1)
    writer.add_eos_token_id(config.vocab_size - 1)
    for name, weights in load_file(folder / "model.safetensors").items():
        layer, _, module = name.removeprefix("transformer.").removeprefix("h.").rpartition(".")[0].partition(".")
        theirs = f"blk.{layer}.{MODULES[module]}" if module else MODULES[layer]
        if ".c_" in name and weights.ndim == 2:
            weights = weights.T  # transformers keeps these as (in, out)
        quantised = weights.ndim == 2 and theirs != "position_embd"
        type_ = gguf.GGMLQuantizationType[kind if quantised else "F32"]
        writer.add_tensor(
            f"{theirs}.{name.rpartition('.')[2]}", gguf.quants.quantize(weights.copy(), type_), raw_dtype=type_
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
