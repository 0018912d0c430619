"""What is said of a fault with wrong parameters."""

from __future__ import annotations

import pytest

from chaos.inside.inside_kinds import problems
from history.protocol.schedule import Value


@pytest.mark.parametrize(
    ("kind", "params", "named"),
    [
        ("lookup_mess", {}, "unknown fault lookup_mess; did you mean lookup_miss?"),
        ("lookup_miss", {"share": 0.5}, "lookup_miss has no parameter share; known are dry_run"),
        ("copy_delay", {"min": 5}, "copy_delay has no parameter min; did you mean min_ms?"),
        ("copy_delay", {"min_ms": -1}, "min_ms must lie in 0 to 60000"),
        ("copy_delay", {"max_ms": 60_001}, "max_ms must lie in 0 to 60000"),
        ("copy_delay", {"min_ms": 10**400}, "min_ms must lie in"),
        ("copy_delay", {"min_ms": True}, "min_ms must be a number"),
        ("copy_delay", {"min_ms": "20"}, "min_ms must be a number"),
        ("copy_delay", {"min_ms": 20.5}, "min_ms must be a whole number"),
        ("copy_delay", {"min_ms": float("nan")}, "min_ms must be a whole number"),
        ("copy_delay", {"direction": "up"}, "direction must be one of load, store, both"),
        ("copy_delay", {"direction": True}, "direction must be one of load, store, both"),
        ("copy_delay", {"min_ms": 300}, "min_ms is above max_ms"),
        ("load_failure", {"blocks": "some"}, "blocks must be one of first, middle, last, one, all"),
        ("bit_flip", {"bit": 32}, "bit lies outside a number of word_bytes"),
        ("bit_flip", {"bit": 64, "word_bytes": 8}, "bit must lie in 0 to 63"),
        ("bit_flip", {"word_bytes": 0}, "word_bytes must lie in 1 to 8"),
        ("zero_block", {"dry_run": 1}, "dry_run must be true or false"),
    ],
)
def test_invalid_fault_is_named_in_one_line(kind: str, params: dict[str, Value], named: str) -> None:
    [problem] = problems(kind, params)
    assert named in problem
    assert "\n" not in problem
