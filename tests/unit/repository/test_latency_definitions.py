"""A latency with two definitions hides what one of them shows: the report and the verdict must agree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from history.latency import e2el_ms, itl_us, schedule_lag_ms, tpot_ms, ttft_from_send_ms, ttft_ms
from history.phase_spec import PhaseBounds
from history.reader import History
from history.scenario import Scenario
from kvchaos.report.history_tables import phase_latencies
from kvchaos.report.html.time_charts import ttft as charted
from oracles import performance
from oracles.speed import speeds
from tests.support.histories import Run, clean_run
from tests.support.synthetic_records import good_request

ROOT = Path(__file__).parents[3]
PACKAGES = ("chaos", "history", "kvchaos", "loadtests", "oracles")
DEFINED_IN = {"history/latency.py"}
CLOCKS = {"first_us", "scheduled_ns", "end_us", "chunk_us"}
"""Times of a request that latencies are computed from."""
MOMENTS = {
    "chaos/outside/faults/network_faults.py",
    "history/fired_fault.py",
    "kvchaos/clientbench/client_bench_file.py",
    "kvchaos/report/html/lanes.py",
    "kvchaos/selftest/alterations/event_alterations.py",
    "loadtests/distributed/clock_offset.py",
    "oracles/progress.py",
    "oracles/speed.py",
    "oracles/views/timeline.py",
}
"""Where they are moments on the wall clock, are altered, or say how long one request took that is named."""
FREEZE_MS = 4000
MS = 1_000_000


def arithmetic(path: Path) -> Iterator[int]:
    """Lines that compute with a time of a request."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.BinOp):
            parts = (part for part in ast.walk(node) if isinstance(part, ast.Attribute))
            if any(part.attr in CLOCKS for part in parts):
                yield node.lineno


def test_latency_is_computed_in_one_module_only() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if any(arithmetic(path))
    }
    assert found - DEFINED_IN - MOMENTS == set()


def test_exempted_modules_compute_with_request_times() -> None:
    assert {name for name in MOMENTS if not any(arithmetic(ROOT / name))} == set()


def test_latencies_count_from_the_scheduled_time() -> None:
    record = good_request("load-1", "p", "load", 10_000 * MS)
    late = type(record)(**{name: getattr(record, name) for name in record.__struct_fields__})
    assert schedule_lag_ms(late) == 0
    assert ttft_ms(late) == ttft_from_send_ms(late) == 20.0
    assert e2el_ms(late) == 100.0
    assert tpot_ms(late) == pytest.approx(40 / 3)
    assert sum(itl_us(late)) == 40_000


def frozen() -> History:
    """An open loop at a server that froze: the client was held back, so its requests were sent late."""
    run: Run = clean_run()
    load = [record for record in run.requests if record.phase == "chaos"]
    for index, record in enumerate(run.requests):
        if record in load:
            run.change_request(index, scheduled_ns=record.start_ns - FREEZE_MS * MS, client_queued=True)
    return run.history()


def bounded(history: History, limit_ms: float) -> History:
    scenario: Scenario = history.plan.scenario.model_copy(
        update={"performance": {"chaos": PhaseBounds(ttft_p99_ms=limit_ms)}}
    )
    plan = history.plan.model_copy(update={"scenario": scenario})
    return replace(history, plan=plan)


def test_the_chart_the_table_and_the_verdict_show_the_same_ttft_of_a_frozen_server() -> None:
    history = frozen()
    requests = [record for record in history.requests if record.phase == "chaos"]
    (row,) = (row for row in phase_latencies(history) if row.phase == "chaos")
    (speed,) = (speed for speed in speeds(history) if speed.name == "chaos")
    slowest = float(charted(requests).ms.max())
    assert slowest == pytest.approx(FREEZE_MS + 20)
    assert row.ttft.p99 == speed.ttft.p99 == pytest.approx(slowest)
    assert row.ttft_from_send.p99 == 20.0
    assert performance.judge(bounded(history, slowest + 1)).by_rule == {}
    assert "performance/ttft-p99" in performance.judge(bounded(history, slowest - 1)).by_rule
