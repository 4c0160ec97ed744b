"""The client of OpenAI for Python against a running fleet: each check says what it is about, and fails with what it saw."""

import asyncio
import json
import math
import sys

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

URL, MODEL = sys.argv[1], sys.argv[2]
client = OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0, timeout=60)
ask = [{"role": "user", "content": "kernel: EXT4-fs error on sda1. What is wrong?"}]


def models():
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).object == "model"


def whole():
    answer = client.chat.completions.create(model=MODEL, messages=ask, max_tokens=12, temperature=0, seed=1)
    choice = answer.choices[0]
    assert choice.message.role == "assistant" and choice.message.content, answer
    assert choice.finish_reason in ("stop", "length"), answer
    usage = answer.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens and usage.completion_tokens <= 12
    extra = answer.model_extra
    assert extra["timings"]["ttft_ms"] > 0 and extra["dunlin"]["node"], extra
    limited = client.chat.completions.create(model=MODEL, messages=ask, max_completion_tokens=2, temperature=0)
    assert limited.usage.completion_tokens <= 2


def stream():
    """By one key it is one answer, told twice."""
    once = {"Idempotency-Key": "python-stream"}
    pieces = list(
        client.chat.completions.create(
            model=MODEL, messages=ask, max_tokens=12, stream=True, stream_options={"include_usage": True}, extra_headers=once
        )
    )
    whole = client.chat.completions.create(model=MODEL, messages=ask, max_tokens=12, extra_headers=once)
    text = "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices)
    assert text == whole.choices[0].message.content, (text, whole)
    assert pieces[0].choices[0].delta.role == "assistant"
    assert pieces[-1].choices == [] and pieces[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert pieces[-2].choices[0].finish_reason in ("stop", "length")


def several():
    answer = client.chat.completions.create(model=MODEL, messages=ask, max_tokens=4, n=3, temperature=1, seed=7)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    ends = {
        piece.choices[0].index
        for piece in client.chat.completions.create(model=MODEL, messages=ask, max_tokens=4, n=2, stream=True)
        if piece.choices and piece.choices[0].finish_reason
    }
    assert ends == {0, 1}


def stops():
    cut = client.chat.completions.create(model=MODEL, messages=ask, max_tokens=24, temperature=0, stop=[" ", "\n"])
    assert " " not in cut.choices[0].message.content and cut.choices[0].finish_reason == "stop", cut


def logprobs():
    answer = client.chat.completions.create(
        model=MODEL, messages=ask, max_tokens=4, temperature=0, logprobs=True, top_logprobs=2
    )
    tokens = answer.choices[0].logprobs.content
    assert 1 <= len(tokens) <= 4 and all(token.logprob <= 0 and len(token.top_logprobs) == 2 for token in tokens)
    biased = client.chat.completions.create(
        model=MODEL, messages=ask, max_tokens=4, temperature=0, frequency_penalty=1, presence_penalty=1, top_p=0.9,
        logit_bias={"5": -100},
    )
    assert biased.choices[0].message.content is not None


class Reading(BaseModel):
    severity: str
    ok: bool


def structured():
    free = client.chat.completions.create(
        model=MODEL, messages=ask, max_tokens=200, temperature=0, response_format={"type": "json_object"}
    )
    if free.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(free.choices[0].message.content), dict)
    schema = {
        "type": "object",
        "properties": {"severity": {"enum": ["ok", "warning", "critical"]}, "count": {"type": "integer", "minimum": 0, "maximum": 9}},
        "required": ["severity", "count"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=MODEL, messages=ask, max_tokens=200, temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "r", "schema": schema, "strict": True}},
    )
    found = json.loads(answer.choices[0].message.content)
    assert found["severity"] in ("ok", "warning", "critical") and 0 <= found["count"] <= 9, found


TOOL = {
    "type": "function",
    "function": {
        "name": "restart",
        "description": "Restarts a unit.",
        "parameters": {
            "type": "object",
            "properties": {"unit": {"enum": ["sshd", "nginx"]}},
            "required": ["unit"],
            "additionalProperties": False,
        },
    },
}


def tools():
    named = {"type": "function", "function": {"name": "restart"}}
    for choice in ("required", named):
        answer = client.chat.completions.create(
            model=MODEL, messages=ask, tools=[TOOL], tool_choice=choice, max_tokens=100, temperature=0
        )
        call = answer.choices[0].message.tool_calls[0]
        assert call.function.name == "restart" and json.loads(call.function.arguments)["unit"] in ("sshd", "nginx")
        assert answer.choices[0].finish_reason == "tool_calls"
    result = [
        *ask,
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "done"},
    ]
    told = client.chat.completions.create(model=MODEL, messages=result, tools=[TOOL], max_tokens=4)
    assert told.choices[0].finish_reason in ("stop", "length", "tool_calls")
    arguments, name, identity = "", "", ""
    for piece in client.chat.completions.create(
        model=MODEL, messages=ask, tools=[TOOL], tool_choice="required", max_tokens=100, stream=True, temperature=0
    ):
        for part in (piece.choices and piece.choices[0].delta.tool_calls) or []:
            arguments += part.function.arguments or ""
            name, identity = part.function.name or name, part.id or identity
    assert name == "restart" and identity and json.loads(arguments)["unit"] in ("sshd", "nginx")
    free = client.chat.completions.create(model=MODEL, messages=ask, tools=[TOOL], tool_choice="none", max_tokens=4)
    assert not free.choices[0].message.tool_calls


def completions():
    answer = client.completions.create(model=MODEL, prompt=["kernel: ", "disk: "], max_tokens=4, temperature=0, logprobs=1)
    assert len(answer.choices) == 2 and answer.choices[0].logprobs.tokens
    once = {"Idempotency-Key": "python-completions"}
    echoed = client.completions.create(model=MODEL, prompt="kernel: ", max_tokens=4, echo=True, extra_headers=once)
    assert echoed.choices[0].text.startswith("kernel: ")
    text = "".join(
        piece.choices[0].text
        for piece in client.completions.create(model=MODEL, prompt="kernel: ", max_tokens=4, stream=True, extra_headers=once)
        if piece.choices
    )
    assert "kernel: " + text == echoed.choices[0].text


def embeddings():
    answer = client.embeddings.create(model=MODEL, input=["disk full", "disk nearly full"])
    plain = client.embeddings.create(model=MODEL, input="disk full", encoding_format="float")
    first = answer.data[0].embedding
    assert len(answer.data) == 2 and answer.usage.prompt_tokens > 0
    assert math.isclose(sum(x * x for x in first), 1, rel_tol=1e-3)
    assert all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(first, plain.data[0].embedding))


def responses():
    answer = client.responses.create(model=MODEL, input="kernel: EXT4-fs error", instructions="Be brief.", max_output_tokens=8)
    assert answer.status in ("completed", "incomplete") and answer.output_text
    assert answer.usage.output_tokens <= 8
    kinds, text = [], ""
    with client.responses.stream(model=MODEL, input="kernel: EXT4-fs error", temperature=0, max_output_tokens=8) as events:
        for event in events:
            kinds.append(event.type)
            if event.type == "response.output_text.delta":
                text += event.delta
    assert kinds[0] == "response.created" and kinds[-1] in ("response.completed", "response.incomplete"), kinds
    tool = {"type": "function", "name": "restart", "strict": True, "parameters": TOOL["function"]["parameters"]}
    called = client.responses.create(model=MODEL, input="restart sshd", tools=[tool], tool_choice="required", max_output_tokens=100)
    calls = [item for item in called.output if item.type == "function_call"]
    assert calls[0].name == "restart" and json.loads(calls[0].arguments)
    parsed = client.responses.parse(model=MODEL, input="x", text_format=Limited, temperature=0, max_output_tokens=200)
    assert parsed.output_parsed is not None and parsed.output_parsed.level in ("low", "high")


class Limited(BaseModel):
    level: str

    model_config = {"json_schema_extra": {"properties": {"level": {"enum": ["low", "high"], "type": "string"}}}}


def refusals():
    def status(kind, code, **request):
        try:
            client.chat.completions.create(**request)
        except kind as error:
            assert error.code == code, error
            return error
        raise AssertionError(f"{request} was answered")

    status(openai.NotFoundError, "model_not_found", model="nothing", messages=ask)
    status(openai.BadRequestError, "invalid_value", model=MODEL, messages=[])
    status(openai.BadRequestError, "unknown_parameter", model=MODEL, messages=ask, extra_body={"frobnicate": 1})
    status(openai.BadRequestError, "invalid_value", model=MODEL, messages=ask, temperature=9)
    long = [{"role": "user", "content": "word " * 20000}]
    status(openai.BadRequestError, "context_length_exceeded", model=MODEL, messages=long)
    bomb = {"type": "json_schema", "json_schema": {"name": "b", "schema": {"type": "string", "pattern": "((a{1,99}){1,99}){1,99}"}}}
    status(openai.BadRequestError, "invalid_schema", model=MODEL, messages=ask, response_format=bomb)


async def side_by_side():
    async with AsyncOpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0, timeout=60) as asking:

        async def one(number):
            stream = await asking.chat.completions.create(model=MODEL, messages=ask, max_tokens=6, seed=number, stream=True)
            return [piece async for piece in stream]

        answers = await asyncio.gather(*(one(number) for number in range(4)))
        assert all(answer[-1].choices[0].finish_reason for answer in answers)


def leaves():
    """Who closes a stream cancels it."""
    stream = client.chat.completions.create(model=MODEL, messages=ask, max_tokens=1000, stream=True, logit_bias={})
    next(iter(stream))
    stream.close()


for check in (
    models, whole, stream, several, stops, logprobs, structured, tools, completions, embeddings, responses, refusals,
    lambda: asyncio.run(side_by_side()), leaves,
):
    check()
    print(getattr(check, "__name__", "?"), "ok", flush=True)
