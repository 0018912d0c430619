"""The load of a run shared by several processes is the same load."""

from __future__ import annotations

from collections import Counter

import pytest

from history import layout
from tests.server.bench import OLD, Bench

pytestmark = pytest.mark.server

WORKERS = 2


def test_two_load_workers_send_each_request_once(bench: Bench) -> None:
    finished = bench.run_scenario("baseline-offload", OLD, "--workers", str(WORKERS))
    assert finished.code == 0, finished.out
    run = finished.run()
    phases = run.history.plan.scenario.phases
    planned = [
        f"{phase.name}-{n}" for phase in phases for n in range(phase.first, phase.first + phase.requests)
    ]
    sent = Counter(record.id for record in run.history.requests if record.phase != "canary")
    assert sent == Counter(planned)
    by_worker = Counter(record.worker for record in run.history.requests if record.phase != "canary")
    assert set(by_worker) == set(range(WORKERS))
    for worker in range(WORKERS):
        lines = (run.path / layout.requests_file(worker)).read_bytes().splitlines()
        assert len(lines) == by_worker[worker]
    answered = run.final("vllm:request_success_total")
    assert answered == sum(record.outcome == "ok" for record in run.history.requests)
