"""The times of `dunlin bench` against those of the client of OpenAI, on one server: the same prompts, one after another.

Says as JSON what it measured: medians in milliseconds, tokens as the server counted them, pieces with text."""

import json
import statistics
import sys
import time

from openai import OpenAI

URL, MODEL, TRACE = sys.argv[1], sys.argv[2], sys.argv[3]
client = OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0, timeout=60)
lines = [json.loads(line) for line in open(TRACE)]


def one(prompt, most):
    began = time.perf_counter()
    first, pieces, tokens = None, 0, 0
    stream = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": prompt}],
        max_tokens=most,
        temperature=0,
        seed=7,
        stream=True,
        stream_options={"include_usage": True},
    )
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            first = first or time.perf_counter()
            pieces += 1
        if chunk.usage:
            tokens = chunk.usage.completion_tokens
    end = time.perf_counter()
    return (first - began) * 1e3, (end - first) * 1e3 / max(1, tokens - 1), tokens, pieces


# So that the server holds all of the prompts, whoever asks next.
for line in lines:
    one(line["prompt"], 2)
answers = [one(line["prompt"], line["max_tokens"]) for line in lines]
print(
    json.dumps(
        {
            "ttft_ms": statistics.median(answer[0] for answer in answers),
            "tpot_ms": statistics.median(answer[1] for answer in answers),
            "tokens": sum(answer[2] for answer in answers),
            "pieces": sum(answer[3] for answer in answers),
        }
    )
)
