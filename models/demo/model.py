"""The network: a Llama of a few million parameters, in plain PyTorch.

Shapes: B chats, T tokens, D width, H heads, S head size, F feed-forward width, L layers, V vocabulary. Weights of one
kind are stacked over the layers, which is how the optimizer treats them too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HEAD_SIZE = 64
NORM_EPSILON = 1e-5
ROTATING_PAIRS = 8
FREQUENCIES = tuple(2.0 * 0.45**pair for pair in range(ROTATING_PAIRS))
"""Radians per position of the rotating pairs of a head; its other pairs ignore positions, so that contents can match at
any distance (partial rotary embedding: Barbero et al. 2024, "Round and round we go", arXiv:2410.06205)."""
MASKED = -1e9


@dataclass(frozen=True)
class Shape:
    """The dimensions of a model."""

    width: int
    layers: int
    feed_forward: int
    vocabulary: int
    context: int = 2048

    @property
    def heads(self) -> int:
        return self.width // HEAD_SIZE


class Model(nn.Module):
    """Pre-norm decoder: rotary attention, SwiGLU, tied embeddings; matrix products run in `compute` precision."""

    def __init__(self, shape: Shape, compute: torch.dtype = torch.bfloat16):
        super().__init__()
        self.shape, self.compute = shape, compute
        layers, width, wide = shape.layers, shape.width, shape.feed_forward
        self.embedding = nn.Parameter(torch.empty(shape.vocabulary, width))
        self.attention_in = nn.Parameter(torch.empty(layers, 3, width, width))
        self.attention_out = nn.Parameter(torch.empty(layers, width, width))
        self.feed_in = nn.Parameter(torch.empty(layers, 2, wide, width))
        self.feed_out = nn.Parameter(torch.empty(layers, width, wide))
        self.attention_norm = nn.Parameter(torch.ones(layers, width))
        self.feed_norm = nn.Parameter(torch.ones(layers, width))
        self.final_norm = nn.Parameter(torch.ones(width))

    def matrices(self) -> list[nn.Parameter]:
        """The weights that are stacks of matrices, for Muon."""
        return [self.attention_in, self.attention_out, self.feed_in, self.feed_out]

    def forward(self, tokens: Tensor, wanted: Tensor) -> Tensor:
        """Logits (N, V) of the token after each of the N positions `wanted`, indices into the B*T flattened `tokens`.

        Padding goes to the right, where the causal mask hides it. The last layer is finished only where it is wanted.
        """
        stream = F.embedding(tokens, self.embedding)
        turns = rotations(tokens.shape[1], self.compute, tokens.device)
        for layer in range(self.shape.layers):
            mixed = self._attention(layer, stream, turns)
            if layer == self.shape.layers - 1:
                stream, mixed = stream.flatten(0, 1)[wanted], mixed.flatten(0, 1)[wanted]
            stream = stream + F.linear(mixed, self._cast(self.attention_out[layer]))
            stream = stream + self._feed_forward(layer, stream)
        return F.linear(self._norm(stream, self.final_norm), self._cast(self.embedding)).float()

    def _attention(self, layer: int, stream: Tensor, turns: Turns) -> Tensor:
        """What the heads gathered, (B, T, D), before the output projection."""
        batch, length, width = stream.shape
        weight = self._cast(self.attention_in[layer]).flatten(0, 1)
        joined = F.linear(self._norm(stream, self.attention_norm[layer]), weight)
        query, key, value = joined.view(batch, length, 3, -1, HEAD_SIZE).permute(2, 0, 3, 1, 4)
        query, key = turns.apply(query) * HEAD_SIZE**-0.5, turns.apply(key)
        scores = query @ key.transpose(-1, -2) + turns.mask
        return (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, width)

    def _feed_forward(self, layer: int, stream: Tensor) -> Tensor:
        weight = self._cast(self.feed_in[layer]).flatten(0, 1)
        gate, up = F.linear(self._norm(stream, self.feed_norm[layer]), weight).chunk(2, -1)
        return F.linear(F.silu(gate) * up, self._cast(self.feed_out[layer]))

    def _norm(self, stream: Tensor, gain: Tensor) -> Tensor:
        return self._cast(F.rms_norm(stream, gain.shape, gain, NORM_EPSILON))

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.compute)


@dataclass(frozen=True)
class Turns:
    """Rotations of the leading pairs of a head by position, (T, pairs) each, and the causal mask (T, T)."""

    cosine: Tensor
    sine: Tensor
    mask: Tensor

    def apply(self, heads: Tensor) -> Tensor:
        """Rotate queries or keys, (B, H, T, S); pairs lie side by side as in llama.cpp's layout for Llama."""
        rotating, still = heads.split((2 * ROTATING_PAIRS, HEAD_SIZE - 2 * ROTATING_PAIRS), -1)
        even, odd = rotating.unflatten(-1, (ROTATING_PAIRS, 2)).unbind(-1)
        turned = torch.stack((even * self.cosine - odd * self.sine, even * self.sine + odd * self.cosine), -1)
        return torch.cat((turned.flatten(-2), still), -1)


def rotations(length: int, dtype: torch.dtype, device: torch.device) -> Turns:
    angles = torch.arange(length, device=device)[:, None] * torch.tensor(FREQUENCIES, device=device)
    mask = torch.full((length, length), MASKED, dtype=dtype, device=device).triu(1)
    return Turns(angles.cos().to(dtype), angles.sin().to(dtype), mask)


def parameter_count(shape: Shape) -> int:
    per_layer = 4 * shape.width**2 + 3 * shape.width * shape.feed_forward + 2 * shape.width
    return shape.vocabulary * shape.width + shape.layers * per_layer + shape.width


def rope_factors(base: float) -> list[float]:
    """What llama.cpp must divide its frequencies base^(-2i/S) by to arrive at ours, one factor per pair of a head."""
    pairs = HEAD_SIZE // 2
    wanted = [*FREQUENCIES, *[math.nan] * (pairs - ROTATING_PAIRS)]
    return [1e30 if math.isnan(f) else base ** (-i / pairs) / f for i, f in enumerate(wanted)]
