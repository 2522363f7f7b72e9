"""Durations and prices as people write them."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.model.errors import InputError
from ensemble.spec.units import LONGEST, format_duration, parse_duration, parse_price


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("20m", 1200),
        ("2h", 7200),
        ("1d", 86400),
        ("500ms", 0.5),
        ("1h30m", 5400),
        ("1d 2h 3m 4.5s", 93784.5),
        (" 1.5 hours ", 5400),
        ("10 min", 600),
        ("90", 90),
        (".5", 0.5),
        ("1e3", 1000),
        ("1:30:00", 5400),
        ("100:00:01", 360001),
        ("2-01:00:00", 176400),
        (90, 90),
        (0.25, 0.25),
        (0, 0),
    ],
)
def test_a_duration_is_read_as_seconds(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds, abs=0)
    assert isinstance(parse_duration(text), float)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("20:00", "write 0:20:00 or 20:00:00"),
        ("-5s", "negative"),
        (-5, "negative"),
        ("5x", "unknown unit 'x'"),
        ("", "is not a duration"),
        ("soon", "is not a duration"),
        ("30m1h", "largest first"),
        ("1h1h", "largest first"),
        ("1h30", "is not a duration"),
        ("1:60:00", "is not a duration"),
        ("nan", "is not a duration"),
        (math.nan, "is not a number"),
        (math.inf, "more than"),
        ("1e300", "more than"),
        ("1e400d", "more than"),
        (True, "true is not a duration"),
        (None, "nothing is not a duration"),
        ([20], "a list is not a duration"),
        ({"h": 1}, "a mapping is not a duration"),
        (10**400, "more than 30 digits is more than"),
        ("9" * 5000 + "s", r"^9{57}\.\.\. is not a duration"),
    ],
)
def test_what_is_no_duration_is_refused_with_advice(text: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.0005, "0.5ms"),
        (0.35, "350ms"),
        (0.9996, "1s"),
        (12.5, "12.5s"),
        (59.96, "1m"),
        (60, "1m"),
        (90, "1m30s"),
        (1200, "20m"),
        (5400, "1h30m"),
        (86399.7, "1d"),
        (183600, "2d3h"),
        (86400 + 59, "1d1m"),
        (-90, "-1m30s"),
        (math.inf, "unknown"),
        (math.nan, "unknown"),
    ],
)
def test_a_duration_is_said_shortly(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.floats(1e-3, LONGEST / 10))
def test_a_duration_said_and_read_again_is_nearly_the_same(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == pytest.approx(seconds, rel=0.01)


@given(st.text(max_size=20))
def test_any_text_is_a_finite_duration_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        assert 0 <= parse_duration(text) <= LONGEST


@pytest.mark.parametrize(
    ("text", "price"),
    [
        ("0.41 USD/node-hour", (0.41, "USD")),
        ("3 EUR/h", (3.0, "EUR")),
        ("3 EUR/hour", (3.0, "EUR")),
        ("1.5", (1.5, "")),
        ("2/h", (2.0, "")),
        (2, (2.0, "")),
    ],
)
def test_a_price_is_a_number_and_a_currency(text: str | float, price: tuple[float, str]) -> None:
    assert parse_price(text) == price


@pytest.mark.parametrize(
    "text",
    [
        "cheap",
        "0.5 usd",
        "-1 USD/h",
        "1 USD/day",
        "",
        -1,
        math.nan,
        math.inf,
        "1e999 USD",
        True,
        None,
        [1],
        {},
        10**400,
    ],
)
def test_what_is_no_price_is_refused(text: Any) -> None:
    with pytest.raises(InputError, match="price"):
        parse_price(text)
