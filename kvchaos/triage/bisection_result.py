"""The result of a bisection as data and as text. Names are those of server environments."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from kvchaos.triage.failure_repeats import RateOfRuns, rate_text
from kvchaos.triage.failure_signature import FailureSignature
from kvchaos.triage.repeated_trials import Decision


class ExaminedRelease(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one server environment shows."""

    server: str
    vllm: str
    decision: Decision | None
    """None: it was not examined."""
    shown: int = 0
    runs: int = 0
    given: bool = False
    """The user says so; it was not run."""


class ShowingReleases(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The releases that show a failure, and their neighbours that do not."""

    first: str
    last: str
    absent_before: str | None
    """The last release before `first` without the failure; None: the oldest one shows it."""
    absent_after: str | None
    """The first release after `last` without it; None: the newest one shows it."""
    untested: list[str]
    """Between these: they could not be tested."""


class Bisection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that a bisection found."""

    run: str
    failure: FailureSignature
    rate: RateOfRuns
    """On the server that the search starts from."""
    tries: int
    """Runs without the failure after which a neighbour of the range counts as free of it."""
    miss: float
    """Probability that so many runs miss a failure as rare as on the start or a release with mixed runs."""
    releases: list[ExaminedRelease]
    """In the order of their versions."""
    found: ShowingReleases | None
    """None: the budget was spent before."""


def bisection_lines(bisection: Bisection) -> Iterator[str]:
    """The result for people."""
    yield f"failure: {bisection.failure.signature}"
    yield f"rate at the start: {rate_text(bisection.rate)}"
    yield (
        f"the neighbours of the range are free of it after {bisection.tries} runs without it; "
        f"a failure of the lowest rate seen is missed with a probability of {bisection.miss:.2%}"
    )
    for release in bisection.releases:
        yield f"  {release.server:12} {_text(release)}"
    if bisection.found is None:
        yield "the budget was spent before the first and the last release were known; run it again to go on"
        return
    yield from _range_lines(bisection.found)


def _text(release: ExaminedRelease) -> str:
    if release.decision is None:
        return "-"
    if release.given:
        return f"{release.decision}, as given"
    if release.decision == "untestable":
        return "untestable"
    return f"{release.decision}, {release.shown} of {release.runs} runs"


def _range_lines(found: ShowingReleases) -> Iterator[str]:
    before = (
        f"{found.absent_before} does not show it" if found.absent_before else "no older one was free of it"
    )
    after = f"{found.absent_after} does not show it" if found.absent_after else "no newer one was free of it"
    yield f"first release that shows it: {found.first} ({before})"
    yield f"last release that shows it: {found.last} ({after})"
    if found.untested:
        yield f"not known of {', '.join(found.untested)}: they could not be tested"
