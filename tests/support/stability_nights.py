"""A stability history with signatures of every state, infrastructure and a missing positive control."""

from __future__ import annotations

from pathlib import Path

import msgspec

from history import layout
from history.verdict import Cause, OracleResult, Outcome, RunVerdict, Verdict
from kvchaos.stability.campaign_log import CampaignHeader, start_log
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

NEW = "answers/not-golden: request"
BACK = "server-alive/died: KeyError in vllm.v1.core.sched.scheduler.schedule"
GONE = "drained/blocks-held: gauge"
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
    folder = runs / "soak-tonight"
    folder.mkdir(parents=True)
    header = CampaignHeader(
        night=stability_date(last), server=BUILD, build=BUILD, stack="local", budget_s=600.0
    )
    log = start_log(folder, header)
    for run in TONIGHT:
        log.add(run)
        write_verdict(folder / run.run, run)
    night = night_line(stability_date(last), BUILD, TONIGHT, 120.0, complete=True, folder=folder.name)
    append_stability(history, night, signature_lines(stability_date(last), BUILD, TONIGHT))


def write_verdict(run_dir: Path, run: CampaignRun) -> None:
    """Its first oracle fails where the run has a signature."""
    run_dir.mkdir()
    results = [
        OracleResult(
            oracle=name, verdict=Verdict.FAIL if failed else Verdict.PASS, summary=f"{name} of {run.run}"
        )
        for name, failed in zip(ORACLES, (bool(run.signatures), False, False), strict=True)
    ]
    verdict = RunVerdict(
        run_id=run.run,
        scenario=run.scenario,
        server=BUILD,
        seed=run.seed,
        outcome=run.outcome,
        reasons=[],
        expected_failures=[],
        issue=None,
        results=results,
        causes=[
            Cause(rule=each.signature.partition(":")[0], signature=each.signature, violations=1)
            for each in run.signatures
        ],
    )
    (run_dir / layout.VERDICT).write_bytes(msgspec.json.encode(verdict))
