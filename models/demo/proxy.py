"""A check of the corpus in seconds: how far do bare words carry the severity?

A linear model over 1- and 2-grams, trained on training lines and tried on held-out ones. What it cannot decide on
unseen phrasings, a small transformer will hardly learn either; so a change of the phrase files is tried here first.

    python proxy.py
"""

from __future__ import annotations

import random
import re
import zlib

import torch
import torch.nn.functional as F

from corpus.lines import SEVERITIES, Line, LineMaker

BUCKETS = 1 << 17
TRAIN_LINES, TEST_LINES = 24_000, 2_000
GENERIC_SHARES = (0.0, 0.45, 1.0)


def features(line: Line) -> torch.Tensor:
    """Hashed 1- and 2-grams of the letter runs of a line, shape (n,)."""
    words = ["^", *re.findall(r"[a-z]+", line.text.lower()), "$"]
    grams = words + [f"{a} {b}" for a, b in zip(words, words[1:])]
    return torch.tensor([zlib.crc32(gram.encode()) % BUCKETS for gram in grams])


def fit(lines: list[Line]) -> torch.nn.EmbeddingBag:
    """A linear classifier of severity, by Adam, three passes."""
    model = torch.nn.EmbeddingBag(BUCKETS, len(SEVERITIES), mode="sum", sparse=False)
    torch.nn.init.zeros_(model.weight)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    examples = [(features(line), SEVERITIES.index(line.severity)) for line in lines]
    for _ in range(3):
        for start in range(0, len(examples), 2000):
            batch = examples[start : start + 2000]
            loss = F.cross_entropy(_scores(model, [x for x, _ in batch]), torch.tensor([y for _, y in batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def _scores(model: torch.nn.EmbeddingBag, rows: list[torch.Tensor]) -> torch.Tensor:
    """Class scores of a batch, shape (len(rows), 3)."""
    offsets = torch.tensor([0, *(len(row) for row in rows[:-1])]).cumsum(0)
    return model(torch.cat(rows), offsets)


@torch.no_grad()
def accuracy(model: torch.nn.EmbeddingBag, lines: list[Line]) -> float:
    guesses = _scores(model, [features(line) for line in lines]).argmax(1)
    truth = torch.tensor([SEVERITIES.index(line.severity) for line in lines])
    return (guesses == truth).float().mean().item()


def main() -> None:
    torch.manual_seed(0)
    test = LineMaker(random.Random("proxy test"), "eval")
    tests = {
        "seen": [test.known_line("train") for _ in range(TEST_LINES)],
        "unseen phrasing": [test.known_line("eval") for _ in range(TEST_LINES)],
        "unseen service": [test.unseen_line() for _ in range(TEST_LINES)],
    }
    for share in GENERIC_SHARES:
        maker = LineMaker(random.Random("proxy"), "train")
        lines = [
            maker.generic_line() if maker.rng.random() < share else maker.known_line("train")
            for _ in range(TRAIN_LINES)
        ]
        model = fit(lines)
        report = "  ".join(f"{name} {accuracy(model, lines):.3f}" for name, lines in tests.items())
        print(f"generic {share:4.0%}: {report}")


if __name__ == "__main__":
    main()
