"""The stream of training batches: chats made on the fly, the same for the same seed, of similar length side by side."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from torch import Tensor

from corpus.chats import EVEN, ChatMaker, Mix
from tokenizer import PAD, encode_chats, pieces

BLOCK_CHATS = 512


@dataclass(frozen=True)
class Batch:
    """`tokens` (B, T) padded on the right; `wanted` (N,) flat positions whose next token is learned; that token,
    `targets` (N,), and how much it counts, `weights` (N,)."""

    tokens: Tensor
    wanted: Tensor
    targets: Tensor
    weights: Tensor


class Batches:
    """Batches of about `batch_tokens` tokens, by number: batch n is always the same, whatever was drawn before.

    Chats come in blocks, each from its own seed; a block is sorted by length, cut into batches, and the batches are
    shuffled. So padding is small, and no attention mask between chats is needed.
    """

    def __init__(self, tokenizer: Tokenizer, seed: str, batch_tokens: int, mix: Mix = EVEN):
        self.tokenizer, self.seed, self.batch_tokens, self.mix = tokenizer, seed, batch_tokens, mix
        self.pieces = pieces(tokenizer)
        self.block, self.at = 0, 0
        self._ready: list[Batch] | None = None

    def next(self) -> Batch:
        if self._ready is None:
            self._ready = self._make_block()
        batch = self._ready[self.at]
        self.at += 1
        if self.at == len(self._ready):
            self.block, self.at, self._ready = self.block + 1, 0, None
        return batch

    def state(self) -> tuple[int, int]:
        return self.block, self.at

    def resume(self, state: tuple[int, int]) -> None:
        self.block, self.at = state
        self._ready = None

    def _make_block(self) -> list[Batch]:
        maker = ChatMaker(f"{self.seed}/{self.block}", self.pieces, self.mix)
        encoded = encode_chats(self.tokenizer, [maker.chat() for _ in range(BLOCK_CHATS)])
        encoded.sort(key=lambda chat: len(chat[0]))
        batches, group = [], []
        for chat in encoded:
            if group and len(chat[0]) * (len(group) + 1) > self.batch_tokens:
                batches.append(collate(group))
                group = []
            group.append(chat)
        batches.append(collate(group))
        random.Random(f"{self.seed}/{self.block}/order").shuffle(batches)
        return batches


def collate(chats: list[tuple[list[int], list[float]]]) -> Batch:
    """Pad encoded chats to one length and list what is to be predicted."""
    length = max(len(ids) for ids, _ in chats)
    tokens = torch.full((len(chats), length), PAD)
    wanted, targets, counts = [], [], []
    for row, (ids, weights) in enumerate(chats):
        tokens[row, : len(ids)] = torch.tensor(ids)
        learned = [at for at, weight in enumerate(weights) if weight]
        wanted += [row * length + at - 1 for at in learned]
        targets += [ids[at] for at in learned]
        counts += [weights[at] for at in learned]
    return Batch(tokens, torch.tensor(wanted), torch.tensor(targets), torch.tensor(counts))
