"""Did the offload tier do any work? A run that never loads a block proves nothing about offloading.

Neither does one in which what its scenario requires did not happen, such as a preemption.
"""

from __future__ import annotations

from functools import partial

from history.events import PhaseEnd
from history.reader import History, PhaseWindow
from history.verdict import OracleResult
from history.verdict import metric as metric_subject
from history.verdict import phase as phase_subject
from oracles.findings import METRICS, Findings, Oracle, Rule
from oracles.views.counter_growth import growth_in_phases, loaded_bytes
from oracles.views.timeline import final_total

NAME = "offload-used"
HITS = "vllm:external_prefix_cache_hits_total"
PREEMPTIONS = "vllm:num_preemptions_total"
MB = 1_000_000
USED_WHILE_OFF = Rule(
    "offload-used/used-while-off",
    "A server without offloading loads nothing from a tier and hits no token there.",
    "vLLM documentation",
    (METRICS,),
    f"there is no metric {HITS}",
)
RULES = (USED_WHILE_OFF,)


def judge(history: History) -> OracleResult:
    """Offload on: bytes were loaded and external hits counted, else unknown. Off: neither happened."""
    found = Findings(NAME)
    _requirements(history, found)
    return _on(history, found) if history.plan.scenario.server.offload else _off(history, found)


def _requirements(history: History, found: Findings) -> None:
    """Each was met in its phase, if that came to its end."""
    offload = history.plan.scenario.server.offload
    ended = {event.data.phase for event in history.events_of(PhaseEnd) if event.data.reason == "done"}
    windows = {window.spec.name: window for window in history.phases() if window.spec.name in ended}
    for requirement in history.plan.scenario.requires:
        window = windows.get(requirement.phase)
        if window is None:
            continue  # Why it did not come to its end is for others to say.
        for what, metric, least in (
            ("preemptions", PREEMPTIONS, requirement.preemptions),
            ("tokens hit in the tier", HITS, requirement.tier_hits if offload else None),
        ):
            if least is not None:
                _require(found, window, least, what, growth_in_phases(history, [window], metric))


def _require(found: Findings, window: PhaseWindow, least: int, what: str, grown: float | None) -> None:
    name, subject = window.spec.name, phase_subject(window.spec.name)
    found.checked += 1
    if grown is None:
        text = f"phase {name}: {what} are not known; the scenario requires {least}"
        found.gap("requirement-unknown", text, subject, figures={"required": least})
    elif grown < least:
        text = f"phase {name} had {grown:g} {what}; the scenario requires {least}, so the run proves nothing"
        found.gap("requirement-not-met", text, subject, figures={"required": least, "count": grown})


def _on(history: History, found: Findings) -> OracleResult:
    loaded, hits = loaded_bytes(partial(final_total, history)), final_total(history, HITS)
    for kind, what, amount in (
        ("bytes", "bytes loaded from the offload tier", loaded),
        ("hits", "external prefix cache hits", hits),
    ):
        if amount is None:
            found.gap(f"no-{kind}-reported", f"the server reports no {what}")
        elif amount <= 0:
            found.gap(f"no-{kind}", f"the server counts no {what}, so the offload tier was never read")
        else:
            found.checked += 1
    _loads_under_load(history, found, loaded)
    preemptions = final_total(history, PREEMPTIONS)
    preempted = "an unknown number of" if preemptions is None else f"{preemptions:.0f}"
    passed = (
        f"the server loaded {(loaded or 0) / MB:.1f} MB from the offload tier and hit {hits or 0:.0f} tokens "
        f"there, with {preempted} preemptions"
    )
    figures = {"loaded_bytes": loaded, "hits": hits, "preemptions": preemptions}
    return found.result(passed, **{name: value for name, value in figures.items() if value is not None})


def _loads_under_load(history: History, found: Findings, loaded: float | None) -> None:
    """Answers in golden phases set the standard, so that loads in these alone are not compared."""
    others = [window for window in history.phases() if window.spec.role != "golden"]
    later = [loaded_bytes(partial(growth_in_phases, history, [window])) for window in others]
    known = [amount for amount in later if amount is not None]
    # What was loaded in a phase in which the server was restarted is not known.
    if loaded and known and len(known) == len(later) and sum(known) <= 0:
        text = f"all {loaded:g} bytes were loaded in golden phases, none later"
        found.gap("no-bytes-under-load", text, figures={"loaded_bytes": loaded})


def _off(history: History, found: Findings) -> OracleResult:
    hits = final_total(history, HITS)
    if hits is None:
        found.gap("metric-absent", f"the scrapes have no {HITS}", metric_subject(HITS))
    else:
        found.checked += 1
    loaded = loaded_bytes(partial(final_total, history))
    for metric, amount in ((HITS, hits or 0.0), ("bytes loaded", loaded or 0.0)):
        if amount > 0:
            text = f"offload is off, but {metric} is {amount:g}"
            found.violation(USED_WHILE_OFF, metric_subject(metric), text, figures={"amount": amount})
    return found.result("offload is off, and nothing was loaded", loaded_bytes=0)


ORACLE = Oracle(NAME, "blocks were loaded from the offload tier", (METRICS,), judge, RULES)
