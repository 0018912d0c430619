"""Is anything still held when all requests are done?"""

from __future__ import annotations

from history.reader import History
from history.verdict import OracleResult, Witness
from oracles.findings import Findings, finite
from oracles.timeline import end_ns

NAME = "drained"
GAUGES = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")


def judge(history: History) -> OracleResult:
    """The drain succeeded, the gauges are zero at the last scrape, the leak probe found no held block."""
    found = Findings(NAME)
    _events(history, found, "drained", "the server did not drain")
    probed = history.plan.stack != "attach"
    if probed:
        _events(history, found, "leak_probe", "the leak probe found blocks still held")
    _gauges(history, found)
    held = "no block held" if probed else "its blocks were not probed, since its cache is not ours to drop"
    return found.result(f"drained; gauges at zero; {held}")


def _events(history: History, found: Findings, kind: str, wrong: str) -> None:
    events = history.events_of(kind)
    if not events:
        found.gap(f"no {kind} event")
    for event in events:
        found.checked += 1
        if event.data.get("ok") is not True:
            details = ", ".join(f"{key}={value}" for key, value in event.data.items() if key != "ok")
            found.violation(Witness(text=f"{wrong}: {details}", t_ns=event.t_ns))


def _gauges(history: History, found: Findings) -> None:
    log = history.metrics
    last = len(log) - 1
    if last < 0 or log.times_ns[last] < max(map(end_ns, history.requests), default=0):
        found.gap("no scrape after the last request")
        return
    for gauge in GAUGES:
        value = log.total(last, gauge)
        if value is None:
            found.gap(f"no metric {gauge}")
            continue
        found.checked += 1
        if value != 0:
            found.violation(
                Witness(
                    text=f"{gauge} is {value:g} after draining",
                    metric=gauge,
                    samples=finite([(log.times_ns[last], value)]),
                    t_ns=log.times_ns[last],
                )
            )
