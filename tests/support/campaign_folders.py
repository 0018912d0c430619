"""The folder of a night of `kvchaos soak` as a search leaves it: its log, and the verdict of each run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from history import layout
from history.verdict import Cause, OracleResult, RunVerdict
from kvchaos.stability.campaign_log import CampaignHeader, start_log
from kvchaos.stability.campaign_records import CampaignRun


def write_campaign_folder(
    folder: Path,
    night: str,
    build: str,
    runs: Sequence[CampaignRun],
    results: Callable[[CampaignRun], list[OracleResult]],
) -> Path:
    """`results`: of each oracle for a run. The causes of a run are its signatures."""
    folder.mkdir(parents=True)
    log = start_log(
        folder, CampaignHeader(night=night, server=build, build=build, stack="local", budget_s=3600.0)
    )
    for run in runs:
        log.add(run)
        verdict = RunVerdict(
            run_id=run.run,
            scenario=run.scenario,
            server=build,
            seed=run.seed,
            outcome=run.outcome,
            reasons=[],
            expected_failures=[],
            issue=None,
            results=results(run),
            causes=[
                Cause(rule=each.signature.partition(":")[0], signature=each.signature, violations=1)
                for each in run.signatures
            ],
        )
        (folder / run.run).mkdir()
        (folder / run.run / layout.VERDICT).write_bytes(msgspec.json.encode(verdict))
    return folder
