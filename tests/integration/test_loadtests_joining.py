"""Workers that join from elsewhere must lose nothing on the way, and leave nobody in doubt of it."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import msgspec
import zmq

from history.phase_spec import Recorded
from history.records import ClientRecord
from loadtests.distributed import master_protocol
from loadtests.distributed.master_protocol import (
    Assigned,
    ForwardedReport,
    Join,
    Records,
    Shutdown,
    VersionMismatch,
)
from loadtests.messages import EXIT_NOT_NEEDED, PhaseDone, Ready, Report
from loadtests.processes import LoadProcesses
from tests.fakes.openai_server import Behaviour, FakeServer
from tests.support.free_port import free_port
from tests.support.joining_workers import joining, worker
from tests.support.load_processes import PATIENCE_S, phase, records, wait_for, write_plan

SLOW = Behaviour(token_s=1.0)
NS = 1_000_000_000


def test_joined_worker_times_use_the_conductor_clock_with_an_error(tmp_path: Path) -> None:
    with FakeServer() as server, joining(tmp_path, write_plan(tmp_path, server.url)) as joined:
        assert joined.load.wait_ready(PATIENCE_S)
        joined.load.start_phase(phase(requests=8))
        assert joined.load.wait_done(PATIENCE_S)
    lines = (tmp_path / "client.jsonl").read_bytes().splitlines()
    records = [msgspec.json.decode(line, type=ClientRecord) for line in lines]
    assert {record.worker for record in records} == {0, 1}
    for record in records:
        assert record.clock_offset_ns is not None
        assert record.clock_error_ns is not None
        # Here it is one clock, so that the truth is known.
        assert abs(record.clock_offset_ns) <= record.clock_error_ns < NS


def test_surplus_worker_is_refused_and_early_exit_is_a_failure(tmp_path: Path) -> None:
    with FakeServer(SLOW) as server, joining(tmp_path, write_plan(tmp_path, server.url)) as joined:
        assert joined.load.wait_ready(PATIENCE_S)
        with worker(joined.port) as third:
            assert third.wait(PATIENCE_S) == EXIT_NOT_NEEDED
        joined.load.start_phase(phase(requests=50, concurrency=4))
        wait_for(lambda: len(server.received) == 4)
        numbers = {joined_process.pid: number for number, joined_process in joined.load.joined()}
        leaver = joined.workers[0]
        leaver.send_signal(signal.SIGTERM)
        wait_for(lambda: bool(joined.load.failures()))
        (line,) = joined.load.failures()
        assert f"worker {numbers[leaver.pid]} (pid {leaver.pid} " in line
    # What each of them had in flight when it left is on record, too.
    found = records(tmp_path)
    assert sorted(record.id for record in found) == [f"load-{number}" for number in range(4)]
    assert {record.error.kind for record in found if record.error} == {"StoppedEarly"}
    assert [process.returncode for process in joined.workers] == [0, 0]


def test_trace_is_sent_to_joined_workers(tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    entries = [{"at_s": n / 50, "prompt_tokens": 20 + n, "output_tokens": 4} for n in range(20)]
    trace.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    with FakeServer() as server:
        plan = write_plan(tmp_path, server.url, kind="trace", params={"path": str(trace), "format": "own"})
        with joining(tmp_path, plan) as joined:
            assert joined.load.wait_ready(PATIENCE_S)
            trace.unlink()
            joined.load.start_phase(phase(requests=20, concurrency=20, arrivals=Recorded(kind="trace")))
            assert joined.load.wait_done(PATIENCE_S)
    assert sorted(record.prompt_tokens for record in records(tmp_path)) == list(range(20, 40))


class Impostor:
    """Speaks to a master as a worker would, in words of the test's choice."""

    def __init__(self, port: int) -> None:
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.IDENTITY, b"impostor")
        self._socket.setsockopt(zmq.RCVTIMEO, int(PATIENCE_S * 1000))
        self._socket.connect(f"tcp://127.0.0.1:{port}")
        self._send("client_ready", -1)
        assert self._receive()[0] == "ack"

    def send(self, message: master_protocol.FromWorker) -> None:
        self._send(
            master_protocol.MESSAGE_TYPE, {master_protocol.MESSAGE_TYPE: master_protocol.encode(message)}
        )

    def report(self, report: Report) -> None:
        self.send(ForwardedReport(msgspec.json.encode(report)))

    def receive(self) -> master_protocol.FromMaster:
        kind, data = self._receive()
        assert kind == master_protocol.MESSAGE_TYPE
        return master_protocol.from_master(data[master_protocol.MESSAGE_TYPE])

    def close(self) -> None:
        self._socket.close(linger=0)

    def _send(self, kind: str, data: object) -> None:
        self._socket.send(msgspec.msgpack.encode((kind, data, "impostor")))

    def _receive(self) -> tuple[str, dict[str, bytes]]:
        kind, data, _ = msgspec.msgpack.decode(self._socket.recv())
        return kind, data


def done(sent: int) -> PhaseDone:
    return PhaseDone(
        phase="load",
        sent=sent,
        ok=sent,
        failed=0,
        aborted=0,
        in_flight=0,
        tokens=0,
        last_token_age_s=0.0,
        reason="complete",
    )


def test_worker_with_different_code_is_refused_and_a_lost_record_is_detected(
    tmp_path: Path,
) -> None:
    port = free_port()
    plan = write_plan(tmp_path, "http://127.0.0.1:1")
    load = LoadProcesses(tmp_path, plan, 1, tmp_path / "loader.log", join=f"127.0.0.1:{port}")
    load.start()
    impostor = Impostor(port)
    try:
        impostor.send(Join("there", 7, "0123456789abcdef"))
        assert isinstance(impostor.receive(), VersionMismatch)
        impostor.send(Join("there", 7, master_protocol.code_fingerprint()))
        seat = impostor.receive()
        assert isinstance(seat, Assigned)
        assert seat.plan == plan.read_text()
        wait_for(lambda: bool(load.joined()))
        (absent,) = load.absent()
        assert "worker 0 (pid 7 " in absent
        impostor.report(Ready())
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=5))
        impostor.report(done(5))
        impostor.send(Records(2, b'{"a":1}\n{"a":2}\n'))
        assert not load.wait_done(PATIENCE_S)
        (lost,) = load.failures()
        assert "worker 0 (pid 7 " in lost
        assert "3 of its 5" in lost
        impostor.send(Shutdown(2))
    finally:
        impostor.close()
        load.close()
    assert (tmp_path / "requests-0.jsonl").read_bytes() == b'{"a":1}\n{"a":2}\n'
