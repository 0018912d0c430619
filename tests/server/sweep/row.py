"""What one release showed: a row of the table, and why it is not green if it is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import msgspec
from packaging.specifiers import SpecifierSet

from history.reader import History
from history.records import FaultRecord
from history.verdict import OracleResult
from kvchaos.judging.expectation import ExpectationMatch, match_expectation
from oracles.answers import compare
from oracles.effects.checks import missing_effect
from oracles.faults import is_real
from tests.server.bench import RunDir

Colour = Literal["green", "known", "unknown", "red"]
DAMAGED = "flipped"
"""The only phase of three-faults in which answers may differ."""


@dataclass(frozen=True)
class KnownBug:
    """A bug of the server that a run of the sweep is known to hit."""

    releases: SpecifierSet
    scenario: str
    oracles: frozenset[str]
    """That may fail because of it, no others."""
    issue: str
    what: str
    """One sentence."""


KNOWN = (
    KnownBug(
        SpecifierSet(">=0.20"),
        "three-faults",
        frozenset({"accounting"}),
        "vllm PR#37460",
        "tokens whose load failed are counted as loaded",
    ),
)


class Trouble(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Something that is not as it should be."""

    part: str
    """install, contract, or the name of a scenario."""
    oracle: str | None = None
    kind: str = ""
    """Of a fault without consequence: why, by a short name. Of others empty."""
    unknown: bool = False
    """It could not be judged, such as on a machine that was too busy."""
    text: str

    def __str__(self) -> str:
        return f"{self.part}: {self.oracle}: {self.text}" if self.oracle else f"{self.part}: {self.text}"


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One release. What is not known, since an earlier step failed, is None."""

    release: str
    day: str
    """UTC, of the look at it."""
    seconds: int
    """Wall clock, of all of it."""
    generation: str | None = None
    torch: str | None = None
    start_s: float | None = None
    """From the start of the first server until it was ready."""
    baseline: str | None = None
    fired: dict[str, int] = {}
    """By fault, the strikes that changed something."""
    contract: str | None = None
    troubles: list[Trouble] = []

    @property
    def colour(self) -> Colour:
        """green: no trouble. known: all of it comes of a listed bug of the server. unknown: the rest could
        not be judged. Else red."""
        if not self.troubles:
            return "green"
        rest = [trouble for trouble in self.troubles if bug_behind(self.release, trouble) is None]
        if not rest:
            return "known"
        return "unknown" if all(trouble.unknown for trouble in rest) else "red"


def bug_behind(release: str, trouble: Trouble) -> KnownBug | None:
    """The listed bug that explains a violation, if there is one."""
    if trouble.unknown:
        return None
    for bug in KNOWN:
        here = bug.releases.contains(release) and bug.scenario == trouble.part
        if here and trouble.oracle in bug.oracles:
            return bug
    return None


def run_troubles(run: RunDir) -> Iterator[Trouble]:
    """Why a run is not as expected, oracle by oracle; the reasons where no oracle says it."""
    if run.verdict.outcome == "as expected":
        return
    wrong = list(_unexpected(run))
    for result in wrong:
        yield Trouble(
            part=run.scenario,
            oracle=result.oracle,
            unknown=result.verdict == "unknown",
            text=f"{result.verdict}: {result.summary}",
        )
    if not wrong:
        yield from (Trouble(part=run.scenario, text=reason) for reason in run.verdict.reasons)


def _unexpected(run: RunDir) -> Iterator[OracleResult]:
    for result in run.verdict.results:
        stands = match_expectation(result, run.history.plan.expectation, run.verdict.causes)
        if stands in (ExpectationMatch.NOT_EXPECTED, ExpectationMatch.UNKNOWN):
            yield result


def fault_troubles(history: History) -> Iterator[Trouble]:
    """Faults without a consequence, and answers that differ where nothing was damaged."""
    scenario = history.plan.scenario
    for fault in scenario.faults:
        fired = fired_by(history, fault.id)
        if not fired:
            yield Trouble(part=scenario.name, kind="never-fired", text=f"{fault.id} never fired with effect")
        elif doubt := missing_effect(history, fault, fired, {scenario.phase_of(fault)}):
            text = f"{fault.id} fired {len(fired)} times, but {doubt}"
            yield Trouble(part=scenario.name, kind=doubt.kind, text=text)
    elsewhere = [
        comparison.record.id
        for comparison in compare(history)
        if comparison.difference is not None and comparison.record.phase != DAMAGED
    ]
    if elsewhere:
        text = f"{len(elsewhere)} answers outside the phase {DAMAGED} differ, the first {elsewhere[0]}"
        yield Trouble(part=scenario.name, oracle="answers", kind="damage-elsewhere", text=text)


def fired_by(history: History, fault: str) -> list[FaultRecord]:
    """The strikes of a fault that changed something."""
    return [
        record
        for record in history.faults
        if record.event == "fired" and record.fault == fault and is_real(record)
    ]
