"""Durations of options: a number with its unit, or one line that says so."""

from __future__ import annotations

import pytest

from kvchaos.cli.durations import parse_duration
from kvchaos.errors import UsageError


@pytest.mark.parametrize(("text", "seconds"), [("4h", 14_400), ("90m", 5_400), ("1.5m", 90), ("600s", 600)])
def test_duration_is_a_number_with_its_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "4", "h", "-4h", "0s", "4 h", "4d", "4h30m", "9999999s"])
def test_other_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write a duration such as 4h, 90m or 600s"):
        parse_duration(text)
