"""LangChain, LiteLLM, and the clients of Anthropic and Ollama against a running fleet."""

import json
import os
import sys

URL, MODEL = sys.argv[1], sys.argv[2]
# Neither of them is to ask anybody else.
os.environ.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LANGCHAIN_TRACING_V2="false")

PARAMETERS = {
    "type": "object",
    "properties": {"unit": {"enum": ["sshd", "nginx"]}},
    "required": ["unit"],
    "additionalProperties": False,
}
# By one key it is one answer, however often and in whatever pieces it is told.
KEY = "Idempotency-Key"
ask = "kernel: EXT4-fs error on sda1. What is wrong?"


def langchain():
    from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings

    common = {"base_url": f"{URL}/v1", "api_key": "none", "model": MODEL, "temperature": 0, "max_retries": 0}
    once = ChatOpenAI(max_tokens=8, default_headers={KEY: "langchain"}, **common)
    answer = once.invoke([HumanMessage(ask)])
    assert isinstance(answer, AIMessage) and answer.content and answer.usage_metadata["output_tokens"] <= 8
    streamed = "".join(str(piece.content) for piece in once.stream(ask))
    assert streamed == answer.content, (streamed, answer.content)
    chat = ChatOpenAI(max_tokens=8, **common)

    @tool
    def restart(unit: str) -> str:
        """Restarts a unit."""
        return "done"

    called = ChatOpenAI(max_tokens=200, **common)
    bound = called.bind_tools([restart], tool_choice="required")
    call = bound.invoke(ask)
    assert call.tool_calls[0]["name"] == "restart", call
    chat.bind_tools([restart]).invoke([HumanMessage(ask), call, ToolMessage("done", tool_call_id=call.tool_calls[0]["id"])])
    schema = {"title": "Level", "type": "object", "properties": {"level": {"enum": ["low", "high"]}}, "required": ["level"], "additionalProperties": False}
    found = called.with_structured_output(schema, method="json_schema", strict=True).invoke(ask)
    assert found["level"] in ("low", "high")
    vectors = OpenAIEmbeddings(base_url=f"{URL}/v1", api_key="none", model=MODEL, check_embedding_ctx_length=False, max_retries=0)
    assert len(vectors.embed_documents(["a", "b"])) == 2


def litellm():
    import litellm as client

    client.telemetry = False
    common = {"model": f"openai/{MODEL}", "api_base": f"{URL}/v1", "api_key": "none", "max_tokens": 8, "temperature": 0}
    once = {"messages": [{"role": "user", "content": ask}], "extra_headers": {KEY: "litellm"}}
    answer = client.completion(**once, **common)
    text = answer.choices[0].message.content
    assert text and answer.usage.completion_tokens <= 8
    streamed = client.completion(stream=True, **once, **common)
    assert "".join(piece.choices[0].delta.content or "" for piece in streamed) == text
    embedded = client.embedding(model=f"openai/{MODEL}", api_base=f"{URL}/v1", api_key="none", input=["a"])
    assert len(embedded.data) == 1


def anthropic():
    from anthropic import Anthropic, NotFoundError

    client = Anthropic(base_url=URL, api_key="none", max_retries=0, timeout=60)
    messages = [{"role": "user", "content": ask}]
    once = {"max_tokens": 8, "messages": messages, "system": "Be brief.", "extra_headers": {KEY: "anthropic"}}
    answer = client.messages.create(model=MODEL, **once)
    assert answer.content[0].type == "text" and answer.usage.output_tokens <= 8
    assert answer.stop_reason in ("end_turn", "max_tokens")
    with client.messages.stream(model=MODEL, **once) as stream:
        assert "".join(stream.text_stream) == answer.content[0].text
        assert stream.get_final_message().usage.output_tokens == answer.usage.output_tokens
    tool = {"name": "restart", "description": "Restarts a unit.", "input_schema": PARAMETERS}
    called = client.messages.create(
        model=MODEL, max_tokens=100, messages=messages, tools=[tool], tool_choice={"type": "any"}
    )
    use = called.content[-1]
    assert called.stop_reason == "tool_use" and use.input["unit"] in ("sshd", "nginx")
    with client.messages.stream(
        model=MODEL, max_tokens=100, messages=messages, tools=[tool], tool_choice={"type": "tool", "name": "restart"}
    ) as stream:
        assert stream.get_final_message().content[-1].input["unit"] in ("sshd", "nginx")
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "done"}
    client.messages.create(
        model=MODEL, max_tokens=4, tools=[tool],
        messages=[*messages, {"role": "assistant", "content": called.content}, {"role": "user", "content": [result]}],
    )
    try:
        client.messages.create(model="nothing", max_tokens=4, messages=messages)
        raise AssertionError("an unknown model was answered")
    except NotFoundError as error:
        assert error.body["error"]["type"] == "not_found_error"


def ollama():
    from ollama import Client, ResponseError

    client = Client(host=URL, timeout=60)
    assert MODEL in [model.model for model in client.list().models]
    assert client.show(MODEL).details.format == "gguf"
    options = {"temperature": 0, "num_predict": 8, "seed": 1}
    messages = [{"role": "user", "content": ask}]
    once = Client(host=URL, timeout=60, headers={KEY: "ollama"})
    answer = once.chat(model=MODEL, messages=messages, options=options)
    assert answer.done and answer.message.content and answer.eval_count <= 8
    pieces = list(once.chat(model=MODEL, messages=messages, options=options, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == answer.message.content and pieces[-1].done
    assert client.generate(model=MODEL, prompt=ask, options=options).response
    assert client.generate(model=MODEL, prompt=ask, options=options, raw=True).response
    schema = {"type": "object", "properties": {"level": {"enum": ["low", "high"]}}, "required": ["level"]}
    found = client.chat(model=MODEL, messages=messages, format=schema, options={"temperature": 0, "num_predict": 200})
    assert json.loads(found.message.content)["level"] in ("low", "high")
    tool = {"type": "function", "function": {"name": "restart", "description": "d", "parameters": PARAMETERS}}
    client.chat(model=MODEL, messages=messages, tools=[tool], options=options)
    try:
        client.chat(model="nothing", messages=messages)
        raise AssertionError("an unknown model was answered")
    except ResponseError as error:
        assert error.status_code == 404


for check in (langchain, litellm, anthropic, ollama):
    check()
    print(check.__name__, "ok", flush=True)
