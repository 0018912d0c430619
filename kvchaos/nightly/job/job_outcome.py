"""How a night ended as a job: one category, which a workflow can act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from kvchaos.nightly.night_records import Night, NightPoint

FailureCategory = Literal[
    "none", "install", "input", "not-as-expected", "regressed", "blind", "page", "interrupted", "crashed"
]
MEANING: Mapping[FailureCategory, str] = {
    "none": "no series regressed",
    "install": "a server environment could not be made",
    "input": "bad input, or a bad environment",
    "not-as-expected": "a run was not as expected, or the positive control was missed",
    "regressed": "a series regressed",
    "blind": "a series is blind, or pairs are missing",
    "page": "the page could not be written",
    "interrupted": "the job was interrupted",
    "crashed": "a command ended in an unknown manner",
}
OF_THE_SERVER: frozenset[FailureCategory] = frozenset({"not-as-expected", "regressed"})
"""The server under test is the reason; all others but `none` are of the job or its machine."""
CATEGORY_OF_RUN: Mapping[int, FailureCategory] = {
    0: "none",
    1: "regressed",
    2: "blind",
    3: "input",
    130: "interrupted",
}
"""By the exit code of `kvchaos nightly run`."""
CATEGORY_OF_SOAK: Mapping[int, FailureCategory] = {
    0: "none",
    1: "not-as-expected",
    3: "input",
    130: "interrupted",
}
"""By the exit code of `kvchaos soak`."""


class JobOutcome(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of outcome.json."""

    v: Literal[1] = 1
    category: FailureCategory
    exit_code: int
    detail: str = ""
    """One line about the error, where there is one."""
    night: str | None = None
    """The night that was stored."""


def refined(outcome: JobOutcome, night: Night, points: Sequence[NightPoint]) -> JobOutcome:
    """Tell regressed series from runs that were not as expected: both have the same exit code."""
    regressed = any(point.decision is not None and point.decision.result == "regressed" for point in points)
    unexpected = outcome.category == "regressed" and not regressed
    category: FailureCategory = "not-as-expected" if unexpected else outcome.category
    return msgspec.structs.replace(outcome, category=category, night=night.night)


def github_outputs(outcome: JobOutcome) -> str:
    """Lines for the file of a step's outputs. Values are names and numbers of ours, never texts of a run."""
    night = outcome.night or ""
    return f"failure-category={outcome.category}\nexit-code={outcome.exit_code}\nnight={night}\n"
