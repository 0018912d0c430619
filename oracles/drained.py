"""Is anything still held when all requests are done?"""

from __future__ import annotations

from history.events import (
    D,
    Drained,
    EventData,
    LeakProbe,
    PhaseEnd,
    PhaseStart,
    PrefixCacheReset,
    Timed,
    shown,
)
from history.reader import History
from history.verdict import SERVER, OracleResult, metric, phase
from oracles.findings import EVENTS, METRICS, Findings, Oracle, Rule
from oracles.views.timeline import end_ns

NAME = "drained"
GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")
NOT_DRAINED = Rule(
    "drained/not-drained",
    "Once all load has ended, the server becomes idle within the scenario's `drain_s`.",
    "scenario",
    (EVENTS,),
    "the run did not reach its end",
)
BLOCKS_LEAKED = Rule(
    "drained/blocks-leaked",
    "When no request is left, no block is in use, so the prefix cache can be reset.",
    "vLLM documentation",
    (EVENTS,),
    "the server did not answer the leak probe",
)
GAUGE = Rule(
    "drained/gauge-not-zero",
    "When no request is left, the gauges of requests and of KV cache usage are 0.",
    "vLLM documentation",
    (METRICS, EVENTS),
    "there is no scrape after the last request, or a gauge is absent",
)
RULES = (NOT_DRAINED, BLOCKS_LEAKED, GAUGE)


def judge(history: History) -> OracleResult:
    """The drain succeeded, the gauges are zero at the last scrape, the leak probe found no held block."""
    found = Findings(NAME)
    for event in _events(history, found, Drained):
        found.checked += 1
        if not event.data.ok:
            _violation(found, NOT_DRAINED, event, "the server did not drain")
    probed = history.plan.starts_server
    if probed:
        _probes(history, found)
        _resets(history, found)
    _gauges(history, found)
    _settled(history, found)
    released = (
        "holds no block"
        if probed
        else "was not probed for blocks, since its cache belongs to other clients, too"
    )
    return found.result(f"the server drained, its gauges are 0, and it {released}", probed=int(probed))


def _probes(history: History, found: Findings) -> None:
    """A server that did not answer the leak probe has not shown that it holds any block."""
    for event in _events(history, found, LeakProbe):
        if event.data.ok is None:
            found.gap("probe-unanswered", event.data.detail)
            continue
        found.checked += 1
        if not event.data.ok:
            _violation(found, BLOCKS_LEAKED, event, "the leak probe found blocks that are still in use")


def _settled(history: History, found: Findings) -> None:
    """Between phases, too: else the server still worked at what no client waited for any more."""
    for when, events in (("before", history.events_of(PhaseStart)), ("after", history.events_of(PhaseEnd))):
        for event in events:
            if event.data.settled is False:
                text = f"the server was not idle {when} phase {event.data.phase}"
                found.gap("phase-not-settled", text, phase(event.data.phase))


def _resets(history: History, found: Findings) -> None:
    """After damage the cache is dropped, or what follows may be answered from damaged blocks."""
    for event in history.events_of(PrefixCacheReset):
        if event.data.ok is not True and not found.violations[BLOCKS_LEAKED.id]:
            text = f"the prefix cache was not reset after a fault: {event.data.detail or event.data.answer}"
            found.gap("cache-not-reset", text)


def _events(history: History, found: Findings, kind: type[D]) -> list[Timed[D]]:
    events = history.events_of(kind)
    if not events:
        found.gap(f"no-{kind.kind.replace('_', '-')}", f"there is no {kind.kind} event")
    return events


def _violation(found: Findings, rule: Rule, event: Timed[EventData], wrong: str) -> None:
    values = shown(event.data)
    details = ", ".join(f"{key}={value}" for key, value in values.items() if key != "ok")
    figures = {
        key: value
        for key, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    found.violation(rule, SERVER, f"{wrong}: {details}", figures=figures, t_ns=event.t_ns)


def _gauges(history: History, found: Findings) -> None:
    log = history.metrics
    last = len(log) - 1
    if last < 0 or log.times_ns[last] < max(map(end_ns, history.requests), default=0):
        found.gap("not-settled", "there is no scrape after the last request")
        return
    for gauge in GAUGES:
        value = log.total(last, gauge)
        if value is None:
            found.gap("metric-absent", f"the scrapes have no {gauge}", metric(gauge))
            continue
        found.checked += 1
        value = value or _at_drain(history, gauge)
        if value != 0:
            at_ns, text = log.times_ns[last], f"{gauge} is {value:g} after the drain and must be 0"
            found.violation(GAUGE, metric(gauge), text, samples=[(at_ns, value)], t_ns=at_ns)


def _at_drain(history: History, gauge: str) -> float:
    """The same gauge as the conductor read it when the server had come to rest."""
    read = [event.data for event in history.events_of(Drained)]
    if not read:
        return 0.0
    at_rest = dict(zip(GAUGES, (read[-1].running, read[-1].waiting, read[-1].kv_usage), strict=True))
    return float(at_rest[gauge] or 0.0)


ORACLE = Oracle(NAME, "no block leaks once all requests are done", (EVENTS, METRICS), judge, RULES)
