"""What stands before the message of a log line: time, host, service, process id, as loggers write them."""

from __future__ import annotations

import random
from dataclasses import dataclass

MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
DAYS = "Mon Tue Wed Thu Fri Sat Sun".split()
LEVELS = {
    "ok": ("info", "INFO", "notice", "debug", "I"),
    "warning": ("warn", "WARN", "warning", "WARNING", "W"),
    "critical": ("error", "ERROR", "err", "crit", "FATAL", "E"),
}


@dataclass(frozen=True)
class Header:
    """A rendered line and which of the parts offered to it are visible there."""

    text: str
    shown: tuple[str, ...]


def render(rng: random.Random, message: str, parts: dict[str, str], level: str | None, tagged: bool) -> Header:
    """Put `message` behind a header of a random style.

    `parts` holds `service`, `host` and maybe `pid`; `level` is a severity to be named or None; `tagged` asks for a
    style that shows the service.
    """
    styles = TAGGED if tagged else (*TAGGED, *TAGGED, *UNTAGGED)
    if level and rng.random() < 0.12:
        styles = LEVELLED
    shown: set[str] = set()

    def show(key: str) -> str:
        shown.add(key)
        return parts[key]

    text = rng.choice(styles)(rng, message, show, level and rng.choice(LEVELS[level]), "pid" in parts)
    return Header(text, tuple(key for key in parts if key in shown))


def _clock(rng: random.Random) -> str:
    return f"{rng.randint(0, 23):02d}:{rng.randint(0, 59):02d}:{rng.randint(0, 59):02d}"


def _iso_day(rng: random.Random) -> str:
    return f"20{rng.randint(19, 29)}-{rng.randint(1, 12):02d}-{rng.randint(1, 28):02d}"


def _syslog_time(rng: random.Random) -> str:
    return f"{rng.choice(MONTHS)} {rng.randint(1, 28):>2d} {_clock(rng)}"


def _iso_time(rng: random.Random) -> str:
    fraction = rng.choice(("", f".{rng.randint(0, 999):03d}", f".{rng.randint(0, 999999):06d}"))
    return f"{_iso_day(rng)}T{_clock(rng)}{fraction}{rng.choice(('Z', '+00:00', '+01:00', '+0200', ''))}"


def _tag(show, with_pid: bool) -> str:
    return f"{show('service')}[{show('pid')}]" if with_pid else show("service")


def _syslog(rng, message, show, level, with_pid):
    return f"{_syslog_time(rng)} {show('host')} {_tag(show, with_pid)}: {message}"


def _iso(rng, message, show, level, with_pid):
    return f"{_iso_time(rng)} {show('host')} {_tag(show, with_pid)}: {message}"


def _rfc5424(rng, message, show, level, with_pid):
    pid = show("pid") if with_pid else "-"
    return f"<{rng.randint(6, 191)}>1 {_iso_time(rng)} {show('host')} {show('service')} {pid} - - {message}"


def _short(rng, message, show, level, with_pid):
    return f"{_clock(rng)} {show('host')} {_tag(show, with_pid)}: {message}"


def _bare_tag(rng, message, show, level, with_pid):
    return f"{_tag(show, with_pid)}: {message}"


def _boxed(rng, message, show, level, with_pid):
    return f"{_iso_day(rng)} {_clock(rng)} [{show('service')}] {message}"


def _piped(rng, message, show, level, with_pid):
    return f"{show('service')}{' ' * rng.randint(1, 2)}| {message}"


def _logfmt(rng, message, show, level, with_pid):
    quote = '"' if '"' not in message else "'"
    pid = f" pid={show('pid')}" if with_pid else ""
    level_text = f" level={level}" if level else ""
    head = f"time={_iso_time(rng)}{level_text} host={show('host')} service={show('service')}{pid}"
    return f"{head} msg={quote}{message}{quote}"


def _slashed(rng, message, show, level, with_pid):
    return f"{show('host')}/{show('service')}: {message}"


def _levelled(rng, message, show, level, with_pid):
    return f"{_iso_day(rng)} {_clock(rng)},{rng.randint(0, 999):03d} {level} {_tag(show, with_pid)}: {message}"


def _level_boxed(rng, message, show, level, with_pid):
    return f"{_clock(rng)} {show('host')} {show('service')} [{level}] {message}"


def _bare(rng, message, show, level, with_pid):
    return message


def _ring_buffer(rng, message, show, level, with_pid):
    return f"[{rng.randint(0, 99999):>5d}.{rng.randint(0, 999999):06d}] {message}"


def _timed(rng, message, show, level, with_pid):
    return f"{rng.choice((_syslog_time, _iso_time, _clock))(rng)} {message}"


TAGGED = (
    _syslog,
    _syslog,
    _syslog,
    _iso,
    _iso,
    _rfc5424,
    _short,
    _bare_tag,
    _bare_tag,
    _boxed,
    _piped,
    _logfmt,
    _slashed,
)
UNTAGGED = (_bare, _bare, _ring_buffer, _timed)
LEVELLED = (_levelled, _level_boxed, _logfmt)
