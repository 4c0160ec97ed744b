"""Log lines with everything that is true of them."""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from . import generic, grammar, headers
from .values import KEYS, Values

HERE = Path(__file__).parent
SEVERITIES = ("ok", "warning", "critical")
RANDOM_TAG_SHARE = 0.1
PID_SHARE = 0.5


@dataclass(frozen=True)
class Phrasing:
    """One way to say that an event happened. `part` is "train", "eval" or "final": the set that may use it."""

    sequence: tuple
    part: str


@dataclass(frozen=True)
class Event:
    """Something that a service reports: its severity, the part of the machine concerned, and its phrasings."""

    severity: str
    subsystem: str
    label: str
    phrasings: tuple[Phrasing, ...]


@dataclass(frozen=True)
class Service:
    """A program of a small machine: the tags it writes under and the events it reports."""

    name: str
    tags: tuple[str, ...]
    part: str
    events: tuple[Event, ...]


@dataclass(frozen=True)
class Line:
    """A log line and its truth. `facts` maps each extractable key that is named in the line to its text there."""

    text: str
    facts: dict[str, str]
    severity: str
    subsystem: str
    service: str
    happened: str
    summary: str


@dataclass
class _Binder:
    """Supplies slot values and remembers what each slot was bound to."""

    values: Values
    bound: dict[str, str] = field(default_factory=dict)

    def __call__(self, slot: grammar.Slot) -> str:
        value = self.values.of(slot)
        if self.bound.setdefault(slot.name, value) != value and slot.kind in KEYS:
            raise ValueError(f"key <{slot.name}> twice in one phrasing")
        return value


class LineMaker:
    """Makes lines for one of the three sets: "train", "eval" or "final"."""

    def __init__(self, rng: random.Random, part: str, pieces: tuple[str, ...] = ()):
        self.rng = rng
        self.part = part
        self.values = Values(rng, held=part != "train", pieces=pieces)
        self.known = [service for service in services() if service.part == "train"]

    def known_line(self, phrasing_part: str, tagged: bool = False) -> Line:
        """A line of a service of training, phrased in a way that belongs to `phrasing_part`."""
        while True:
            service = self.rng.choice(self.known)
            severity = self.rng.choice(SEVERITIES)
            event = self.rng.choice([event for event in service.events if event.severity == severity])
            phrasings = [phrasing for phrasing in event.phrasings if phrasing.part == phrasing_part]
            if phrasings:
                return self._line(service, event, self.rng.choice(phrasings), tagged)

    def further_line(self, tagged: bool = False) -> Line:
        """A line of a program that only the larger size is trained with."""
        service = self.rng.choice(further_services())
        severity = self.rng.choice(SEVERITIES)
        event = self.rng.choice([event for event in service.events if event.severity == severity])
        return self._line(service, event, self.rng.choice(event.phrasings), tagged)

    def unseen_line(self, tagged: bool = False) -> Line:
        """A line of a service kept for this maker's evaluation set."""
        service = self.rng.choice([service for service in services() if service.part == self.part])
        severity = self.rng.choice(SEVERITIES)
        event = self.rng.choice([event for event in service.events if event.severity == severity])
        return self._line(service, event, self.rng.choice(event.phrasings), tagged)

    def generic_line(self, tagged: bool = False) -> Line:
        """A line put together from a subject, an event and details that no particular program writes."""
        draft = generic.draft(self.rng)
        return self._finish(draft.sequence, draft.label, draft.severity, draft.subsystem, self._generic_tag(), tagged)

    def drill_line(self) -> Line:
        """Nothing but details, for practice in copying addresses and other hard values."""
        sequence = generic.drill(self.rng)
        return self._finish(sequence, "values listed", "ok", "monitoring", self._generic_tag(), False)

    def _generic_tag(self) -> str:
        if self.rng.random() < 0.5:
            return self.values.named("service")
        return self.rng.choice(self.rng.choice(self.known).tags)

    def _line(self, service: Service, event: Event, phrasing: Phrasing, tagged: bool) -> Line:
        tag = self.rng.choice(service.tags)
        if self.part == "train" and self.rng.random() < RANDOM_TAG_SHARE:
            tag, tagged = self.values.named("service"), True
        return self._finish(phrasing.sequence, event.label, event.severity, event.subsystem, tag, tagged)

    def _finish(self, sequence: tuple, label: str, severity: str, subsystem: str, tag: str, tagged: bool) -> Line:
        binder = _Binder(self.values)
        message = grammar.expand(sequence, self.rng, binder)
        parts = {"service": tag, "host": self.values.named("host")}
        if "pid" not in binder.bound and self.rng.random() < PID_SHARE:
            parts["pid"] = self.values.named("pid")
        level = severity if self.part == "train" else None
        header = headers.render(self.rng, message, parts, level, tagged)
        shown = {key: parts[key] for key in header.shown}
        facts = {key: value for key, value in binder.bound.items() if key in KEYS} | shown
        origin = f"{shown['service']} on {shown['host']}: " if "host" in shown else ""
        origin = origin or (f"{tag}: " if "service" in shown else "")
        summary = f"{origin}{grammar.detailed(label, binder.bound)}."
        return Line(header.text, facts, severity, subsystem, tag, grammar.brief(label), summary)


# the phrase files


@cache
def services() -> tuple[Service, ...]:
    """All services: those of training, and those kept for the two evaluation sets."""
    files = [*sorted((HERE / "services").glob("*.txt")), *sorted((HERE / "services-unseen").glob("*.txt"))]
    return tuple(_read_service(file) for file in files)


@cache
def further_services() -> tuple[Service, ...]:
    """Programs that were added when the evaluation sets stood: for training alone, and nothing is kept from it."""
    return tuple(_read_service(file) for file in sorted((HERE / "services-further").glob("*.txt")))


def _read_service(file: Path) -> Service:
    head, _, body = file.read_text().partition("\n\n")
    settings = dict(line.split(" ", 1) for line in head.splitlines())
    part = settings.get("split", "train")
    events = [_event(rows, settings["subsystem"], file.stem, part) for rows in _paragraphs(body)]
    return Service(file.stem, tuple(settings["tag"].split("|")), part, tuple(events))


def _paragraphs(body: str) -> list[list[str]]:
    """Groups of one label row and the indented phrasings below it."""
    groups: list[list[str]] = []
    for row in filter(str.strip, body.splitlines()):
        if row.startswith("  "):
            groups[-1].append(row.strip())
        else:
            groups.append([row])
    return groups


def _event(rows: list[str], subsystem: str, service: str, service_part: str) -> Event:
    head, label = rows[0].split(" ", 1)
    severity, _, own_subsystem = head.partition("/")
    event_part = _held_part(f"{service}/{label}", percent=5)
    phrasings = tuple(
        Phrasing(grammar.parse(row), _phrasing_part(service_part, event_part, f"{service}/{row}")) for row in rows[1:]
    )
    return Event(severity, own_subsystem or subsystem, label, phrasings)


def _phrasing_part(service_part: str, event_part: str, identity: str) -> str:
    for part in (service_part, event_part):
        if part != "train":
            return part
    return _held_part(identity, percent=10)


def _held_part(identity: str, percent: int) -> str:
    """Draw, by checksum, the set that something belongs to: `percent` of all to each evaluation set."""
    draw = zlib.crc32(identity.encode()) % 100
    return "eval" if draw < percent else "final" if draw < 2 * percent else "train"
