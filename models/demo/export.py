"""Writes a trained model as GGUF for llama.cpp: architecture `llama`, tokenizer and chat template inside."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from tokenizers import Tokenizer

from model import HEAD_SIZE, NORM_EPSILON, Model, rope_factors
from tokenizer import BEGIN, CHAT_TEMPLATE, END, PAD, PRE_TOKENIZER, SPECIALS

ROPE_BASE = 10_000.0
FILE_TYPES = {"q8_0": gguf.LlamaFileType.MOSTLY_Q8_0, "f16": gguf.LlamaFileType.MOSTLY_F16}
QUANTISATION = {"q8_0": GGMLQuantizationType.Q8_0, "f16": GGMLQuantizationType.F16}


def write(model: Model, tokenizer: Tokenizer, name: str, path: Path, precision: str = "q8_0") -> None:
    """Write `path`; matrices in `precision`, norms in float32."""
    writer = GGUFWriter(str(path), "llama")
    _describe(writer, model, name, precision)
    _write_tokenizer(writer, tokenizer)
    for tensor_name, array in _tensors(model):
        kind = QUANTISATION[precision] if array.ndim == 2 else GGMLQuantizationType.F32
        writer.add_tensor(tensor_name, gguf.quants.quantize(array, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: GGUFWriter, model: Model, name: str, precision: str) -> None:
    shape = model.shape
    writer.add_name(f"Dunlin demo {name}")
    writer.add_description("Reads log lines of small machines; trained from scratch on synthetic text.")
    writer.add_file_type(FILE_TYPES[precision])
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.heads)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    writer.add_rope_dimension_count(HEAD_SIZE)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_vocab_size(shape.vocabulary)


def _write_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer) -> None:
    by_id = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(PRE_TOKENIZER)
    writer.add_token_list([token for token, _ in by_id])
    writer.add_token_types([_token_type(token) for token, _ in by_id])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(BEGIN)
    writer.add_eos_token_id(END)
    writer.add_eot_token_id(END)
    writer.add_pad_token_id(PAD)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _token_type(token: str) -> int:
    return gguf.TokenType.CONTROL if token in SPECIALS else gguf.TokenType.NORMAL


def _tensors(model: Model):
    """Names of llama.cpp and arrays, rows first. The output matrix is left out: it is tied to the embedding."""
    yield "token_embd.weight", _array(model.embedding)
    yield "rope_freqs.weight", np.array(rope_factors(ROPE_BASE), dtype=np.float32)
    for layer in range(model.shape.layers):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", _array(model.attention_norm[layer])
        for kind, letter in enumerate("qkv"):
            yield f"{block}.attn_{letter}.weight", _array(model.attention_in[layer, kind])
        yield f"{block}.attn_output.weight", _array(model.attention_out[layer])
        yield f"{block}.ffn_norm.weight", _array(model.feed_norm[layer])
        yield f"{block}.ffn_gate.weight", _array(model.feed_in[layer, 0])
        yield f"{block}.ffn_up.weight", _array(model.feed_in[layer, 1])
        yield f"{block}.ffn_down.weight", _array(model.feed_out[layer])
    yield "output_norm.weight", _array(model.final_norm)


def _array(tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy()
