"""A stability history with signatures of every state, infrastructure and a missing positive control."""

from __future__ import annotations

from pathlib import Path

from history.verdict import OracleResult, Outcome, Verdict
from kvchaos.stability.campaign_records import (
    CampaignRun,
    Category,
    ControlResult,
    RunSignature,
    SignatureCount,
    StabilityNight,
)
from kvchaos.stability.night_counts import night_line, signature_lines
from kvchaos.stability.stability_store import append_stability
from kvchaos.triage.failure_signature import Infrastructure
from tests.support.campaign_folders import write_campaign_folder

NEW = "answers/not-golden: request"
BACK = "server-alive/died: KeyError in vllm.v1.core.sched.scheduler.schedule"
GONE = "drained/blocks-leaked: gauge"
KNOWN = "accounting/tier-lookups-exceed-misses: vllm:external_prefix_cache_queries"
BUG = "vllm-57596"
BUILD = "0.32.0"
ORACLES = ("server-alive", "answers", "accounting")


def stability_date(day: int) -> str:
    return f"2026-11-{day:02}T02:00:00Z"


def campaign_run(
    number: int,
    *signatures: RunSignature,
    outcome: Outcome = "as expected",
    category: Category = "new",
    infrastructure: Infrastructure | None = None,
    control: ControlResult | None = None,
) -> CampaignRun:
    return CampaignRun(
        number=number,
        category=category,
        scenario="aborts",
        seed=100 + number,
        outcome=outcome,
        run=f"run-{number}",
        seconds=20.0,
        signatures=list(signatures),
        infrastructure=infrastructure,
        reason="a gap" if outcome == "unknown" else "",
        control=control,
    )


def unexplained(signature: str) -> RunSignature:
    return RunSignature(signature=signature, unexplained=True)


TONIGHT = (
    campaign_run(0, unexplained(NEW), outcome="not as expected"),
    campaign_run(1, unexplained(BACK), outcome="not as expected", category="failed before"),
    campaign_run(2, RunSignature(signature=KNOWN, bugs=[BUG]), category="known bug"),
    campaign_run(3, outcome="unknown"),
    campaign_run(4, outcome="unknown", infrastructure="client"),
    campaign_run(5),
)
"""No positive control is among them."""


def quiet_night(day: int) -> StabilityNight:
    return night_line(stability_date(day), BUILD, [campaign_run(0, control="found")], 20.0, complete=True)


def signature_line(day: int, signature: str, bugs: list[str] | None = None) -> SignatureCount:
    return SignatureCount(
        night=stability_date(day),
        build=BUILD,
        signature=signature,
        count=1,
        unexplained=bugs is None,
        bugs=bugs or [],
        examples=[("aborts", 1, "run-0")],
    )


def write_stability(history: Path, runs: Path, last: int = 20) -> None:
    """Nights 11 to `last`; the last is TONIGHT with its folder of runs."""
    append_stability(history, quiet_night(11), [signature_line(11, BACK)])
    for day in range(12, last):
        # Its seven nights without the signature end tonight.
        lines = [signature_line(day, GONE)] if day == last - 7 else []
        append_stability(history, quiet_night(day), [*lines, signature_line(day, KNOWN, [BUG])])
    folder = write_campaign_folder(
        runs / "soak-tonight", stability_date(last), BUILD, TONIGHT, oracle_results
    )
    night = night_line(stability_date(last), BUILD, TONIGHT, 120.0, complete=True, folder=folder.name)
    append_stability(history, night, signature_lines(stability_date(last), BUILD, TONIGHT))


def oracle_results(run: CampaignRun) -> list[OracleResult]:
    """The first oracle fails where the run has a signature."""
    failed = (bool(run.signatures), False, False)
    return [
        OracleResult(
            oracle=name, verdict=Verdict.FAIL if fails else Verdict.PASS, summary=f"{name} of {run.run}"
        )
        for name, fails in zip(ORACLES, failed, strict=True)
    ]
