"""What is wrong in a run, first on its dashboard: a row for the condition of each alert.

`ALERTS` of Prometheus has no series while nothing is wrong, which looks like a panel that is broken.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dashboards.parts import RED, Panel, Query, state_timeline
from dashboards.promql import OVER, percentile, server, suite, total

FIRES = {"0": (" ", "transparent"), "1": ("fires", RED)}
FAILED = 'outcome="failed"'
LAG_S = 0.25


def alerts() -> Iterator[Panel]:
    """The panel of all alerts."""
    yield state_timeline(
        "Conditions of the alerts",
        "When the condition of each alert was met; docs/alerts.md says what to do. A restart and a decrease "
        "of a counter count for 1m, a server that is down, a deadlock, a lack of progress over 10s and a lag "
        "after 5s, leaked blocks after 10s.",
        [Query(expr, alert) for alert, expr in conditions().items()],
        states=FIRES,
    )


def conditions() -> Mapping[str, str]:
    """PromQL that is 1 while the condition of an alert is met and else 0, by name of the alert."""
    running, waiting = (total(server(f"vllm:num_requests_{state}")) for state in ("running", "waiting"))
    generated, prompts = (server(f"vllm:{tokens}_tokens_total") for tokens in ("generation", "prompt"))
    # A server that restarts is not scraped for half a minute.
    restarts = total(f"changes({server('process_start_time_seconds')}[1m])")
    failures = total(f"increase({suite('kvchaos_requests_total', FAILED)}{OVER})")
    tokens = total(f"rate({generated}[10s]) + rate({prompts}[10s])")
    used = f"max({server('vllm:kv_cache_usage_perc')})"
    lag = percentile(0.99, suite("kvchaos_client_event_loop_lag_seconds_bucket"))
    down = f"(1 - max({server('up')})) * max({suite('kvchaos_phase_active')})"
    return {
        "ServerDown": _lasting(down, "5s"),
        "ServerRestarted": f"{restarts} > bool 0",
        "CounterDecreased": f"{total(f'resets({generated}[1m])')} > bool {restarts}",
        "RequestsFail": f"{failures} > bool 0",
        "Deadlock": _lasting(f"({waiting} > bool 0) * ({running} == bool 0)", "5s"),
        "NoProgress": _lasting(f"({running} > bool 0) * ({tokens} == bool 0)", "5s"),
        "BlocksLeaked": _lasting(f"({used} > bool 0) * ({running} + {waiting} == bool 0)", "10s"),
        "LoadWorkersLag": _lasting(f"{lag} > bool {LAG_S}", "5s"),
    }


def _lasting(condition: str, duration: str) -> str:
    """1 where the condition was met for so long."""
    return f"min_over_time(({condition})[{duration}:1s])"
