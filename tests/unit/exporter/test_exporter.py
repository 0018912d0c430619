"""A metric of the suite's own that says something else than the history sends people the wrong way."""

from __future__ import annotations

import errno
import http.client
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from history.events import FaultsArmed, FaultsHealed, PhaseEnd, PhaseStart, ProbeSent, ServerExit
from history.jsonl import LineWriter
from history.plan import RunPlan
from history.records import ClientRecord, FaultEvent, FaultRecord
from history.scenario import FaultSpec, Trigger
from kvchaos.errors import UsageError
from kvchaos.exporter.live_state import FiringCounter, LiveRunState
from kvchaos.exporter.suite_metrics import HttpExporter, KvchaosCollector
from kvchaos.prometheus.scraper import Samples, parse_samples
from kvchaos.stacks.local_stack import choose_port
from loadtests.dispatcher import LatencyHistograms, phase_done
from loadtests.messages import Health, Progress
from tests.support.synthetic_records import good_request, gpu_sample, make_plan

MISS = FaultSpec(id="miss", kind="lookup_miss", trigger=Trigger(every=1))


@pytest.fixture
def plan() -> RunPlan:
    return make_plan(faults=(MISS,))


@pytest.fixture
def board(plan: RunPlan, tmp_path: Path) -> LiveRunState:
    return LiveRunState(plan, FiringCounter(tmp_path))


def samples(board: LiveRunState) -> Samples:
    found = {}
    for family in KvchaosCollector(board).collect():
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[f"{sample.name.removeprefix('kvchaos_')} {labels}".rstrip()] = sample.value
    return found


def progress(phase: str = "chaos", *, ok: int = 0, failed: int = 0, in_flight: int = 0) -> Progress:
    return Progress(
        phase=phase,
        sent=ok + failed + in_flight,
        ok=ok,
        failed=failed,
        aborted=0,
        in_flight=in_flight,
        tokens=4 * ok,
        last_token_age_s=0.0,
    )


class TestGpus:
    def test_last_sample_of_each_gpu_is_served_in_base_units(self, plan: RunPlan, tmp_path: Path) -> None:
        arriving = [[gpu_sample(index=0), gpu_sample(index=1)], [gpu_sample(index=1, busy_percent=10)]]
        board = LiveRunState(plan, FiringCounter(tmp_path), lambda: arriving.pop(0))
        samples(board)
        shown = samples(board)
        assert (shown["gpu_busy_ratio gpu=0"], shown["gpu_busy_ratio gpu=1"]) == (0.85, 0.1)
        assert shown["gpu_power_watts gpu=0"] == 350.0
        assert shown["gpu_clock_hertz gpu=0"] == 1.5e9
        assert shown["gpu_bus_bytes_per_second gpu=0,direction=received"] == 2000
        assert shown["gpu_slowed gpu=0,reason=power-cap"] == 1

    def test_critical_errors_are_counted_over_the_run(self, plan: RunPlan, tmp_path: Path) -> None:
        arriving = [[gpu_sample(xids=(79,))], [gpu_sample(xids=(31, 31))], []]
        board = LiveRunState(plan, FiringCounter(tmp_path), lambda: arriving.pop(0))
        assert [samples(board)["gpu_xid_errors_total gpu=0"] for _ in range(3)] == [1, 3, 3]

    def test_figure_that_a_card_does_not_report_has_no_sample(self, plan: RunPlan, tmp_path: Path) -> None:
        board = LiveRunState(plan, FiringCounter(tmp_path), lambda: [gpu_sample(power_mw=None)])
        assert "gpu_power_watts gpu=0" not in samples(board)

    def test_run_without_a_gpu_serves_no_sample_of_one(self, board: LiveRunState) -> None:
        assert not [name for name in samples(board) if name.startswith("gpu_")]


class TestPhases:
    def test_phase_gauge_is_one_between_start_and_end(self, board: LiveRunState) -> None:
        board.event(PhaseStart(phase="chaos", role="chaos", requests=4))
        shown = samples(board)
        assert shown["phase_active phase=chaos,role=chaos"] == 1
        assert shown["phase_active phase=golden,role=golden"] == 0
        board.event(PhaseEnd(phase="chaos", sent=4, ok=4, failed=0, reason="done"))
        assert samples(board)["phase_active phase=chaos,role=chaos"] == 0

    def test_server_exits_are_counted(self, board: LiveRunState) -> None:
        assert samples(board)["events_total kind=server_exit"] == 0
        board.event(ServerExit(code=1))
        assert samples(board)["events_total kind=server_exit"] == 1

    def test_probes_are_counted_by_outcome(self, board: LiveRunState) -> None:
        sent = ProbeSent(where="ready", ok=True, seconds=0.1, request="probe-0", error=None)
        board.event(sent)
        board.event(msgspec.structs.replace(sent, where="final", ok=False))
        shown = samples(board)
        assert (shown["probes_total outcome=ok"], shown["probes_total outcome=failed"]) == (1, 1)

    def test_run_info_has_scenario_and_seed(self, board: LiveRunState, plan: RunPlan) -> None:
        (labels,) = [key for key in samples(board) if key.startswith("run_info")]
        assert f"scenario={plan.scenario.name}" in labels
        assert f"seed={plan.seed}" in labels


class TestFaults:
    active = "fault_active fault=miss,kind=lookup_miss"
    fired = "fault_firings_total fault=miss,kind=lookup_miss"

    def test_a_fault_is_active_from_arming_to_healing(self, board: LiveRunState) -> None:
        assert samples(board)[self.active] == 0
        board.event(FaultsArmed(phase="chaos", faults=["miss"]))
        assert samples(board)[self.active] == 1
        board.event(FaultsHealed(phase="chaos", faults=["miss"], confirmed=True, by="journal"))
        assert samples(board)[self.active] == 0

    def test_firings_are_counted_as_the_journals_grow(self, board: LiveRunState, tmp_path: Path) -> None:
        (tmp_path / "control").mkdir()
        assert samples(board)[self.fired] == 0
        with LineWriter(tmp_path / "control" / "faults-scheduler-7.jsonl") as journal:
            journal.write(line("armed", None))
            journal.write(line("fired", 0))
            assert samples(board)[self.fired] == 1
            journal.write(line("fired", 1))
            assert samples(board)[self.fired] == 2
            assert samples(board)[self.fired] == 2

    def test_partial_journal_line_is_read_when_complete(self, board: LiveRunState, tmp_path: Path) -> None:
        (tmp_path / "control").mkdir()
        path = tmp_path / "control" / "faults-scheduler-7.jsonl"
        with LineWriter(path) as journal:
            journal.write(line("fired", 0))
        whole = path.read_bytes()
        path.write_bytes(whole[:20])
        assert samples(board)[self.fired] == 0
        path.write_bytes(whole)
        assert samples(board)[self.fired] == 1

    def test_unplanned_fault_is_exported_by_its_firings(self, board: LiveRunState, tmp_path: Path) -> None:
        (tmp_path / "control").mkdir()
        with LineWriter(tmp_path / "control" / "faults-worker-8.jsonl") as journal:
            journal.write(line("fired", 0, fault="unplanned"))
        assert samples(board)["fault_firings_total fault=unplanned,kind=lookup_miss"] == 1


def line(event: FaultEvent, n: int | None, fault: str = "miss") -> FaultRecord:
    return FaultRecord(
        t_ns=1,
        mono_ns=1,
        role="scheduler",
        pid=7,
        event=event,
        fault=fault,
        kind="lookup_miss",
        site="lookup",
        n=n,
        request=None,
        evidence={},
    )


class TestRequests:
    def test_last_reports_of_all_workers_are_summed(self, board: LiveRunState) -> None:
        board.report(0, progress(ok=1, in_flight=3))
        board.report(0, progress(ok=2, in_flight=2))
        board.report(1, progress(ok=5, failed=1))
        shown = samples(board)
        assert shown["requests_total phase=chaos,outcome=ok"] == 7
        assert shown["requests_total phase=chaos,outcome=failed"] == 1
        assert shown["requests_in_flight phase=chaos"] == 2
        assert shown["tokens_total phase=chaos"] == 28

    def test_ended_phase_keeps_its_counts(self, board: LiveRunState) -> None:
        board.report(0, phase_done(progress("golden", ok=4), "complete"))
        board.report(0, progress("chaos", ok=1))
        assert samples(board)["requests_total phase=golden,outcome=ok"] == 4

    def test_times_of_several_workers_make_one_cumulative_histogram(self, board: LiveRunState) -> None:
        for worker in (0, 1):
            watch = LatencyHistograms("chaos")
            watch.ended(good_request("chaos-0", "p", "chaos", 0))
            board.report(worker, watch.reading())
        shown = samples(board)
        below, above = (shown[f"ttft_seconds_bucket phase=chaos,le={le}"] for le in ("0.01", "0.02"))
        assert (below, above) == (0, 2)
        assert (
            shown["ttft_seconds_bucket phase=chaos,le=+Inf"] == shown["ttft_seconds_count phase=chaos"] == 2
        )
        assert shown["ttft_seconds_sum phase=chaos"] == pytest.approx(0.04)
        assert shown["itl_seconds_count phase=chaos"] == 4

    def test_the_health_of_a_worker_adds_up_over_its_reports(self, board: LiveRunState) -> None:
        for lag_us in (900, 2_000_000):
            board.report(0, Health(health(lag_us)))
        shown = samples(board)
        assert shown["client_cpu_seconds_total worker=0"] == pytest.approx(0.5)
        assert shown["client_connections worker=0"] == 6
        assert shown["client_event_loop_lag_seconds_bucket worker=0,le=0.001"] == 1
        assert shown["client_event_loop_lag_seconds_bucket worker=0,le=2.5"] == 2


def health(lag_us: int) -> ClientRecord:
    return ClientRecord(
        t_ns=1,
        mono_ns=1,
        worker=0,
        phase="chaos",
        wall_us=1_000_000,
        cpu_us=250_000,
        event_loop_lag_us=[lag_us],
        gc_pause_us=[],
        connections=6,
    )


class TestServing:
    @pytest.fixture
    def port(self, board: LiveRunState) -> Iterator[int]:
        port = choose_port(None)
        exporter = HttpExporter(board, port)
        exporter.start()
        yield port
        exporter.stop()
        exporter.stop()

    def test_exporter_serves_the_exposition_format(self, port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/metrics")
        found = parse_samples(connection.getresponse().read().decode())
        connection.close()
        assert found['kvchaos_fault_active{fault="miss",kind="lookup_miss"}'] == 0

    def test_exporter_binds_loopback_only(self, port: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.2", port))  # Taken, if it listened on all addresses.

    def test_used_port_is_one_line(self, board: LiveRunState, port: int) -> None:
        with pytest.raises(UsageError, match=f"port {port}: {os.strerror(errno.EADDRINUSE)}"):
            HttpExporter(board, port).start()
