"""onnxruntime, with a GPT-2 written as ONNX from the same weights, and the loop that its samples show.

onnxruntime-genai is left out: its model builder knows no GPT-2. What is used is what it builds for other models:
attention that writes into a cache with room ahead (GroupQueryAttention), bound as input and as output; and MatMulNBits
for 4 bits. For int8 it is what onnxruntime's dynamic quantisation ends in, DynamicQuantizeMatMul, which rounds what the
weights are multiplied by, too. Sources: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html,
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from transformers import GPT2Config

from peers.decoding import Contestant

OWN = "com.microsoft"


def onnxruntime_decoder(folder: Path, kind: str, threads: int) -> Contestant:
    import onnxruntime

    config = GPT2Config.from_pretrained(folder)
    path = folder / f"{kind}.onnx"
    write_onnx(folder, path, config, kind)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    halves = [f"{layer}.{half}" for layer in range(config.n_layer) for half in "kv"]

    def write(prompt: list[int], n_texts: int, n_steps: int) -> Iterator[list[int]]:
        binding = session.io_binding()
        shape = (n_texts, config.n_head, len(prompt) + n_steps, config.n_embd // config.n_head)
        for half in halves:
            cache = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))  # whose memory it uses
            binding.bind_ortvalue_input(f"past.{half}", cache)
            binding.bind_ortvalue_output(f"present.{half}", cache)
        binding.bind_output("logits")
        tokens, n_all = np.tile(np.array(prompt), (n_texts, 1)), 0
        for _ in range(n_steps + 1):
            positions = np.broadcast_to(np.arange(n_all, n_all + tokens.shape[1]), tokens.shape)
            n_all += tokens.shape[1]
            given = {  # which the binding does not keep alive
                "tokens": tokens,
                "positions": np.ascontiguousarray(positions),
                "last": np.full(n_texts, n_all - 1, np.int32),
                "n_all": np.array(n_all, np.int32),
            }
            for name, array in given.items():
                binding.bind_cpu_input(name, array)
            session.run_with_iobinding(binding)
            tokens = binding.get_outputs()[-1].numpy()[:, -1].argmax(-1)[:, None]
            yield tokens.flatten().tolist()

    return write


class Graph:
    """A GPT-2 as it grows, node by node; every method gives the name of what it added."""

    def __init__(self, folder: Path, kind: str) -> None:
        from safetensors.numpy import load_file

        stored = load_file(folder / "model.safetensors")
        self.weights = {name.removeprefix("transformer."): weights for name, weights in stored.items()}
        self.kind = kind
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, array: np.ndarray[Any, Any]) -> str:
        """An array that stays as it is."""
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), f"constant{len(self.constants)}"))
        return self.constants[-1].name

    def node(self, kind: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> str:
        """An operation."""
        from onnx import helper

        outputs = outputs or [f"{kind}{len(self.nodes)}"]
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def norm(self, x: str, name: str) -> str:
        """A LayerNorm of GPT-2's."""
        gain, bias = (self.constant(self.weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.node("LayerNormalization", [x, gain, bias], epsilon=1e-5)

    def linear(self, x: str, name: str) -> str:
        """A linear layer of GPT-2's."""
        return self.product(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def product(
        self, x: str, weights: np.ndarray[Any, Any], bias: np.ndarray[Any, Any], outputs: list[str] | None = None
    ) -> str:
        """The product of x and weights (in, out), and the bias added."""
        if self.kind == "int8":
            step = np.abs(weights).max(axis=0) / 127
            rounded = [np.round(weights / step).astype(np.int8), step, np.zeros(len(step), np.int8), bias]
            return self.node("DynamicQuantizeMatMul", [x, *map(self.constant, rounded)], outputs, domain=OWN)
        return self.node("Add", [self.node("MatMul", [x, self.constant(weights)]), self.constant(bias)], outputs)

    def lookup(self, name: str, ids: str) -> str:
        """The rows of a table."""
        return self.node("Gather", [self.constant(self.weights[f"{name}.weight"]), ids])


def write_onnx(folder: Path, path: Path, config: GPT2Config, kind: str) -> None:
    """The model of a folder as one ONNX file, its matrices in float32, int8 or int4."""
    import onnx
    from onnx import TensorProto, helper

    graph = Graph(folder, kind)
    sizes = ["batch", config.n_head, "room", config.n_embd // config.n_head]
    caches: list[tuple[str, str]] = []
    resid = graph.node("Add", [graph.lookup("wte", "tokens"), graph.lookup("wpe", "positions")])
    for layer in range(config.n_layer):
        block = f"h.{layer}"
        qkv = graph.linear(graph.norm(resid, f"{block}.ln_1"), f"{block}.attn.c_attn")
        new = [(f"past.{layer}.{half}", f"present.{layer}.{half}") for half in "kv"]
        caches += new
        heads = {"num_heads": config.n_head, "kv_num_heads": config.n_head}
        z = graph.node(
            "GroupQueryAttention",
            [qkv, "", "", *(past for past, _ in new), "last", "n_all"],
            [f"z{layer}", *(present for _, present in new)],
            domain=OWN,
            **heads,
        )
        resid = graph.node("Add", [resid, graph.linear(z, f"{block}.attn.c_proj")])
        up = graph.linear(graph.norm(resid, f"{block}.ln_2"), f"{block}.mlp.c_fc")
        up = graph.node("Gelu", [up], approximate="tanh")
        resid = graph.node("Add", [resid, graph.linear(up, f"{block}.mlp.c_proj")])
    begin, end, axis = (graph.constant(np.array([number])) for number in (-1, 2**31, 1))
    last = graph.norm(graph.node("Slice", [resid, begin, end, axis]), "ln_f")
    graph.product(last, graph.weights["wte.weight"].T, np.zeros(config.vocab_size, np.float32), ["logits"])

    def tensor(name: str, shape: list[Any], type_: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, type_, shape)

    inputs = [tensor(name, ["batch", "n_new"], TensorProto.INT64) for name in ("tokens", "positions")]
    inputs += [tensor("last", ["batch"], TensorProto.INT32), tensor("n_all", [], TensorProto.INT32)]
    inputs += [tensor(past, sizes) for past, _ in caches]
    outputs = [tensor(present, sizes) for _, present in caches] + [tensor("logits", ["batch", 1, config.vocab_size])]
    whole = helper.make_graph(graph.nodes, "gpt2", inputs, outputs, graph.constants)
    operators = [helper.make_opsetid("", 20), helper.make_opsetid(OWN, 1)]
    model = helper.make_model(whole, opset_imports=operators, ir_version=10)
    if kind == "int4":
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantizer = MatMulNBitsQuantizer(model, bits=4, block_size=32, is_symmetric=True, accuracy_level=4)
        quantizer.process()
        model = quantizer.model.model
    onnx.save(model, path)
