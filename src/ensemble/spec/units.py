"""Durations and prices as people write them: `90s`, `1h30m`, `0:20:00`, `0.41 USD/node-hour`."""

from __future__ import annotations

import math
import re
from typing import Final

from ensemble.model.errors import InputError

__all__ = ["LONGEST", "format_duration", "parse_duration", "parse_price"]

_SECONDS: Final = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours"), 3_600.0),
    **dict.fromkeys(("d", "day", "days"), 86_400.0),
}
LONGEST: Final = 1e10
"""The longest duration in seconds, some 300 years: what is above is a slip of the keyboard."""

_NUMBER: Final = r"(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_PLAIN = re.compile(_NUMBER)
_PART = re.compile(rf"\s*({_NUMBER})\s*([A-Za-z]+)\s*")
_CLOCK = re.compile(r"(?:([0-9]{1,5})-)?([0-9]{1,6}):([0-5][0-9]):([0-5][0-9])")
_PRICE = re.compile(rf"({_NUMBER})\s*([A-Z]{{3}})?\s*(?:/\s*(?:node-?)?(?:hour|hr|h))?")


def parse_duration(text: str | int | float) -> float:
    """Read a duration and return seconds.

    A plain number is seconds; text is a number with a unit (ms s m h d, or the word), several of them in falling order
    (`1h30m`), or Slurm's `H:MM:SS` and `D-HH:MM:SS`. `MM:SS` is refused because it reads as hours and minutes too.
    Raises `InputError` for anything else, and for what is negative, not finite or above `LONGEST`.
    """
    if isinstance(text, bool) or not isinstance(text, str | int | float) or _is_long(text):
        raise InputError(f"{_shown(text)} is not a duration; write one such as 90s, 20m or 1h30m")
    seconds = _text_seconds(text.strip()) if isinstance(text, str) else text
    if not 0 <= seconds <= LONGEST:
        what = "is negative" if seconds < 0 else f"is more than {LONGEST:g} seconds"
        if isinstance(seconds, float) and math.isnan(seconds):
            what = "is not a number"
        raise InputError(f"duration {_shown(text)} {what}")
    return float(seconds)


def _shown(value: object) -> str:
    """A value for a message: short, whatever it is."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) > 10**30:
        return "a number of more than 30 digits"
    if not isinstance(value, str | int | float):
        return f"a {'mapping' if isinstance(value, dict) else type(value).__name__}"
    text = str(value)
    return f"{text[:57]}..." if _is_long(text) else text


def _is_long(text: object) -> bool:
    """Whether it is text that no duration or price needs, and no message should repeat."""
    return isinstance(text, str) and len(text) > 60


def _text_seconds(text: str) -> float:
    if _PLAIN.fullmatch(text):
        return float(text)
    if match := _CLOCK.fullmatch(text):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return days * 86_400.0 + hours * 3_600.0 + minutes * 60.0 + seconds
    if re.fullmatch(r"[0-9]+:[0-9]+", text):
        raise InputError(f"{text!r} may mean minutes or hours; write 0:{text} or {text}:00 or a unit, such as 20m")
    if text.startswith("-"):
        raise InputError(f"duration {text!r} is negative")
    return _sum_of_parts(text)


def _sum_of_parts(text: str) -> float:
    total, at, last = 0.0, 0, math.inf
    while match := _PART.match(text, at):
        unit = _SECONDS.get(match[2]) or _SECONDS.get(match[2].lower())
        if unit is None:
            raise InputError(f"unknown unit {match[2]!r} in duration {text!r}; known are ms, s, m, h and d")
        if unit >= last:
            raise InputError(f"units in duration {text!r} do not fall; write the largest first, such as 1h30m")
        total, at, last = total + float(match[1]) * unit, match.end(), unit
    if not at or at < len(text):
        raise InputError(f"{text!r} is not a duration; write one such as 90s, 20m, 1h30m or 0:20:00")
    return total


def format_duration(seconds: float) -> str:
    """Say a duration in seconds shortly: `350ms`, `12.5s`, `20m`, `1h30m`, `2d3h`.

    From one minute on it is rounded to seconds, from one day on to minutes; below a minute
    `parse_duration(format_duration(x))` is within half a percent of x.
    """
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 0:
        return f"-{format_duration(-seconds)}"
    if seconds < 0.9995:
        return f"{_short(seconds * 1000)}ms" if seconds else "0s"
    if seconds < 59.95:
        return f"{_short(seconds)}s"
    return _in_parts(round(seconds) if seconds < 86_400 else 60 * round(seconds / 60))


def _in_parts(whole: int) -> str:
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, whole = divmod(whole, size)
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts)


def _short(number: float) -> str:
    digits = f"{number:.3g}"
    return digits if "e" not in digits else f"{number:.0f}" if number >= 1 else f"{number:.6f}".rstrip("0").rstrip(".")


def parse_price(text: str | int | float) -> tuple[float, str]:
    """Read a price per node-hour, `0.41 USD/node-hour` (or `/h`), and return the number and the currency.

    The currency is three capital letters, or empty where none is named. Raises `InputError` for anything else.
    """
    number: int | float
    if isinstance(text, int | float) and not isinstance(text, bool):
        number, currency = text, ""
    elif isinstance(text, str) and (match := _PRICE.fullmatch(text.strip())):
        number, currency = float(match[1]), match[2] or ""
    else:
        shown = repr(_shown(text)) if isinstance(text, str) else _shown(text)
        raise InputError(f"{shown} is not a price; write one such as 0.41 USD/node-hour")
    if not 0 <= number <= LONGEST:
        raise InputError(f"price {_shown(text)} is negative or too large")
    return float(number), currency
