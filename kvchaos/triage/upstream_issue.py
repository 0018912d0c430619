"""The text of an issue for vLLM about the failure of a run, as Markdown. Pure.

It has the headings of the form for bugs of vLLM. It needs no suite where a plain script shows the failure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.fault_catalogue import KINDS
from history.verdict import Finding
from kvchaos.report.text_tables import cell_text
from kvchaos.report.verdict_text import finding_text, repeat_command
from kvchaos.triage.bisection_result import Bisection
from kvchaos.triage.failure_repeats import RepeatResult, result_lines
from kvchaos.triage.plain_command import plain_command
from kvchaos.triage.shrunk_scenario import run_command_line
from kvchaos.triage.triage_runner import StoredFailure
from oracles import all_rules
from oracles.causes import TRACEBACK, raised_below, without_kinds

FINDINGS = 3
"""Findings of the cause that the text has."""
LOG_LINES = 60
"""Of the traceback."""
WITH_KVCHAOS = (
    "With kvchaos, without a GPU. It replaces the copy between device and host memory; "
    "scheduler, connector and metrics are vLLM's:"
)
PACKAGES = re.compile(r"/[^\s\"']*/site-packages/")
HOME = re.compile(r"/(?:root|home/[^/\s\"']+)")
COLOURS = re.compile(r"\x1b\[[\d;]*m")


@dataclass(frozen=True, slots=True)
class IssueMaterial:
    """What the text is made of."""

    stored: StoredFailure
    script: str | None
    """Name of the file of the script; None where there is none."""
    no_script: str
    """Why there is none."""
    scenario_file: str | None = None
    """Content of the scenario; None where this suite has it under its name."""
    repeats: RepeatResult | None = None
    releases: Bisection | None = None


def issue_text(material: IssueMaterial) -> str:
    """The whole text; its first line is the title."""
    stored = material.stored
    parts = [
        f"# [Bug]: {title(stored)}\n",
        f"## Your current environment\n\n{_environment(stored)}",
        f"## Describe the bug\n\n{_description(stored)}",
    ]
    if log := log_excerpt(stored):
        parts.append(f"### Log\n\n```text\n{log}\n```\n")
    parts.append(f"### How to reproduce it\n\n{_reproduction(material)}")
    if frequency := _frequency(material):
        parts.append(f"### How often, and on which releases\n\n{frequency}")
    return "\n".join(parts)


def title(stored: StoredFailure) -> str:
    """What goes wrong, in one line: the exception with its function, or else the rule and its metric."""
    rule, _, what = without_kinds(stored.failure.signature).partition(": ")
    if " in " in what:
        return f"{what} with KV offloading to CPU memory"
    name = rule.partition("/")[2].replace("-", " ")
    return f"{name}: {what} with KV offloading to CPU memory"


def _environment(stored: StoredFailure) -> str:
    plan = stored.history.plan
    versions = plan.versions
    lines = [
        f"vLLM {versions.vllm}, torch {versions.torch}, Python {versions.python}",
        versions.host,
        f"model: {plan.model_name}, a Llama of 2 layers with random weights"
        if plan.model_name == "tiny"
        else f"model: {plan.model_name}",
    ]
    text = "".join(f"- {cell_text(line)}\n" for line in lines)
    command = plain_command(plan.command) if plan.command else "vllm serve MODEL (started by others)"
    return f"{text}\nThe server:\n\n```bash\n{command}\n```\n"


def _description(stored: StoredFailure) -> str:
    rule = next((each for each in all_rules() if each.id == stored.failure.rule), None)
    found = _findings(stored)
    shown = "".join(f"- {cell_text(finding_text(finding))}\n" for finding in found[:FINDINGS])
    more = f"- and {len(found) - FINDINGS} more\n" if len(found) > FINDINGS else ""
    expected = "" if rule is None else f"\nExpected: {rule.law}\n"
    return f"{_load(stored)}\n\nFindings:\n\n{shown}{more}{expected}"


def _findings(stored: StoredFailure) -> list[Finding]:
    """Of the rule, those first that follow from nothing else."""
    found = [
        finding
        for result in stored.verdict.results
        for finding in result.findings
        if finding.rule == stored.failure.rule
    ]
    return sorted(found, key=lambda finding: finding.is_accounted)


def _load(stored: StoredFailure) -> str:
    requests = stored.history.requests
    scenario = stored.history.plan.scenario
    most = max(phase.concurrency for phase in scenario.phases)
    longest = max((record.prompt_tokens for record in requests), default=0)
    text = (
        f"{len(requests)} requests, at most {most} at once, prompts of up to {longest} tokens. "
        f"Injected faults: {'' if scenario.faults else 'none.'}"
    )
    kinds = dict.fromkeys(fault.kind for fault in scenario.faults)
    return "\n".join([text, *(f"- `{kind}`: {cell_text(_action(kind))}" for kind in kinds)])


def _action(kind: str) -> str:
    return KINDS[kind].effect if kind in KINDS else "a fault of another package"


def log_excerpt(stored: StoredFailure) -> str:
    """The traceback of the signature, or the lines from the first one that a finding names.

    Without colours and folders of the machine; empty where neither is in the log.
    """
    _, _, what = stored.failure.signature.partition(": ")
    lines = stored.history.log
    found = traceback_of(what, lines)
    if found is None:
        numbers = [finding.log_line for finding in _findings(stored)]
        first = min((number for number in numbers if number is not None), default=None)
        if first is None:
            return ""
        found = slice(first - 1, first - 1 + LOG_LINES)
    return "\n".join(neutral(line) for line in lines[found]).replace("```", "'''")


def traceback_of(raised: str, lines: Sequence[str]) -> slice | None:
    """The lines of the first traceback that ends in this exception of this function."""
    for head, line in enumerate(lines):
        below = raised_below(lines[head + 1 :]) if TRACEBACK in line else None
        if below is not None and str(below[1]) == raised:
            return slice(head, min(head + 2 + below[0], head + LOG_LINES))
    return None


def neutral(line: str) -> str:
    """A line of the log without colours and without folders of the machine."""
    return HOME.sub("~", PACKAGES.sub("", COLOURS.sub("", line)))


def _reproduction(material: IssueMaterial) -> str:
    plan = material.stored.history.plan
    parts = []
    if material.script is not None:
        parts.append(
            "Start the server with the command above on a GPU, with any model. Token ids are below 256. "
            f"Then send the load with the attached script, which needs nothing but Python:\n\n"
            f"```bash\npython {material.script} --url http://127.0.0.1:8000 --model MODEL\n```\n"
        )
    else:
        parts.append(f"There is no plain script: {material.no_script}.\n")
    parts.append(f"{WITH_KVCHAOS}\n\n```bash\n{_command(material)}\n```\n")
    if material.scenario_file is not None:
        name = f"{plan.scenario.name}.yaml"
        parts.append(
            f"<details><summary>{name}</summary>\n\n```yaml\n{material.scenario_file}```\n\n</details>\n"
        )
    return "\n".join(parts)


def _command(material: IssueMaterial) -> str:
    plan = material.stored.history.plan
    if material.scenario_file is None:
        return repeat_command(plan)
    return run_command_line(Path(f"{plan.scenario.name}.yaml"), plan, plan.versions.server_name)


def _frequency(material: IssueMaterial) -> str:
    lines: list[str] = []
    if material.repeats is not None:
        lines += result_lines(material.repeats)
    if material.releases is not None:
        lines += _release_lines(material.releases)
    return "".join(f"- {cell_text(line)}\n" for line in lines)


def _release_lines(releases: Bisection) -> Iterator[str]:
    for each in releases.releases:
        if each.decision is not None and not each.given:
            yield f"vLLM {each.vllm}: {each.decision}, {each.shown} of {each.runs} runs"
