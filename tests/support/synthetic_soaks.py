"""A synthetic stability history with a signature in each state, and the folder of its last night."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from history.verdict import OracleResult, Outcome, Verdict
from kvchaos.stability.campaign_records import CampaignRun, Category, RunSignature
from kvchaos.stability.night_counts import night_line, signature_lines
from kvchaos.stability.signature_states import QUIET_NIGHTS
from kvchaos.stability.stability_store import StabilityHistory
from tests.support.campaign_folders import write_campaign_folder

START = datetime(2026, 1, 18, 1, 0, tzinfo=UTC)
"""Its last night is that of 60 nights of `synthetic_year`, so that one dashboard can show both."""
SOAK_NIGHTS = QUIET_NIGHTS + 5
BUILD = "0.32.0"
ONGOING = "server-alive/died: KeyError in vllm.v1.core.sched.scheduler.schedule"
GONE = "progress/stall: deadlock"
BACK = "drained/blocks-leaked: gauge"
NEW = "answers/not-golden: request"
SHOWN = {
    ONGOING: range(SOAK_NIGHTS),
    GONE: range(SOAK_NIGHTS - QUIET_NIGHTS),
    BACK: (0, SOAK_NIGHTS - 1),
    NEW: (SOAK_NIGHTS - 1,),
}
"""The nights that have each signature, by number."""
NO_SCRAPE = "progress: no scrape"
LAG = "client: the event loops of the load workers lag"
RUN_S = 50.0


def night_of(number: int) -> str:
    """Start of a night."""
    return f"{START + timedelta(days=number):%Y-%m-%dT%H:%M:%SZ}"


def soak_history() -> StabilityHistory:
    """All nights, in order of time."""
    nights, signatures = [], []
    for number in range(SOAK_NIGHTS):
        runs = campaign_runs(number)
        nights.append(night_line(night_of(number), BUILD, runs, len(runs) * RUN_S, complete=True))
        signatures += signature_lines(night_of(number), BUILD, runs)
    return StabilityHistory(nights, signatures)


def campaign_runs(night: int) -> list[CampaignRun]:
    """A positive control, a run for each signature, a pass, an unknown run, one with slow load workers."""
    shown = [[signature] for signature, nights in SHOWN.items() if night in nights]
    runs = [_run(night, 0, "positive control"), *(_run(night, 1 + i, "new", s) for i, s in enumerate(shown))]
    runs.append(_run(night, len(runs), "new"))
    runs.append(_run(night, len(runs), "known bug", outcome="unknown", reason=NO_SCRAPE))
    slow = _run(night, len(runs), "failed before", outcome="unknown", reason=LAG)
    return [*runs, msgspec.structs.replace(slow, infrastructure="client")]


def _run(
    night: int,
    number: int,
    category: Category,
    signatures: list[str] | None = None,
    outcome: Outcome = "as expected",
    reason: str = "",
) -> CampaignRun:
    moment = START + timedelta(days=night, seconds=number * RUN_S)
    return CampaignRun(
        number=number,
        category=category,
        scenario="aborts",
        seed=number,
        outcome="not as expected" if signatures else outcome,
        run=f"aborts-0-32-0-{moment:%m%d-%H%M%S}-{number:04x}",
        seconds=RUN_S,
        signatures=[RunSignature(signature=each, unexplained=True) for each in signatures or ()],
        reason=reason,
        control="found" if category == "positive control" else None,
    )


def write_campaign(folder: Path, night: int = SOAK_NIGHTS - 1) -> Path:
    """The folder of a night with its log and the verdict of each run."""
    return write_campaign_folder(folder, night_of(night), BUILD, campaign_runs(night), _results)


def _results(run: CampaignRun) -> list[OracleResult]:
    failing = {each.signature.partition("/")[0] for each in run.signatures}
    results = [_result(oracle, Verdict.FAIL) for oracle in sorted(failing)]
    return [*results, _result("client", Verdict.UNKNOWN if run.outcome == "unknown" else Verdict.PASS)]


def _result(oracle: str, verdict: Verdict) -> OracleResult:
    return OracleResult(oracle=oracle, verdict=verdict, summary="synthetic", checked=1)
