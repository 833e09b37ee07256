"""openvino-genai: its pipeline for many texts, over a model converted by openvino and rounded to int8 by nncf.

optimum-intel's export is left out: the module below is traced instead, with keys and values given and returned, and
these are made the model's state. Source: https://github.com/openvinotoolkit/openvino.genai
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GPT2LMHeadModel

from peers.decoding import Contestant


class GPT2WithPast(nn.Module):
    """transformers' weights in a forward pass that can be traced; its inputs are those that openvino-genai gives."""

    def __init__(self, model: GPT2LMHeadModel) -> None:
        super().__init__()
        self.transformer, self.unembed = model.transformer, model.lm_head
        self.n_heads = model.config.n_head

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        position_ids: Tensor,
        beam_idx: Tensor,
        past: list[tuple[Tensor, Tensor]],
    ) -> tuple[Tensor, ...]:
        """The last position's logits, then the keys and values of every layer, old and new."""
        (batch, n_new), n_all = input_ids.shape, attention_mask.shape[1]
        causal = torch.arange(n_all) <= (torch.arange(n_new) + (n_all - n_new))[:, None]
        mask = causal & (attention_mask[:, None, None, :] > 0)
        resid = self.transformer.wte(input_ids) + self.transformer.wpe(position_ids)
        present: list[Tensor] = []
        for block, (past_k, past_v) in zip(self.transformer.h, past, strict=True):
            qkv = block.attn.c_attn(block.ln_1(resid)).split(resid.shape[2], dim=2)
            q, k, v = (x.view(batch, n_new, self.n_heads, -1).transpose(1, 2) for x in qkv)
            k = torch.cat((past_k.index_select(0, beam_idx), k), 2)
            v = torch.cat((past_v.index_select(0, beam_idx), v), 2)
            present += [k, v]
            z = F.scaled_dot_product_attention(q, k, v, mask)
            resid = resid + block.attn.c_proj(z.transpose(1, 2).reshape(resid.shape))
            resid = resid + block.mlp(block.ln_2(resid))
        return self.unembed(self.transformer.ln_f(resid[:, -1:])), *present


def convert(folder: Path) -> None:
    """Write the model of a folder in openvino's format, in float32 and in int8."""
    import nncf
    import openvino

    peer = GPT2LMHeadModel.from_pretrained(folder).eval()
    n_layers, d_head = peer.config.n_layer, peer.config.n_embd // peer.config.n_head
    past = [tuple(torch.zeros(2, 2, peer.config.n_head, 3, d_head)) for _ in range(n_layers)]
    example = (torch.ones(2, 4).long(), torch.ones(2, 7).long(), torch.arange(3, 7).expand(2, 4), torch.arange(2).int())
    with torch.no_grad():
        model = openvino.convert_model(GPT2WithPast(peer), example_input=(*example, past))
    names = [f"{layer}.{half}" for layer in range(n_layers) for half in ("key", "value")]
    given = ["input_ids", "attention_mask", "position_ids", "beam_idx", *(f"past.{name}" for name in names)]
    for name, port in zip(given, model.inputs, strict=True):
        port.get_tensor().set_names({name})
    shapes = {"past": [-1, peer.config.n_head, -1, d_head], "beam_idx": [-1]}
    model.reshape({name: shapes.get(name.split(".")[0], [-1, -1]) for name in given})
    for name, port in zip(["logits", *(f"present.{name}" for name in names)], model.outputs, strict=True):
        port.get_tensor().set_names({name})
    make_stateful(model, {f"past.{name}": f"present.{name}" for name in names}, (peer.config.n_head, 0, d_head))
    for kind in ("float32", "int8"):
        target = folder / f"openvino-{kind}"
        target.mkdir()
        peer.config.save_pretrained(target)
        if kind == "int8":
            model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM)
        openvino.save_model(model, target / "openvino_model.xml", compress_to_fp16=False)


def make_stateful(model: Any, pairs: dict[str, str], empty: tuple[int, int, int]) -> None:
    """Let the model keep what is given and returned, beginning with nothing for each text of the batch."""
    from openvino import opset13
    from openvino._offline_transformations import apply_make_stateful_transformation

    apply_make_stateful_transformation(model, pairs)
    n_texts = opset13.shape_of(model.input("beam_idx"), output_type="i64")
    shape = opset13.concat([n_texts, opset13.constant(np.array(empty, np.int64))], axis=0)
    for node in model.get_ops():
        if node.get_type_name() == "ReadValue":
            node.set_arguments([opset13.broadcast(opset13.constant(0, dtype=np.float32), shape)])
    model.validate_nodes_and_infer_types()


def openvino_decoder(folder: Path, kind: str, threads: int) -> Contestant:
    import openvino
    import openvino_genai

    scheduler = openvino_genai.SchedulerConfig()
    scheduler.cache_size = 1  # GB
    scheduler.max_num_batched_tokens = 2048  # sixteen prompts in one pass
    scheduler.dynamic_split_fuse = False
    scheduler.enable_prefix_caching = False
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads}
    if kind == "float32":
        settings["KV_CACHE_PRECISION"] = "f32"  # else 8 bits
    pipeline = openvino_genai.ContinuousBatchingPipeline(folder / f"openvino-{kind}", scheduler, "CPU", settings)
    numbers = count()

    def write(prompt: list[int], n_texts: int, n_steps: int) -> Iterator[list[int]]:
        greedy = openvino_genai.GenerationConfig(max_new_tokens=n_steps + 1, ignore_eos=True, do_sample=False)
        tokens = openvino.Tensor(np.array([prompt]))
        texts = [pipeline.add_request(next(numbers), tokens, greedy) for _ in range(n_texts)]
        for _ in range(n_steps + 1):
            pipeline.step()
            yield [next(iter(text.read().values())).generated_ids[-1] for text in texts]

    return write
