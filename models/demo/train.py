"""Trains the demo model and writes it as GGUF.

    python train.py --size small        # from nothing
    python train.py --size large        # from the small one

Runs on a CPU with bf16 instructions or on a GPU. It can be interrupted (Ctrl-C saves) and started again: it goes on
from its last checkpoint. All schedules count steps, none counts seconds. The result depends on the seed, the thread
count and the machine's arithmetic only.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import export
import grow
import tokenizer as tokenization
import wiring
from batches import Batch, Batches
from corpus.chats import EVEN, SHARP, Mix
from evaluate import exact, read_items
from model import Model, Shape, parameter_count
from optimizer import Muon

HERE = Path(__file__).parent
LOG_EVERY, SAVE_EVERY, PROBE_EVERY = 20, 100, 500
PROBE_STRIDE = 4


@dataclass(frozen=True)
class Recipe:
    """How to train one size. Learning rates are peaks: a rise over `warmup` steps, in the last part a linear fall.

    `origin` is the size that this one grows from; without it, training begins from nothing.
    """

    shape: Shape
    steps: int
    origin: str | None = None
    mix: Mix = EVEN
    batch_tokens: int = 4096
    muon_lr: float = 0.005
    embedding_lr: float = 0.02
    norm_lr: float = 0.002
    warmup: int = 30
    fall_share: float = 0.8
    seed: int = 1


RECIPES = {
    "small": Recipe(Shape(192, 5, 448, tokenization.VOCABULARY), steps=3600),
    "large": Recipe(
        Shape(192, 8, 768, tokenization.VOCABULARY),
        steps=2800,
        origin="small",
        mix=SHARP,
        muon_lr=0.003,
        embedding_lr=0.01,
        norm_lr=0.001,
        warmup=60,
        fall_share=0.8,
        seed=2,
    ),
}


class Training:
    """Everything that a checkpoint holds: model, optimizers, data position, step."""

    def __init__(self, recipe: Recipe, model: Model, tokenizer: Tokenizer, device: torch.device):
        self.recipe, self.tokenizer, self.device = recipe, tokenizer, device
        self.model = model.to(device)
        self.optimizers = _optimizers(self.model, recipe)
        self.batches = Batches(tokenizer, f"train {recipe.seed}", recipe.batch_tokens, recipe.mix)
        self.step = 0
        self.tokens = 0

    def advance(self) -> float:
        """One optimizer step; the loss is a weighted mean over the answer tokens of the batch."""
        rate = _rate(self.recipe, self.step)
        batch = self.batches.next()
        loss = self._loss(batch)
        loss.backward()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * rate
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        self.tokens += batch.tokens.numel()
        return loss.item()

    def _loss(self, batch: Batch) -> torch.Tensor:
        logits = self.model(batch.tokens.to(self.device), batch.wanted.to(self.device))
        losses = F.cross_entropy(logits, batch.targets.to(self.device), reduction="none")
        weights = batch.weights.to(self.device)
        return (losses * weights).sum() / weights.sum()

    def save(self, path: Path) -> None:
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "batches": self.batches.state(),
            "step": self.step,
            "tokens": self.tokens,
        }
        torch.save(state, path.with_suffix(".new"))
        os.replace(path.with_suffix(".new"), path)

    def resume(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.batches.resume(state["batches"])
        self.step, self.tokens = state["step"], state["tokens"]


def _optimizers(model: Model, recipe: Recipe) -> list[torch.optim.Optimizer]:
    norms = [model.attention_norm, model.feed_norm, model.final_norm]
    groups = [
        {"params": [model.embedding], "lr": recipe.embedding_lr},
        {"params": norms, "lr": recipe.norm_lr},
    ]
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0)
    optimizers = [Muon(model.matrices(), lr=recipe.muon_lr), adam]
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return optimizers


def _rate(recipe: Recipe, step: int) -> float:
    """The share of the peak learning rate at a step: a short rise, a plateau, a linear fall to zero."""
    rise = (step + 1) / recipe.warmup
    fall = (recipe.steps - step) / (recipe.fall_share * recipe.steps)
    return min(1.0, rise, fall)


class Progress:
    """Prints loss, speed and the time left, from a moving average of step times that shrugs off pauses."""

    def __init__(self, training: Training):
        self.training = training
        self.loss: float | None = None
        self.seconds: float | None = None
        self.last = time.monotonic()

    def after(self, loss: float) -> None:
        now = time.monotonic()
        spent, self.last = now - self.last, now
        self.loss = loss if self.loss is None else 0.97 * self.loss + 0.03 * loss
        usual = self.seconds or spent
        self.seconds = 0.97 * usual + 0.03 * min(spent, 10 * usual)
        if self.training.step % LOG_EVERY == 0:
            self._print()

    def _print(self) -> None:
        training = self.training
        left = (training.recipe.steps - training.step) * self.seconds
        speed = training.tokens / training.step / self.seconds
        print(
            f"step {training.step}/{training.recipe.steps}  loss {self.loss:.4f}  {training.tokens / 1e6:.2f} M tokens"
            f"  {speed:.0f} tokens/s  {left / 60:.0f} min left",
            flush=True,
        )


def probe(training: Training, items: list[dict]) -> None:
    """Print exact answers on a part of eval.jsonl, severity and extraction, per split."""
    right = exact(training.model, training.tokenizer, items)
    shares = []
    for subtask in ("severity", "json"):
        for split in dict.fromkeys(item["split"] for item in items):
            chosen = [good for item, good in zip(items, right) if (item["subtask"], item["split"]) == (subtask, split)]
            shares.append(f"{subtask} {split} {sum(chosen) / len(chosen):.2f}")
    print("  probe: " + "  ".join(shares), flush=True)


def run(training: Training, checkpoint: Path) -> bool:
    """Train to the end, or until interrupted; says whether the end was reached."""
    stop = _stop_flag()
    progress = Progress(training)
    items = read_items(HERE / "eval.jsonl")[::PROBE_STRIDE]
    while training.step < training.recipe.steps and not stop:
        progress.after(training.advance())
        if training.step % SAVE_EVERY == 0:
            training.save(checkpoint)
        if training.step % PROBE_EVERY == 0:
            probe(training, items)
    training.save(checkpoint)
    return training.step >= training.recipe.steps


def _stop_flag() -> list[int]:
    """A list that is no longer empty once Ctrl-C or a termination signal has come."""
    stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stop.append(received))
    return stop


def _beginning(recipe: Recipe, work: Path) -> tuple[Model, Tokenizer]:
    """Model and tokenizer before the first step."""
    generator = torch.Generator().manual_seed(recipe.seed)
    if recipe.origin is None:
        model = Model(recipe.shape)
        wiring.initialise(model, generator)
        return model, _tokenizer(work)
    small, tokenizer = grow.read(HERE / gguf_name(recipe.origin))
    return grow.grow(small, recipe.shape.layers, recipe.shape.feed_forward, generator), tokenizer


def gguf_name(size: str) -> str:
    return f"demo-{size}-q8_0.gguf"


def _tokenizer(work: Path) -> Tokenizer:
    """The tokenizer, trained on first use; always the same, so two trainings may share the folder."""
    path = work / "tokenizer.json"
    if not path.exists():
        new = work / f"tokenizer.{os.getpid()}.new"
        tokenization.train().save(str(new))
        os.replace(new, path)
    return tokenization.load(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=RECIPES, required=True)
    parser.add_argument("--work", type=Path, default=HERE / "work", help="checkpoints and tokenizer go here")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the GGUF")
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads; two trainings of one thread beat one of two"
    )
    parser.add_argument("--export-only", action="store_true", help="write the GGUF from the checkpoint as it is")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = RECIPES[arguments.size]
    training = Training(recipe, *_beginning(recipe, arguments.work), device)
    checkpoint = arguments.work / f"{arguments.size}.pt"
    if checkpoint.exists():
        training.resume(checkpoint)
    print(f"{arguments.size}: {parameter_count(recipe.shape) / 1e6:.2f} M parameters on {device}, step {training.step}")
    if arguments.export_only or run(training, checkpoint):
        path = arguments.out / gguf_name(arguments.size)
        export.write(training.model, training.tokenizer, arguments.size, path)
        print(f"wrote {path}")
    else:
        print("saved; start again to go on")


if __name__ == "__main__":
    main()
