"""Measures a model on an evaluation set: the share of answers that are right to the last character.

    python evaluate.py demo-small-q8_0.gguf                       # real greedy generation, llama.cpp
    python evaluate.py demo-small-q8_0.gguf --set eval-final.jsonl --answers answers.jsonl

Needs `llama-cpp-python` (see requirements-evaluate.txt). Training looks at the same figures through `exact`, which
needs one forward pass per batch: if each token of the right answer is the most likely one after its predecessors,
greedy generation yields that answer.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import defaultdict
from pathlib import Path

HERE = Path(__file__).parent
MAX_ANSWER_TOKENS = 200
CONTEXT = 2048


def read_items(path: Path) -> list[dict]:
    return [json.loads(row) for row in path.read_text().splitlines()]


def exact(model, tokenizer, items: list[dict], batch_size: int = 16) -> list[bool]:
    """Whether greedy decoding in PyTorch would give each item's answer."""
    import torch

    from batches import collate
    from corpus.chats import Chat, Turn
    from tokenizer import encode_chats

    encoded = encode_chats(tokenizer, [Chat(None, (Turn(item["prompt"], item["answer"]),)) for item in items])
    order = sorted(range(len(items)), key=lambda at: len(encoded[at][0]))
    right = [False] * len(items)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = collate([encoded[at] for at in chosen])
        device = model.embedding.device
        with torch.no_grad():
            guesses = model(batch.tokens.to(device), batch.wanted.to(device)).argmax(-1).cpu()
        rows = batch.wanted // batch.tokens.shape[1]
        for row, at in enumerate(chosen):
            right[at] = bool((guesses == batch.targets)[rows == row].all())
    return right


def generate(gguf: Path, items: list[dict], threads: int) -> list[str]:
    """Greedy answers of llama.cpp, unconstrained, to prompts in the chat form of the file's template."""
    import llama_cpp

    model = llama_cpp.Llama(str(gguf), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, verbose=False)

    def answer(item: dict) -> str:
        prompt = f"<|begin|><|user|>{item['prompt']}<|end|><|assistant|>".encode()
        model.reset()
        model._ctx.kv_cache_clear()  # reset alone leaves the cells of the last prompt in place
        model.eval(model.tokenize(prompt, add_bos=False, special=True))
        tokens = []
        while (token := model.sample(temp=0.0)) != model.token_eos() and len(tokens) < MAX_ANSWER_TOKENS:
            tokens.append(token)
            model.eval([token])
        return model.detokenize(tokens).decode(errors="replace")

    return [answer(item) for item in items]


def table(items: list[dict], right: list[bool]) -> str:
    """Markdown: a row per task and subtask, a column per split, each with share, standard error and count."""
    cells: dict[tuple[str, str], list[bool]] = defaultdict(list)
    for item, good in zip(items, right, strict=True):
        cells[f"{item['task']} {item['subtask']}", item["split"]].append(good)
    splits = list(dict.fromkeys(split for _, split in cells))
    rows = [f"| task | {' | '.join(splits)} |", "|---|" + "---|" * len(splits)]
    for task in dict.fromkeys(task for task, _ in cells):
        rows.append(f"| {task} | {' | '.join(_share(cells[task, split]) for split in splits)} |")
    return "\n".join(rows)


def _share(right: list[bool]) -> str:
    if not right:
        return "-"
    share, count = sum(right) / len(right), len(right)
    return f"{share:.3f} ± {math.sqrt(share * (1 - share) / count):.3f} (n={count})"


def key_report(items: list[dict], answers: list[str]) -> str:
    """For the extractions: the share of valid JSON, and per key the share of right values."""
    hits: dict[str, list[bool]] = defaultdict(list)
    valid = []
    for item, answer in zip(items, answers, strict=True):
        if item["task"] == "extract":
            truth, got = json.loads(item["answer"]), _parsed(answer)
            valid.append(got is not None)
            for key, value in truth.items():
                hits["null" if value is None else key].append((got or {}).get(key, "absent") == value)
    rows = [f"{key} {sum(good)}/{len(good)}" for key, good in sorted(hits.items())]
    return f"valid JSON {sum(valid)}/{len(valid)}; values right: {', '.join(rows)}"


def _parsed(text: str) -> dict | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("gguf", type=Path)
    parser.add_argument("--set", default="eval.jsonl", help="evaluation set beside this file")
    parser.add_argument("--answers", type=Path, help="write every answer here, as JSON lines")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    items = read_items(HERE / arguments.set)
    answers = generate(arguments.gguf, items, arguments.threads)
    right = [answer == item["answer"] for item, answer in zip(items, answers)]
    print(table(items, right))
    print(key_report(items, answers))
    if arguments.answers:
        rows = [json.dumps(item | {"got": got}, ensure_ascii=False) for item, got in zip(items, answers)]
        arguments.answers.write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
