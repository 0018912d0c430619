"""From the judged runs of a night to the lines of the history. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TypeVar

from history.verdict import RunVerdict
from kvchaos.stability.campaign_records import (
    CampaignRun,
    ControlResult,
    RunSignature,
    ServerUsage,
    SignatureCount,
    StabilityNight,
)
from kvchaos.stability.night_repeats import repeat_result
from kvchaos.stability.run_mix import NextRun
from kvchaos.stability.usage_slopes import usage_slopes
from kvchaos.triage.failure_signature import Infrastructure

T = TypeVar("T")
EXAMPLES = 4
"""Runs of a signature that a night names; their directories are kept whole."""


def campaign_run(
    planned: NextRun,
    verdict: RunVerdict,
    seconds: float,
    infrastructure: Infrastructure | None,
    usage: ServerUsage | None = None,
) -> CampaignRun:
    """A judged run. A positive control has no signatures: its violation was planted."""
    is_control = planned.category == "positive control"
    return CampaignRun(
        number=planned.number,
        category=planned.category,
        scenario=planned.choice.scenario,
        seed=planned.choice.seed,
        outcome=verdict.outcome,
        run=verdict.run_id,
        seconds=round(seconds, 1),
        signatures=[] if is_control else run_signatures(verdict),
        infrastructure=infrastructure,
        reason="" if verdict.outcome == "as expected" or not verdict.reasons else verdict.reasons[0],
        control=control_result(verdict) if is_control else None,
        usage=usage,
        repeat=planned.repeat,
    )


def run_signatures(verdict: RunVerdict) -> list[RunSignature]:
    """The causes that no fault declares. A signature comes twice if a known bug explains a part of it."""
    found: dict[tuple[str, bool], RunSignature] = {}
    for cause in verdict.causes:
        if not cause.explained_by:
            found.setdefault(
                (cause.signature, cause.unexplained),
                RunSignature(signature=cause.signature, unexplained=cause.unexplained, bugs=cause.known_bugs),
            )
    return list(found.values())


def control_result(verdict: RunVerdict) -> ControlResult:
    """Whether the oracles found what the fault of the positive control did."""
    if verdict.outcome == "unknown":
        return "absent"
    fired = [effect for effect in verdict.effects if effect.judged]
    found = bool(fired) and all(effect.explains and not effect.missing for effect in fired)
    return "found" if found and verdict.outcome == "as expected" else "missed"


def night_line(
    night: str,
    build: str,
    runs: Sequence[CampaignRun],
    seconds: float,
    complete: bool,
    folder: str = "",
    server: str = "",
) -> StabilityNight:
    """The counts of a night. `folder`: the name of the folder of its runs."""
    # Repeats were chosen for a failure: they are no sample of the night.
    judged = [run for run in runs if run.infrastructure is None and run.repeat is None]
    unknown = (run.reason for run in judged if run.outcome == "unknown")
    return StabilityNight(
        night=night,
        build=build,
        runs=len(runs),
        outcomes=_counted(run.outcome for run in judged),
        categories=_counted(run.category for run in runs),
        infrastructure=_counted(run.infrastructure for run in runs if run.infrastructure is not None),
        unknown=_counted(unknown),
        positive_control=positive_control(runs),
        seconds=round(seconds, 1),
        complete=complete,
        folder=folder,
        slopes=usage_slopes(runs),
        server=_own_name(server, build),
    )


def positive_control(runs: Sequence[CampaignRun]) -> ControlResult:
    """The worst of the night's positive controls."""
    results = {run.control for run in runs}
    if "missed" in results:
        return "missed"
    return "found" if "found" in results else "absent"


def _own_name(server: str, build: str) -> str:
    """Empty where the name says no more than the version."""
    return "" if server == build else server


def signature_lines(
    night: str, build: str, runs: Sequence[CampaignRun], server: str = ""
) -> list[SignatureCount]:
    """One line for each signature, the most frequent first; two where only some of its runs are explained."""
    by_signature: dict[tuple[str, bool], list[tuple[CampaignRun, RunSignature]]] = {}
    for run in runs:
        if run.infrastructure is None and run.repeat is None:
            for signature in run.signatures:
                key = signature.signature, signature.unexplained
                by_signature.setdefault(key, []).append((run, signature))
    lines = [
        SignatureCount(
            night=night,
            build=build,
            signature=name,
            count=len(found),
            unexplained=unexplained,
            bugs=sorted({bug for _, signature in found for bug in signature.bugs}),
            examples=[(run.scenario, run.seed, run.run) for run, _ in found[:EXAMPLES]],
            repeats=repeat_result(runs, name) if unexplained else None,
            server=_own_name(server, build),
        )
        for (name, unexplained), found in by_signature.items()
    ]
    return sorted(lines, key=lambda line: (-line.count, line.signature, not line.unexplained))


def kept_runs(runs: Sequence[CampaignRun]) -> set[str]:
    """Directories that stay whole; of the others the verdict is enough.

    They are the first few of each signature, and the first few without one that are not as expected.
    """
    kept = {run for line in signature_lines("", "", runs) for _, _, run in line.examples}
    odd = [
        run.run for run in runs if run.outcome != "as expected" and not run.signatures and run.repeat is None
    ]
    return kept | set(odd[:EXAMPLES])


def _counted(values: Iterable[T]) -> dict[T, int]:
    return dict(Counter(values))
