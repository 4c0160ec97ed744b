"""Chats for training: one or several turns about one or several lines, and small talk."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import grammar
from .lines import SEVERITIES, Line, LineMaker
from .tasks import Question, TaskMaker

SYSTEM_SHARE = 0.15
SMALLTALK_SHARE = 0.05
REPORT_SHARE = 0.02
SHAPES = (("single", 0.4), ("one line", 0.45), ("many lines", 0.15))
EVEN_TASKS = (
    ("extract", 0.37),
    ("severity", 0.2),
    ("named", 0.1),
    ("subsystem", 0.07),
    ("summary", 0.08),
    ("happened", 0.07),
    ("attention", 0.04),
    ("attention_asked", 0.04),
    ("service", 0.03),
)
SHARP_TASKS = (
    ("extract", 0.4),
    ("severity", 0.3),
    ("named", 0.09),
    ("subsystem", 0.07),
    ("summary", 0.03),
    ("happened", 0.03),
    ("attention", 0.03),
    ("attention_asked", 0.03),
    ("service", 0.02),
)
SYSTEM_MESSAGES = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer briefly.",
    "Answer in as few words as possible.",
    "You are an assistant for operators of small machines.",
    "You read log lines. Answer with the result only.",
    "Be concise.",
    "You are a log analyst.",
    "Answer only with valid JSON when asked for JSON.",
    "You are the assistant of <word>.",
    "You help the user <word> with the host <word>.",
    "Do not explain.",
    "Today is <word>. Answer truthfully and briefly.",
)


@dataclass(frozen=True)
class Mix:
    """What chats are made of: how often each task; the shares of made-up lines among all, of drills among those whose
    values are asked for, of lines of the programs in `services-further` among those of a program, and of questions in
    the very words of the pipelines, whatever the others are drawn from."""

    tasks: tuple[tuple[str, float], ...]
    generic: float
    drills: float
    further: float
    plain: float


EVEN = Mix(EVEN_TASKS, generic=0.42, drills=0.06, further=0.0, plain=0.0)
SHARP = Mix(SHARP_TASKS, generic=0.36, drills=0.1, further=0.35, plain=0.4)
"""Leans to severity and extraction, in more words than `EVEN` has."""


@dataclass(frozen=True)
class Turn:
    user: str
    assistant: str


@dataclass(frozen=True)
class Chat:
    """A conversation: an optional system message, then turns."""

    system: str | None
    turns: tuple[Turn, ...]


class ChatMaker:
    """Draws chats of the training set; the same seed gives the same chats."""

    def __init__(self, seed: str, pieces: tuple[str, ...] = (), mix: Mix = EVEN):
        self.rng = random.Random(seed)
        self.mix = mix
        self.lines = LineMaker(self.rng, "train", pieces)
        self.tasks = TaskMaker(self.rng)
        self.plain_tasks = TaskMaker(self.rng, plain=True)

    def chat(self) -> Chat:
        roll = self.rng.random()
        if roll < SMALLTALK_SHARE:
            turns = [self._small_talk() for _ in range(self.rng.randint(1, 3))]
        elif roll < SMALLTALK_SHARE + REPORT_SHARE:
            turns = [self._report()]
        else:
            turns = self._line_turns()
        if len(turns) > 1 and self.rng.random() < SMALLTALK_SHARE:
            turns.insert(self.rng.randrange(len(turns)), self._small_talk())
        return Chat(self._system(), tuple(turns))

    def _system(self) -> str | None:
        if self.rng.random() >= SYSTEM_SHARE:
            return None
        message = grammar.parse(self.rng.choice(SYSTEM_MESSAGES))
        return grammar.expand(message, self.rng, self.lines.values.of)

    def _line_turns(self) -> list[Turn]:
        shape = _draw(self.rng, SHAPES)
        if shape == "many lines":
            return [self._turn(*self._task()) for _ in range(self.rng.randint(2, 6))]
        name, line = self._task()
        first = self._turn(name, line)
        if shape == "single":
            return [first]
        return [first, *(self._follow_up(line) for _ in range(self.rng.randint(1, 4)))]

    def _task(self) -> tuple[str, Line]:
        name = _draw(self.rng, self.mix.tasks)
        return name, self._line(name)

    def _line(self, task: str) -> Line:
        if task in ("extract", "named") and self.rng.random() < self.mix.drills:
            return self.lines.drill_line()
        tagged = task == "service"
        if self.rng.random() < self.mix.generic:
            return self.lines.generic_line(tagged)
        if self.mix.further and self.rng.random() < self.mix.further:
            return self.lines.further_line(tagged)
        return self.lines.known_line("train", tagged)

    def _turn(self, task: str, line: Line) -> Turn:
        question = self._question(task, line)
        if task == "summary" and self.rng.random() < 0.1:
            return Turn(f"Summarize: {line.text}", question.answer)
        return Turn(question.about(line.text), question.answer)

    def _follow_up(self, line: Line) -> Turn:
        """A further question about the same line, mostly without repeating it."""
        question = self._question(_draw(self.rng, self.mix.tasks[:-1]), line)
        return Turn(question.about(line.text) if self.rng.random() < 0.25 else question.text, question.answer)

    def _question(self, task: str, line: Line) -> Question:
        plain = self.mix.plain and self.rng.random() < self.mix.plain
        return getattr(self.plain_tasks if plain else self.tasks, task)(line)

    def _report(self) -> Turn:
        """Three to eight lines, summed up by the most severe of them, the first of equals."""
        lines = [self._line("summary") for _ in range(self.rng.randint(3, 8))]
        question = self.tasks.summary(worst(lines))
        return Turn(question.about("\n".join(line.text for line in lines)), question.answer)

    def _small_talk(self) -> Turn:
        asked, answers = self.rng.choice(_small_talk_groups())
        text = grammar.expand(asked, self.rng, self.lines.values.of)
        form = self.rng.random()
        text = text[0].upper() + text[1:] if form < 0.6 else text.upper() if form > 0.98 else text
        return Turn(text, self.rng.choice(answers))


def worst(lines: list[Line]) -> Line:
    """The most severe line, the first of equals."""
    return max(lines, key=lambda line: SEVERITIES.index(line.severity))


def _draw(rng: random.Random, weighted: tuple[tuple[str, float], ...]) -> str:
    names, weights = zip(*weighted)
    return rng.choices(names, weights)[0]


@cache
def _small_talk_groups() -> list[tuple[tuple, tuple[str, ...]]]:
    """Pairs of a parsed way to ask and the answers that fit it."""
    groups = []
    for paragraph in (Path(__file__).parent / "smalltalk.txt").read_text().split("\n\n"):
        rows = [row for row in paragraph.splitlines() if row[:1] in "?!"]
        answers = tuple(row[2:] for row in rows if row.startswith("!"))
        groups += [(grammar.parse(row[2:]), answers) for row in rows if row.startswith("?")]
    return groups
