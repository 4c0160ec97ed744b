"""The notation of the phrase files, parsed once and expanded at random.

`{a|b}` is a choice (it may nest, an alternative may be empty), `<user>` a slot, `<percent:80-94>` a number slot
with its range, `<word2>` a second value of the kind `word`. Everything else stands for itself. The label of an event
adds `[...]`: an optional part, used when all of its slots are bound.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

SLOT = re.compile(r"<([a-z]+)(\d?)(?::(-?[\d.]+)-(-?[\d.]+))?>")
OPTIONAL = re.compile(r"\s*\[([^\]]*)\]")


@dataclass(frozen=True)
class Slot:
    """A place for a value: its kind, a number that tells equal kinds apart, and a range where one is given."""

    kind: str
    ordinal: str
    low: str | None
    high: str | None

    @property
    def name(self) -> str:
        return self.kind + self.ordinal


@dataclass(frozen=True)
class Choice:
    """Alternatives of equal weight."""

    alternatives: tuple[tuple, ...]


def parse(text: str) -> tuple:
    """Parse a phrase into a sequence of `str`, `Slot` and `Choice`; raises ValueError on unbalanced braces."""
    sequence, end = _sequence(text, 0, depth=0)
    if end != len(text):
        raise ValueError(f"unbalanced braces in {text!r}")
    return sequence


def _sequence(text: str, at: int, depth: int) -> tuple[tuple, int]:
    nodes: list = []
    while at < len(text):
        letter = text[at]
        if letter == "{":
            choice, at = _choice(text, at + 1, depth + 1)
            nodes.append(choice)
        elif letter in "|}" and depth:
            break
        elif match := SLOT.match(text, at):
            nodes.append(Slot(*match.groups()))
            at = match.end()
        else:
            nodes.append(letter)
            at += 1
    return _merge_letters(nodes), at


def _choice(text: str, at: int, depth: int) -> tuple[Choice, int]:
    alternatives = []
    while True:
        sequence, at = _sequence(text, at, depth)
        alternatives.append(sequence)
        if at >= len(text):
            raise ValueError(f"unbalanced braces in {text!r}")
        if text[at] == "}":
            return Choice(tuple(alternatives)), at + 1
        at += 1


def _merge_letters(nodes: list) -> tuple:
    merged: list = []
    for node in nodes:
        if isinstance(node, str) and merged and isinstance(merged[-1], str):
            merged[-1] += node
        else:
            merged.append(node)
    return tuple(merged)


def expand(sequence: tuple, rng: random.Random, value_of: Callable[[Slot], str]) -> str:
    """One random expansion; `value_of` supplies (and may record) the text of each slot met."""
    parts = []
    for node in sequence:
        if isinstance(node, str):
            parts.append(node)
        elif isinstance(node, Slot):
            parts.append(value_of(node))
        else:
            parts.append(expand(rng.choice(node.alternatives), rng, value_of))
    return "".join(parts)


def slots(sequence: tuple) -> list[Slot]:
    """All slots anywhere in a parsed phrase."""
    found = []
    for node in sequence:
        if isinstance(node, Slot):
            found.append(node)
        elif isinstance(node, Choice):
            for alternative in node.alternatives:
                found += slots(alternative)
    return found


def brief(label: str) -> str:
    """The label of an event without its optional parts: the answer to "What happened?"."""
    return OPTIONAL.sub("", label).strip()


def detailed(label: str, bound: dict[str, str]) -> str:
    """The label with the optional parts whose slots are all in `bound`; one that starts with a slot gets a colon."""

    def part(match: re.Match) -> str:
        names = [slot.group(1) + slot.group(2) for slot in SLOT.finditer(match.group(1))]
        if any(name not in bound for name in names):
            return ""
        lead = ": " if match.group(1).startswith("<") else " "
        return lead + SLOT.sub(lambda slot: bound[slot.group(1) + slot.group(2)], match.group(1))

    return OPTIONAL.sub(part, label).strip()
