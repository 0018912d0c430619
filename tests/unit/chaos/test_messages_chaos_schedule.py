"""What is said of a wrong term of a schedule."""

from __future__ import annotations

import pytest

from chaos.fault_line import parse_line


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "is not a fault"),
        ("20%", "is not a fault"),
        ("miss;", "is not a fault"),
        ("120%explode", "unknown fault explode"),
        ("every 0 miss", "every"),
        ("120%miss", "probability"),
        ("delay(50..400)", "is not an argument"),
        ("miss(", "is not a fault"),
        ("in miss", "is not a fault"),
        ("in decode", "is not a fault"),
        ("in decode,decode miss", "twice"),
        ("in sleeping miss", "unknown state sleeping; known are queued, loading"),
    ],
)
def test_invalid_schedule_term_is_named(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_line(line)
