"""Latency from the real start alone hides what a frozen server did to those who had not started yet."""

from __future__ import annotations

import msgspec

from history.latency import Quantiles
from kvchaos.report.history_tables import PhaseLatency, latency_text, phase_latencies
from tests.support.histories import Run, clean_run
from tests.support.synthetic_records import MS, failure


def change(run: Run, index: int, **changes: object) -> None:
    """Change a request of the golden phase, by its place."""
    at = [at for at, record in enumerate(run.requests) if record.phase == "golden"][index]
    run.requests[at] = msgspec.structs.replace(run.requests[at], **changes)


def golden(run: Run) -> PhaseLatency:
    return phase_latencies(run.history())[0]


def test_a_request_that_started_late_is_slow_from_when_it_was_due_only() -> None:
    run = clean_run()
    last = [record for record in run.requests if record.phase == "golden"][3]
    change(run, 3, scheduled_ns=last.start_ns - 3000 * MS, client_queued=True)
    row = golden(run)
    assert (row.ttft_from_send, row.e2el_from_send) == (Quantiles(20.0, 20.0), Quantiles(100.0, 100.0))
    assert (row.ttft, row.e2el) == (Quantiles(20.0, 3020.0), Quantiles(100.0, 3100.0))
    assert (row.ok, row.client_queued, row.schedule_lag) == (4, 1, Quantiles(0.0, 0.0))


def test_late_start_without_a_queue_is_schedule_lag() -> None:
    run = clean_run()
    last = [record for record in run.requests if record.phase == "golden"][3]
    change(run, 3, scheduled_ns=last.start_ns - 7 * MS)
    assert (golden(run).client_queued, golden(run).schedule_lag) == (0, Quantiles(0.0, 7.0))


def test_only_good_answers_have_a_latency() -> None:
    run = clean_run()
    for index in range(4):
        change(run, index, **failure("ConnectError", "refused"))
    row = golden(run)
    assert (row.ok, row.ttft, row.e2el) == (0, Quantiles(None, None), Quantiles(None, None))


def test_latency_table_has_a_row_per_phase_with_its_arrival_process() -> None:
    table = latency_text(clean_run().history())
    assert "| golden | closed | 4 | 20.0 / 20.0 | 20.0 / 20.0 | 100.0 / 100.0 | 100.0 / 100.0 | 0 |" in table
    assert [line.split(" | ")[0] for line in table.splitlines()[4:]] == ["| golden", "| chaos", "| healed"]
