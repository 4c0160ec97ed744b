"""Questions about a line, each with the one answer that is right.

The first form of every question is the one that pipelines send; the others are paraphrases for training.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

from .lines import SEVERITIES, Line, services
from .values import KEYS, NUMBER_KEYS

DEFAULT_KEYS = ("service", "host", "ip", "user", "port")
SUBSYSTEMS = tuple(sorted({event.subsystem for service in services() for event in service.events}))
ABSENT = "none"
OTHER_SCALES = (
    ("info", "warning", "error"),
    ("normal", "warning", "error"),
    ("fine", "degraded", "broken"),
    ("low", "medium", "high"),
    ("green", "yellow", "red"),
    ("good", "doubtful", "bad"),
)

FITS = "Which one fits"
SEVERITY_QUESTIONS = (
    "Severity of this line",
    "Severity",
    "How severe is this",
    "How bad is this",
    "Rate this line",
    "State",
)
SUBSYSTEM_QUESTIONS = ("Subsystem", "Which part of the machine", "What is this about", "Topic of this line", "Area")
SERVICE_QUESTIONS = ("Which service wrote this", "Service", "Which program", "Who wrote this line")
ATTENTION_QUESTIONS = ("Does this need attention", "Must someone look at this", "Is action needed", "Should I care")
EXTRACT_FORMS = (
    "Extract as JSON: {keys}",
    "Extract {keys} as JSON",
    "JSON with {keys}",
    "Give me {keys} as JSON:",
    "Fields as JSON: {keys}",
)
NAMED_FORMS = ("Which {key} is named?", "Which {key}?", "What is the {key}?", "Name the {key}.", "{key}?")
HAPPENED_FORMS = (
    "What happened?",
    "What does this line report?",
    "What is going on?",
    "What is this?",
    "Explain this line.",
)
SUMMARY_FORMS = ("Summarize in one sentence:", "Summarize:", "Summarize this.", "Summary:", "In one sentence:")
MAIN_FORM_SHARE = 0.6


@dataclass(frozen=True)
class Question:
    """A question without its line, and its answer."""

    task: str
    subtask: str
    text: str
    answer: str
    choices: tuple[str, ...] = ()
    keys: tuple[str, ...] = field(default=())

    def about(self, line: str) -> str:
        """The full user message."""
        return f"{self.text}\n{line}"


class TaskMaker:
    """Draws questions; `plain` keeps to the forms that pipelines send, as the evaluation does."""

    def __init__(self, rng: random.Random, plain: bool = False):
        self.rng = rng
        self.plain = plain

    def severity(self, line: Line) -> Question:
        scale, answer = SEVERITIES, line.severity
        if not self.plain and self.rng.random() < 0.1:
            scale = self.rng.choice(OTHER_SCALES)
            answer = scale[SEVERITIES.index(line.severity)]
        choices = list(scale)
        if not self.plain and self.rng.random() < 0.2:
            self.rng.shuffle(choices)
            dropped = self.rng.choice([choice for choice in choices if choice != answer])
            choices = [choice for choice in choices if choice != dropped or self.rng.random() < 0.5]
        return self._choice("severity", self._asked(SEVERITY_QUESTIONS), choices, answer)

    def attention(self, line: Line) -> Question:
        question = ATTENTION_QUESTIONS[0] if self._main() else self.rng.choice(ATTENTION_QUESTIONS)
        return self._choice("attention", question, ["yes", "no"], needs_attention(line))

    def subsystem(self, line: Line) -> Question:
        choices = self._with_others(line.subsystem, SUBSYSTEMS)
        return self._choice("subsystem", self._asked(SUBSYSTEM_QUESTIONS), choices, line.subsystem)

    def service(self, line: Line) -> Question:
        """Asks for the tag of the line among tags of other services; the line must show it or be of a known service."""
        tags = [tag for service in services() for tag in service.tags if line.service not in service.tags]
        choices = self._with_others(line.service, tags)
        return self._choice("service", self._asked(SERVICE_QUESTIONS), choices, line.service)

    def extract(self, line: Line) -> Question:
        keys = DEFAULT_KEYS if self.rng.random() < 0.25 else self._some_keys(line)
        text = self._form(EXTRACT_FORMS).format(keys=", ".join(keys))
        return Question("extract", "json", text, as_json(line, keys), keys=tuple(keys))

    def named(self, line: Line) -> Question:
        key = self._some_keys(line)[0]
        text = self._form(NAMED_FORMS).format(key=key)
        return Question("qa", "named", text, line.facts.get(key, ABSENT))

    def happened(self, line: Line) -> Question:
        return Question("qa", "happened", self._form(HAPPENED_FORMS), line.happened)

    def attention_asked(self, line: Line) -> Question:
        forms = tuple(f"{question}?" for question in ATTENTION_QUESTIONS)
        return Question("qa", "attention", self._form(forms), needs_attention(line))

    def summary(self, line: Line) -> Question:
        return Question("summarize", "line", self._form(SUMMARY_FORMS), line.summary)

    def _some_keys(self, line: Line) -> list[str]:
        """One to seven keys in random order, about two in three of them named in the line."""
        wanted = self.rng.choice((1, 2, 3, 3, 4, 5, 6, 7))
        present, absent = list(line.facts), [key for key in KEYS if key not in line.facts]
        named = sum(self.rng.random() < 0.65 for _ in range(wanted))
        named = min(named, len(present))
        keys = self.rng.sample(present, named) + self.rng.sample(absent, max(1, wanted) - named)
        self.rng.shuffle(keys)
        return keys

    def _with_others(self, answer: str, pool) -> list[str]:
        others = sorted(set(pool) - {answer})
        choices = [answer, *self.rng.sample(others, self.rng.randint(1, 7))]
        self.rng.shuffle(choices)
        return choices

    def _choice(self, subtask: str, question: str, choices: list[str], answer: str) -> Question:
        text = f"{question}: {', '.join(choices[:-1])} or {choices[-1]}?"
        return Question("classify", subtask, text, answer, choices=tuple(choices))

    def _asked(self, questions: tuple[str, ...]) -> str:
        """`Which one fits`, or a question of the caller's own."""
        if self.plain:
            return FITS if self.rng.random() < 0.7 else questions[0]
        return FITS if self._main() else self.rng.choice(questions)

    def _form(self, forms: tuple[str, ...]) -> str:
        return forms[0] if self._main() else self.rng.choice(forms)

    def _main(self) -> bool:
        return self.plain or self.rng.random() < MAIN_FORM_SHARE


def needs_attention(line: Line) -> str:
    return "no" if line.severity == "ok" else "yes"


def as_json(line: Line, keys) -> str:
    """Compact JSON: the asked keys in their order, numbers as written in the line, null for what it does not name."""
    return "{" + ",".join(f'"{key}":{_json_value(line, key)}' for key in keys) + "}"


def _json_value(line: Line, key: str) -> str:
    if key not in line.facts:
        return "null"
    value = line.facts[key]
    return value if key in NUMBER_KEYS else json.dumps(value, ensure_ascii=False)
