"""Initial weights with copying built in.

Much of the work is to copy values out of a line. A network of this size takes long to discover the circuit for it from
random weights, so it starts with one, and everything stays trainable:

- one channel of the embedding is constant, which gives heads something to make fixed queries and keys of (as all
  tokens share it, the tied output does not see it);
- the first layer's first three heads look 1, 2 and 3 tokens back and write a projection of what they see into
  channels of their own;
- in the next two layers, heads look for the place where the same tokens came before and add what followed there to
  the output (induction heads: Olsson et al. 2022, arXiv:2209.11895);
- every other head and all feed-forward parts begin with a zero output, so that at first nothing drowns the tokens.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from model import FREQUENCIES, HEAD_SIZE, ROTATING_PAIRS, Model

CONSTANT = 4.0
OFFSET_SHARPNESS = 36.0
MATCH_GAIN = 1.7
COPY_GAIN = 1.5
COPY_LAYERS = (1, 2)
OFFSETS = (1, 2, 3)
ROTATING = 2 * ROTATING_PAIRS
MATCH_SIZES = (24, 16, 8)
"""Of the channels of a head that do not rotate: how many compare the last token, the one before, and the third."""


@dataclass(frozen=True)
class Channels:
    """The residual stream's parts: tokens themselves, projections of the tokens 1, 2, 3 back, and the constant."""

    token: slice
    back: tuple[slice, ...]
    constant: int


def channels(width: int) -> Channels:
    sizes = (width // 6, width // 12, width // 12)
    start = width - 1 - sum(sizes)
    edges = [start]
    for size in sizes:
        edges.append(edges[-1] + size)
    back = tuple(slice(low, high) for low, high in zip(edges, edges[1:]))
    return Channels(slice(0, start), back, width - 1)


@torch.no_grad()
def initialise(model: Model, generator: torch.Generator) -> None:
    """Fill all weights in place."""
    width = model.shape.width
    parts = channels(width)
    for weight in (model.attention_in, model.feed_in):
        weight.normal_(0, width**-0.5, generator=generator)
    for weight in (model.attention_out, model.feed_out, model.embedding):
        weight.zero_()
    model.embedding[:, parts.token].normal_(0, 1, generator=generator)
    model.embedding[:, parts.constant] = CONSTANT
    model.final_norm.fill_(width**-0.5)
    projection = _orthonormal(parts.back[0].stop - parts.back[0].start, parts.token.stop, generator)
    _wire_offsets(model, parts, projection)
    _wire_copying(model, parts, projection, generator)


def _wire_offsets(model: Model, parts: Channels, projection: Tensor) -> None:
    """Heads of layer 0 that attend to a fixed distance: score(d) = sum over pairs of cos(f * (d - offset))."""
    for head, (offset, target) in enumerate(zip(OFFSETS, parts.back)):
        query, key, value, out = _head(model, 0, head)
        size = target.stop - target.start
        query.zero_(), key.zero_(), value.zero_()
        amplitude = math.sqrt(OFFSET_SHARPNESS) / CONSTANT
        for pair, frequency in enumerate(FREQUENCIES):
            query[2 * pair, parts.constant] = amplitude
            key[2 * pair, parts.constant] = amplitude * math.cos(frequency * offset)
            key[2 * pair + 1, parts.constant] = amplitude * math.sin(frequency * offset)
        value[:size, parts.token] = projection[:size]
        out[target, :size] = torch.eye(size)


def _wire_copying(model: Model, parts: Channels, projection: Tensor, generator: torch.Generator) -> None:
    """Heads that find where the last tokens stood before and pass on the token that followed."""
    heads = math.ceil(parts.token.stop / HEAD_SIZE)
    basis = _orthonormal(parts.token.stop, parts.token.stop, generator)
    for index in range(heads):
        query, key, value, out = _head(model, COPY_LAYERS[index % len(COPY_LAYERS)], index // len(COPY_LAYERS))
        query.zero_(), key.zero_(), value.zero_()
        row = ROTATING
        for step, size in enumerate(MATCH_SIZES):
            size = min(size, parts.back[step].stop - parts.back[step].start)
            rows = slice(row, row + size)
            if step == 0:
                query[rows, parts.token] = MATCH_GAIN * projection[:size]
            else:
                query[rows, _first(parts.back[step - 1], size)] = MATCH_GAIN * torch.eye(size)
            key[rows, _first(parts.back[step], size)] = MATCH_GAIN * torch.eye(size)
            row += size
        part = basis[index * HEAD_SIZE : (index + 1) * HEAD_SIZE]
        value[: len(part), parts.token] = part
        out[parts.token, : len(part)] = COPY_GAIN * part.T


def _head(model: Model, layer: int, head: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Views of one head's query, key and value rows, (S, D) each, and of its output columns, (D, S)."""
    rows = slice(head * HEAD_SIZE, (head + 1) * HEAD_SIZE)
    query, key, value = (model.attention_in[layer, kind, rows] for kind in range(3))
    return query, key, value, model.attention_out[layer, :, rows]


def _first(part: slice, size: int) -> slice:
    return slice(part.start, part.start + size)


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    square = torch.randn(columns, columns, generator=generator)
    return torch.linalg.qr(square)[0][:rows]
