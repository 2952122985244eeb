"""Durations as users write them and as we write them back."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from virtualip_api.duration import MICROSECOND, MILLISECOND, MINUTE, SECOND, format_duration, parse_duration


@pytest.mark.parametrize(("text", "nanoseconds"), [
    ("1s", SECOND),
    ("100ms", 100 * MILLISECOND),
    ("10us", 10 * MICROSECOND),
    ("1m30s", 90 * SECOND),
    ("1h", 60 * MINUTE),
    ("40.95s", 40_950 * MILLISECOND),
    ("0.1s", 100 * MILLISECOND),
    ("0s", 0),
])  # fmt: skip
def test_what_users_write(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text", ["", "1", "s", "1 s", " 1s", "1s\n", "-1s", "1.s", ".5s", "1e3s", "1d", "1S", "１s", "1s1"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration such as 1s or 100ms"):
        parse_duration(text)


@pytest.mark.parametrize(("nanoseconds", "text"), [
    (SECOND, "1s"),
    (0, "0ms"),
    (12 * MILLISECOND, "12ms"),
    (3_062_500_000, "3.063s"),
    (90 * SECOND, "1m30s"),
    (60 * SECOND, "1m"),
    (999_999_999, "1s"),
])  # fmt: skip
def test_how_we_write_them(nanoseconds: int, text: str) -> None:
    assert format_duration(nanoseconds) == text


@given(st.integers(0, 10**8))
def test_whole_milliseconds_come_back_as_they_were(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds * MILLISECOND)) == milliseconds * MILLISECOND


@given(st.integers(0, 10**12))
def test_anything_comes_back_to_the_millisecond(nanoseconds: int) -> None:
    assert abs(parse_duration(format_duration(nanoseconds)) - nanoseconds) <= MILLISECOND // 2


@given(st.text(max_size=12))
def test_no_text_whatever_does_anything_but_parse_or_be_refused(text: str) -> None:
    with suppress(ValueError):
        assert parse_duration(text) >= 0
