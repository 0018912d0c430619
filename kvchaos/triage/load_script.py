"""A plain script that sends the load of a run: for people who do not have this suite. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from history.phase_spec import Closed, PhaseSpec
from history.plan import RunPlan
from history.records import RequestRecord
from kvchaos.triage.failure_signature import FailureSignature
from kvchaos.triage.failure_trace import FailureTrace
from loadtests import workloads
from loadtests.clients.completion_request import body_of, path_of
from loadtests.workloads.workload import Prompt, Stage

TEMPLATE = "load_script_template.py"
MARK = "LOAD: dict[str, Any] = {}\n"
Check = Literal["server", "hang", "answers", "tier-lookups", "finished-requests", "none"]
CHECKS: Mapping[str, Check] = {
    "server-alive/died": "server",
    "server-alive/probe-failed": "server",
    "progress/deadlock": "hang",
    "progress/stall": "hang",
    "answers/not-golden": "answers",
    "answers/not-repeated": "answers",
    "accounting/tier-lookups-exceed-misses": "tier-lookups",
    "accounting/abandoned-requests": "finished-requests",
}
"""What the script looks at, by rule."""
METRICS = (
    "vllm:num_requests_running",
    "vllm:num_requests_waiting",
    "vllm:kv_cache_usage_perc",
    "vllm:num_preemptions_total",
    "vllm:prefix_cache_queries_total",
    "vllm:prefix_cache_hits_total",
    "vllm:external_prefix_cache_queries_total",
    "vllm:external_prefix_cache_hits_total",
    "vllm:prompt_tokens_total",
    "vllm:generation_tokens_total",
)
MOST_BYTES = 1_000_000
NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LoadScript:
    """The script, or why there is none."""

    text: str | None
    reason: str = ""


def load_script(
    plan: RunPlan, requests: Sequence[RequestRecord], trace: FailureTrace, failure: FailureSignature
) -> LoadScript:
    """The script of a run's requests up to its failure."""
    fired = [fault for fault, firings in trace.fired.items() if firings]
    if fired:
        return LoadScript(None, f"the run needs its faults: {', '.join(fired)}")
    try:
        built = {
            name: workloads.build(spec, name, plan.seed) for name, spec in plan.scenario.workloads.items()
        }
    except ValueError as error:
        return LoadScript(None, str(error))
    if any(built[phase.workload].chain_length != 1 for phase in plan.scenario.phases):
        return LoadScript(None, "its requests depend on earlier answers")
    load = {
        "check": check_of(failure.rule),
        "timeout_s": plan.scenario.limits.request_s,
        "metrics": [*METRICS, *_extra_metric(failure)],
        "phases": list(_phases(plan, requests, trace, built)),
    }
    text = script_text(load)
    if len(text.encode()) > MOST_BYTES:
        return LoadScript(None, "its load is too large for a script; make it smaller with: kvchaos shrink")
    return LoadScript(text)


def check_of(rule: str) -> Check:
    """What the script looks at for a rule."""
    return CHECKS.get(rule, "none")


def _extra_metric(failure: FailureSignature) -> list[str]:
    """The metric that the signature names, if it is not among those that are printed anyway."""
    name = failure.signature.partition(": ")[2]
    return [name] if name.startswith("vllm:") and name not in METRICS else []


def script_text(load: Mapping[str, Any]) -> str:
    """The template with a load."""
    template = resources.files("kvchaos.triage").joinpath(TEMPLATE).read_text(encoding="utf-8")
    before, mark, after = template.partition(MARK)
    if not mark:
        raise ValueError(f"{TEMPLATE} has no line {MARK.strip()}")
    content = json.dumps(load, separators=(",", ":"))
    return f"{before}LOAD: dict[str, Any] = json.loads(\n    {content!r}\n)\n{after}"


def _phases(
    plan: RunPlan,
    requests: Sequence[RequestRecord],
    trace: FailureTrace,
    built: Mapping[str, workloads.Workload],
) -> Iterator[dict[str, Any]]:
    """The phases until the failure, each with its requests in the order in which they were sent."""
    for phase in plan.scenario.phases:
        sent = trace.sent.get(phase.name, 0) if trace.sent else phase.requests
        records = [record for record in requests if record.phase == phase.name]
        numbered = sorted(
            (record.start_mono_ns, number) for record in records if (number := _number(record)) is not None
        )
        chosen = [(start, number) for start, number in numbered if number - phase.first < sent]
        if chosen:
            yield {
                "name": phase.name,
                "concurrency": phase.concurrency,
                "requests": [
                    _request(_prompt(built[phase.workload], number), _at_s(phase, start - chosen[0][0]))
                    for start, number in chosen
                ],
            }


def _number(record: RequestRecord) -> int | None:
    _, _, number = record.id.rpartition("-")
    return int(number) if number.isdecimal() else None


def _prompt(workload: workloads.Workload, number: int) -> Prompt:
    stage: Stage = next(workload.script(number))
    return stage.prompts[0]


def _at_s(phase: PhaseSpec, after_ns: int) -> float | None:
    """Time of a request after the first one; None where it follows the end of another."""
    return None if isinstance(phase.arrivals, Closed) else round(after_ns / NS_PER_S, 3)


def _request(prompt: Prompt, at_s: float | None) -> dict[str, Any]:
    body = body_of(prompt, "", with_margins=False)
    del body["model"]
    return {
        "prompt_id": prompt.prompt_id,
        "path": path_of(prompt),
        "body": body,
        "at_s": at_s,
        "abort_s": prompt.abort.after_s if prompt.abort else None,
        "abort_tokens": prompt.abort.after_tokens if prompt.abort else None,
    }
