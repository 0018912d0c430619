"""What is said of a wrong term of a schedule."""

from __future__ import annotations

import pytest

from chaos.fault_line import parse_line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "is no fault"),
        ("20%", "is no fault"),
        ("miss;", "is no fault"),
        ("120%explode", "unknown fault explode"),
        ("every 0 miss", "every"),
        ("120%miss", "probability"),
        ("delay(50..400)", "is no argument"),
        ("miss(", "is no fault"),
        ("in miss", "is no fault"),
        ("in decode", "is no fault"),
        ("in decode,decode miss", "twice"),
        ("in sleeping miss", "unknown state sleeping; known are queued, loading"),
    ],
)
def test_invalid_schedule_term_is_named(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_line(line)
