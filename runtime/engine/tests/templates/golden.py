"""What Python's jinja2 makes of real chat templates, as digests: the reference for the engine's own renderer.

    python golden.py DIR > golden.tsv

DIR holds the templates (`*.jinja`). They and their texts belong to their authors and are not kept here: a line of
golden.tsv is a template's name, a digest of the template, the name of a conversation, and a digest of what became of
it, or `refused`. The settings are those of Hugging Face's `apply_chat_template`.
"""

import datetime
import hashlib
import json
import pathlib
import sys

import jinja2
import jinja2.ext
import jinja2.sandbox

TOOL = {
    "type": "function",
    "function": {
        "name": "disk_usage",
        "description": "Tells how full a disk is: <50% is fine & dandy.",
        "parameters": {
            "type": "object",
            "properties": {"device": {"type": "string", "description": "its \"name\""}, "depth": {"type": "integer"}},
            "required": ["device"],
        },
    },
}
USER = {"role": "user", "content": " How full is sda1? \n"}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "call00001", "type": "function", "function": {"name": "disk_usage", "arguments": {"device": "sda1", "depth": 2}}}
    ],
}
RESULT = {"role": "tool", "content": "93 %", "tool_call_id": "call00001"}
CONVERSATIONS = {
    "one": ([USER], None, True),
    "turns": (
        [
            {"role": "system", "content": "Be brief.\nVery brief."},
            USER,
            {"role": "assistant", "content": "93 % — naïvely counted."},
            {"role": "user", "content": "Und sdb1? 🦢"},
        ],
        None,
        True,
    ),
    "closed": ([USER, {"role": "assistant", "content": "93 %"}], None, False),
    "tools": ([USER], [TOOL], True),
    "called": ([USER, CALL, RESULT], [TOOL], True),
}
NOW = datetime.datetime.now()
DATES = ("%d %b %Y", "%Y-%m-%d", "%B %d, %Y", "%d %B %Y", "%Y-%m-%d")


class Generation(jinja2.ext.Extension):
    """`{% generation %}` marks what to train on; it renders as what is inside."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = refuse
    env.globals["strftime_now"] = NOW.strftime
    return env


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def without_date(text):
    for form in DATES:
        text = text.replace(NOW.strftime(form), "DATE")
    return text


def main():
    env = environment()
    for path in sorted(pathlib.Path(sys.argv[1]).glob("*.jinja")):
        source = path.read_text()
        for name, (messages, tools, cue) in CONVERSATIONS.items():
            try:
                text = env.from_string(source).render(
                    messages=messages, tools=tools, add_generation_prompt=cue, bos_token="<s>", eos_token="</s>"
                )
                outcome = digest(without_date(text))
            except Exception as error:
                print(f"{path.name} {name}: {error}", file=sys.stderr)
                outcome = "refused"
            print(path.stem, digest(source), name, outcome, sep="\t")


main()
