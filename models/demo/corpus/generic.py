"""Compositional lines: subject, event, details and tail at random, so that words carry over to new programs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import grammar

SLOT_SUBJECT_SHARE = 0.4
EPITHET_SHARE = 0.3
STATE_SHARE = 0.35
TAIL_SHARE = 0.35
HARD_KEYS = ("mac", "mac", "ip", "version", "path", "container", "process", "unit")
DETAIL_COUNTS = (0, 0, 1, 1, 2, 2, 3, 4)


@dataclass(frozen=True)
class Draft:
    """A phrasing that was made up, and the event it stands for."""

    sequence: tuple
    severity: str
    subsystem: str
    label: str


@dataclass(frozen=True)
class _Parts:
    subjects: dict[str, list[str]]
    named: list[tuple[str, str, list[str]]]
    events: dict[str, list[tuple[str, str]]]
    states: dict[str, list[str]]
    tails: dict[str, list[str]]
    details: dict[str, list[str]]


@cache
def _parts() -> _Parts:
    sections = _sections((Path(__file__).parent / "generic.txt").read_text())
    return _Parts(
        {key: row.split(", ") for key, row in _keyed(sections["subjects"])},
        [(*key.split(" "), row.split(" | ")) for key, row in _keyed(sections["named"])],
        _events(sections["events"]),
        {key: row.split(" | ") for key, row in _keyed(sections["states"])},
        {key: row.split(" | ") for key, row in _keyed(sections["tails"])},
        {key: row.split(" | ") for key, row in _keyed(sections["details"])},
    )


def _sections(text: str) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    for row in text.splitlines():
        if row.startswith("["):
            rows = sections.setdefault(row.strip("[]"), [])
        elif row.strip() and not row.startswith("#"):
            rows.append(row)
    return sections


def _keyed(rows: list[str]) -> list[tuple[str, str]]:
    return [tuple(row.split(": ", 1)) for row in rows]


def _events(rows: list[str]) -> dict[str, list[tuple[str, str]]]:
    """Severity -> (label, phrasings), from pairs of rows."""
    events: dict[str, list[tuple[str, str]]] = {}
    for head, phrasings in zip(rows[::2], rows[1::2], strict=True):
        severity, label = head.split(" ", 1)
        events.setdefault(severity, []).append((label, phrasings.strip()))
    return events


def draft(rng: random.Random) -> Draft:
    """One made-up phrasing; severities are equally likely."""
    parts = _parts()
    subsystem, noun, subject, label_tail = _subject(rng, parts)
    severity = rng.choice(list(parts.events))
    label, phrasings = _event(rng, parts, severity)
    text = rng.choice(_FRAMES)(subject, phrasings) if subject[-1] not in ":," else f"{subject} {phrasings}"
    taken = {slot.kind for slot in grammar.slots(grammar.parse(text))}
    text += _details(rng, parts.details, taken)
    if rng.random() < TAIL_SHARE:
        tail = rng.choice(parts.tails[severity])
        text += tail if tail.startswith(",") else f" {tail}"
    return Draft(grammar.parse(text), severity, subsystem, f"{noun} {label}{label_tail}")


def drill(rng: random.Random) -> tuple:
    """Details alone, those that are hard to copy more often."""
    details = _parts().details
    keys = set(rng.choices(HARD_KEYS, k=rng.randint(1, 2)) + rng.sample(list(details), rng.randint(1, 4)))
    chosen = [rng.choice(details[key]) for key in rng.sample(sorted(keys), len(keys))]
    return grammar.parse(rng.choice((" ", ", ", "; ")).join(chosen))


def _event(rng: random.Random, parts: _Parts, severity: str) -> tuple[str, str]:
    """A label and its phrasings: an event with its synonyms, or a bare state."""
    if rng.random() < STATE_SHARE:
        state = rng.choice(parts.states[severity])
        return state, rng.choice(_STATE_FRAMES).format(state=state)
    return rng.choice(parts.events[severity])


_STATE_FRAMES = (
    "{state}",
    "{state}",
    "is {state}",
    "was {state}",
    "found {state}",
    "now {state}",
    "has been {state}",
    "became {state}",
)
_FRAMES = (
    lambda subject, event: f"{subject} {event}",
    lambda subject, event: f"{subject} {event}",
    lambda subject, event: f"{subject}: {event}",
    lambda subject, event: f"{event}: {subject}",
)


def _subject(rng: random.Random, parts: _Parts) -> tuple[str, str, str, str]:
    """Subsystem, noun, subject text, and the optional part of the label that names the subject."""
    if rng.random() < SLOT_SUBJECT_SHARE:
        subsystem, noun, forms = rng.choice(parts.named)
        form = rng.choice(forms)
        return subsystem, noun, form, f" [{grammar.SLOT.search(form).group()}]"
    subsystem = rng.choice(list(parts.subjects))
    noun = rng.choice(parts.subjects[subsystem])
    return subsystem, noun, _dressed(rng, noun), ""


def _dressed(rng: random.Random, noun: str) -> str:
    """The noun, sometimes with an article, a name of its own or a capital."""
    subject = rng.choice((noun, noun, f"the {noun}"))
    if rng.random() < EPITHET_SHARE:
        subject = rng.choice((f"{noun} <word>", f"{noun} '<word>'", f"{noun} <n:1-40>", f"<word> {noun}"))
    return subject[0].upper() + subject[1:] if subject[0].isalpha() and rng.random() < 0.3 else subject


def _details(rng: random.Random, details: dict[str, list[str]], taken: set[str]) -> str:
    """Some of the keys, each with one of its cues, joined as loggers do."""
    free = [key for key in details if key not in taken]
    chosen = [rng.choice(details[key]) for key in rng.sample(free, rng.choice(DETAIL_COUNTS))]
    separator = rng.choice((" ", " ", ", ", "; "))
    return rng.choice((" ", ", ", ": ", " - ")) + separator.join(chosen) if chosen else ""
