"""Begins a larger model as a smaller one that is trained already.

Layers are inserted and feed-forward parts widened. What is new writes zeros to the stream at first, so the larger model
gives the very answers of the smaller one before its first step, and keeps what that one has learned (Chen et al. 2016,
"Net2Net", arXiv:1511.05641). A new layer reads the stream as the layer before it does: its inner weights are that
layer's, and training has only to find a use for them.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

import tokenizer as tokenization
from model import Model, Shape

NOISE = 0.3
"""How far the inner weights of a new layer are from those of the layer before it, as a share of their size: two layers
that compute the same would stay the same."""


def read(path: Path) -> tuple[Model, Tokenizer]:
    """Model and tokenizer of a GGUF that `export.py` wrote, with the precision that quantisation has left."""
    reader = gguf.GGUFReader(path)
    tensors = {
        tensor.name: torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
        for tensor in reader.tensors
    }
    vocabulary, width = tensors["token_embd.weight"].shape
    layers = _number(reader, "llama.block_count")
    model = Model(Shape(width, layers, _number(reader, "llama.feed_forward_length"), vocabulary))
    with torch.no_grad():
        _fill(model, tensors)
    tokens = reader.get_field("tokenizer.ggml.tokens").contents()
    merges = reader.get_field("tokenizer.ggml.merges").contents()
    return model, tokenization.assemble(tokens, [tuple(merge.split(" ")) for merge in merges])


def _number(reader: gguf.GGUFReader, key: str) -> int:
    return int(reader.get_field(key).contents())


def _fill(model: Model, tensors: dict[str, Tensor]) -> None:
    model.embedding.copy_(tensors["token_embd.weight"])
    model.final_norm.copy_(tensors["output_norm.weight"])
    for layer in range(model.shape.layers):
        block = {name.split(".")[2]: tensor for name, tensor in tensors.items() if name.startswith(f"blk.{layer}.")}
        model.attention_norm[layer] = block["attn_norm"]
        model.feed_norm[layer] = block["ffn_norm"]
        for kind, letter in enumerate("qkv"):
            model.attention_in[layer, kind] = block[f"attn_{letter}"]
        model.attention_out[layer] = block["attn_output"]
        model.feed_in[layer, 0], model.feed_in[layer, 1] = block["ffn_gate"], block["ffn_up"]
        model.feed_out[layer] = block["ffn_down"]


@torch.no_grad()
def grow(small: Model, layers: int, feed_forward: int, generator: torch.Generator) -> Model:
    """A model of `layers` layers and `feed_forward` units in each that computes what `small` does.

    The new layers stand behind the last ones of `small`, one behind each; the first ones hold the wired heads.
    """
    shape = Shape(small.shape.width, layers, feed_forward, small.shape.vocabulary, small.shape.context)
    large = Model(shape)
    large.embedding.copy_(small.embedding)
    large.final_norm.copy_(small.final_norm)
    kept = small.shape.feed_forward
    for layer, (origin, new) in enumerate(_plan(small.shape.layers, layers)):
        for name in ("attention_norm", "feed_norm"):
            getattr(large, name)[layer] = getattr(small, name)[origin]
        large.attention_in[layer] = small.attention_in[origin]
        large.feed_in[layer, :, :kept] = small.feed_in[origin]
        large.feed_in[layer, :, kept:] = _like(small.feed_in[origin], feed_forward - kept, generator)
        large.attention_out[layer] = 0.0 if new else small.attention_out[origin]
        large.feed_out[layer] = 0.0
        if new:
            _disturb(large.attention_in[layer], generator)
            _disturb(large.feed_in[layer], generator)
        else:
            large.feed_out[layer, :, :kept] = small.feed_out[origin]
    return large


def _plan(before: int, after: int) -> list[tuple[int, bool]]:
    """For each layer of the larger model, the layer of the smaller one that it comes from, and whether it is new."""
    first = 2 * before - after
    if not 0 <= first <= before:
        raise ValueError(f"{before} layers can grow to between {before} and {2 * before}, not to {after}")
    return [(layer, new) for layer in range(before) for new in ((False, True) if layer >= first else (False,))]


def _like(weights: Tensor, rows: int, generator: torch.Generator) -> Tensor:
    """Random rows as large as those of `weights`, (2, F, D)."""
    size = weights.pow(2).mean().sqrt()
    return torch.randn(2, rows, weights.shape[-1], generator=generator) * size


def _disturb(weights: Tensor, generator: torch.Generator) -> None:
    weights.add_(torch.randn(weights.shape, generator=generator) * weights.pow(2).mean().sqrt(), alpha=NOISE)
