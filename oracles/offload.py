"""Did the offload tier do any work? A run that never loads a block proves nothing about offloading."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from history.finding import metric as metric_subject
from history.reader import History
from history.verdict import OracleResult
from oracles.findings import Findings
from oracles.inputs import METRICS
from oracles.rule import Rule
from oracles.timeline import final_total

NAME = "offload-used"
HITS = "vllm:external_prefix_cache_hits_total"
PREEMPTIONS = "vllm:num_preemptions_total"
USED_WHILE_OFF = Rule(
    "offload-used/used-while-off",
    "A server without offloading loads nothing from a tier and hits no token there.",
    "vLLM documentation",
    (METRICS,),
    f"there is no metric {HITS}",
)
RULES = (USED_WHILE_OFF,)


class Count(Protocol):
    """How much a counter counted in some stretch of a run; None when it is absent."""

    def __call__(self, metric: str, **labels: str) -> float | None: ...


def judge(history: History) -> OracleResult:
    """Offload on: bytes were loaded and external hits counted, else unknown. Off: neither happened."""
    if history.plan.scenario.server.offload:
        return _on(history)
    return _off(history)


def _on(history: History) -> OracleResult:
    found = Findings(NAME)
    loaded, hits = loaded_bytes(partial(final_total, history)), final_total(history, HITS)
    for kind, what, amount in (
        ("bytes", "bytes loaded from the offload tier", loaded),
        ("hits", "external prefix cache hits", hits),
    ):
        if amount is None:
            found.gap(f"no-{kind}-reported", f"the server reports no {what}")
        elif amount <= 0:
            found.gap(f"no-{kind}", f"no {what}: the offload tier was never read")
        else:
            found.checked += 1
    preemptions = final_total(history, PREEMPTIONS)
    preempted = "unknown" if preemptions is None else f"{preemptions:g}"
    passed = f"{loaded or 0:g} bytes loaded, {hits or 0:g} tokens hit, {preempted} preemptions"
    figures = {"loaded_bytes": loaded, "hits": hits, "preemptions": preemptions}
    return found.result(passed, **{name: value for name, value in figures.items() if value is not None})


def _off(history: History) -> OracleResult:
    found = Findings(NAME)
    hits = final_total(history, HITS)
    if hits is None:
        found.gap("metric-absent", f"no metric {HITS}", metric_subject(HITS))
    else:
        found.checked += 1
    loaded = loaded_bytes(partial(final_total, history))
    for metric, amount in ((HITS, hits or 0.0), ("bytes loaded", loaded or 0.0)):
        if amount > 0:
            text = f"offload is off, yet {metric} is {amount:g}"
            found.violation(USED_WHILE_OFF, metric_subject(metric), text, figures={"amount": amount})
    return found.result("offload is off; nothing was loaded", loaded_bytes=0)


def loaded_bytes(count: Count) -> float | None:
    """Bytes loaded from the offload tier, under the name that the release has for them."""
    flat = count("vllm:kv_offload_load_bytes_total")
    if flat is not None:
        return flat
    return count("vllm:kv_offload_total_bytes_total", transfer_type="CPU_to_GPU")
