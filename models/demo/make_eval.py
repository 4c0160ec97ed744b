"""Writes the two evaluation sets, deterministically.

    python make_eval.py

Names, addresses and other values are never those of training (see `corpus.values`). Three splits: phrasings that
training has seen, phrasings kept from training, and services kept from training. `eval.jsonl` is for looking at and
for decisions during development; `eval-final.jsonl` has other phrasings, other services and another seed, and is for
one measurement at the end.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

from corpus.chats import worst
from corpus.lines import Line, LineMaker
from corpus.tasks import Question, TaskMaker

HERE = Path(__file__).parent
SETS = {"eval": "eval.jsonl", "final": "eval-final.jsonl"}
SPLITS = ("seen-templates", "unseen-templates", "unseen-services")
PER_SPLIT = {
    "severity": 130,
    "attention": 25,
    "subsystem": 30,
    "service": 20,
    "extract": 130,
    "named": 25,
    "happened": 15,
    "attention_asked": 10,
    "summary": 15,
    "report": 10,
}


def items(part: str) -> Iterator[dict]:
    """All items of one set, in order."""
    rng = random.Random(f"evaluation {part}")
    lines, tasks = LineMaker(rng, part), TaskMaker(rng, plain=True)
    for split in SPLITS:
        for name, count in PER_SPLIT.items():
            for number in range(count):
                item = _item(lines, tasks, name, split)
                yield {"id": f"{part}/{split}/{name}/{number:03d}", **item}


def _item(lines: LineMaker, tasks: TaskMaker, name: str, split: str) -> dict:
    if name == "report":
        several = [_line(lines, split) for _ in range(lines.rng.randint(3, 8))]
        question, text = tasks.summary(worst(several)), "\n".join(line.text for line in several)
        return _as_item(question, text, split) | {"subtask": "report"}
    line = _line(lines, split, tagged=name == "service")
    return _as_item(getattr(tasks, name)(line), line.text, split)


def _line(lines: LineMaker, split: str, tagged: bool = False) -> Line:
    if split == "unseen-services":
        return lines.unseen_line(tagged)
    return lines.known_line("train" if split == "seen-templates" else lines.part, tagged)


def _as_item(question: Question, text: str, split: str) -> dict:
    item = {
        "task": question.task,
        "subtask": question.subtask,
        "split": split,
        "prompt": question.about(text),
        "text": text,
    }
    if question.choices:
        item["choices"] = list(question.choices)
    if question.keys:
        item["keys"] = list(question.keys)
    return item | {"answer": question.answer}


def main() -> None:
    for part, name in SETS.items():
        rows = [json.dumps(item, ensure_ascii=False) + "\n" for item in items(part)]
        (HERE / name).write_text("".join(rows))
        print(f"{name}: {len(rows)} items, {sum(map(len, rows)) // 1024} KiB")


if __name__ == "__main__":
    main()
