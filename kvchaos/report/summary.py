"""The verdict of a run as Markdown, for the summary page of a CI job."""

from __future__ import annotations

from history.plan import RunPlan
from history.seals import Sealed
from history.verdict import Outcome, RunVerdict, Verdict
from kvchaos.judging.expectation import match_expectation
from kvchaos.report.finding_lines import cause_lines, evidence_lines
from kvchaos.report.markdown import cell_text

SYMBOLS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.UNKNOWN: "?"}
OUTCOME_SYMBOLS: dict[Outcome, str] = {"as expected": "✓", "not as expected": "✗", "unknown": "?"}
SEAL_TEXTS: dict[Sealed, str] = {
    "sealed": "sealed: the files are those that the run closed",
    "resealed": "sealed again, by kvchaos reseal and not by the run",
    "unsealed": "not sealed: whether the files are those that the run closed cannot be checked",
    "broken": "seal broken: a file is not the one that the run closed",
}
MAX_EVIDENCE = 3
"""Lines of evidence an oracle; the verdict file has more."""


def summary_text(plan: RunPlan, verdict: RunVerdict) -> str:
    """Outcome and reasons, a table of oracles with evidence, versions, and how to repeat the run."""
    lines = [f"## {verdict.scenario} on {verdict.server}: {verdict.outcome}", "", plan.scenario.summary, ""]
    if verdict.reasons:
        lines += [*(f"- {cell_text(reason)}" for reason in verdict.reasons), ""]
    if causes := cause_lines(verdict):
        lines += [*(f"- {cell_text(line)}" for line in causes), ""]
    lines += ["| oracle | verdict | compared | evidence |", "|---|---|---|---|"]
    for result in verdict.results:
        evidence_texts = evidence_lines(result)
        shown = evidence_texts[:MAX_EVIDENCE] + (["..."] if len(evidence_texts) > MAX_EVIDENCE else [])
        evidence = "<br>".join(cell_text(line) for line in shown)
        mark = f"{SYMBOLS[result.verdict]} {result.verdict}"
        stands = match_expectation(result, plan.expectation, verdict.causes)
        lines.append(f"| {result.oracle} | {mark} | {stands} | {evidence} |")
    lines += [
        "",
        *(f"- {cell_text(line)}" for line in version_lines(plan)),
        f"- {SEAL_TEXTS[verdict.seal]}",
        "",
        "Repeat the run:",
        "",
        f"    {repeat_command(plan)}",
    ]
    return "\n".join(lines) + "\n"


def repeat_command(plan: RunPlan) -> str:
    """The command that runs the same scenario on the same server with the same seed."""
    release = f" --as-release {plan.as_release}" if plan.as_release else ""
    return (
        f"kvchaos run {plan.scenario.name} --server {plan.versions.server_name} --seed {plan.seed}{release}"
    )


def version_lines(plan: RunPlan) -> list[str]:
    """Everything that answers "what exactly ran?"."""
    versions = plan.versions
    judged_as = f", judged as release {plan.as_release}" if plan.as_release else ""
    return [
        f"run {plan.run_id}, seed {plan.seed}, {plan.created}",
        f"vLLM {versions.vllm}{judged_as}, torch {versions.torch}, Python {versions.python}",
        f"kvchaos {versions.kvchaos} ({versions.git}), model {versions.model[:12]}",
        versions.host,
        *server_lines(plan),
    ]


def server_lines(plan: RunPlan) -> list[str]:
    """Whom the server had served before, or why it was started."""
    if plan.preceded_by:
        return [f"server left by {plan.preceded_by[-1]}, runs before on it: {', '.join(plan.preceded_by)}"]
    if plan.fresh_because is not None:
        return [f"server started for this run: {plan.fresh_because}"]
    return []
