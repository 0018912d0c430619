"""The master of load workers that join: `python -m loadtests.distributed.master`, started by the conductor.

It uses the channel of Locust's master to the workers. It forwards commands from stdin to the workers and
their reports to stdout, and writes their records into the run directory. The end of stdin is a `Quit`.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gevent
import msgspec
from gevent.queue import Queue
from locust.env import Environment  # patches the standard library, so it comes before our own modules
from locust.exception import RPCError
from locust.rpc import Message
from locust.runners import MasterRunner

from history import layout
from history.jsonl import LineWriter
from history.plan import RunPlan
from history.reader import UnreadableRun, read_plan
from loadtests.conductor_pipes import ReportPipe, own_pipes, read_commands
from loadtests.distributed import master_protocol
from loadtests.distributed.master_protocol import (
    Assigned,
    FileChunk,
    FileRequest,
    ForwardedCommand,
    ForwardedReport,
    FromMaster,
    Goodbye,
    Join,
    Records,
    RunFull,
    Shutdown,
    TimeRequest,
    TimeResponse,
    VersionMismatch,
)
from loadtests.messages import EXIT_FAILED, Command, Failed, Joined, PhaseDone, Quit, Report
from loadtests.open_files import raise_soft_limit
from loadtests.workloads import PATH_PARAM

_reports = msgspec.json.Decoder(Report)

SHUTDOWN_S = 3.0
"""Seconds in which the workers send the rest and disconnect."""
LATE_S = 5.0
"""Seconds for records that arrive after the report that counts them."""
POLL_S = 0.05
LINGER_MS = 1000
PIECE_BYTES = 1 << 20


@dataclass
class _Worker:
    """A worker that has joined."""

    number: int
    writer: LineWriter
    received: int = 0
    """Records."""
    ended: int = 0
    """Requests of the phases whose end it has reported."""
    done: bytes | None = None
    """Its report of a phase's end, which waits for the last records."""
    gone: bool = False


class Master:
    """Assigns workers, forwards commands and reports, and writes the workers' records."""

    def __init__(self, plan_path: Path, workers: int, runner: MasterRunner, pipe: ReportPipe) -> None:
        self._plan: RunPlan = read_plan(plan_path.parent)
        self._text = plan_path.read_text(encoding="utf-8")
        self._out = plan_path.parent
        self._count = workers
        self._runner = runner
        self._pipe = pipe
        self._code = master_protocol.code_fingerprint()
        self._assigned: dict[str, _Worker] = {}
        self._files = ExitStack()
        self._over = False
        runner.register_message(master_protocol.MESSAGE_TYPE, self._on_message)

    def serve(self, inbox: Queue[Command]) -> None:
        """Forward commands up to a `Quit`, then wait for the workers to disconnect."""
        while True:
            command = inbox.get()
            self._over = isinstance(command, Quit)
            order = ForwardedCommand(msgspec.json.encode(command))
            for client in self._assigned:
                self._send(client, order)
            if self._over:
                break
        deadline = time.monotonic() + SHUTDOWN_S
        while not all(worker.gone for worker in self._assigned.values()) and time.monotonic() < deadline:
            gevent.sleep(POLL_S)

    def close(self) -> None:
        """Close the files of records and the server of the workers."""
        self._files.close()
        self._runner.greenlet.kill()
        server: Any = self._runner.server
        server.close(linger=LINGER_MS)

    def _on_message(self, msg: Message, **_: object) -> None:
        try:
            message = master_protocol.from_worker(msg.data[master_protocol.MESSAGE_TYPE])
        except msgspec.MsgspecError as error:
            sys.stderr.write(f"{msg.node_id} sent an invalid message: {error}\n")
            return
        try:
            self._handle(msg.node_id, message)
        except BrokenPipeError:
            # The conductor is gone; the end of stdin ends this process too.
            return
        except OSError as error:
            self._report_failure(None, f"what the workers recorded cannot be written: {error}")

    def _handle(self, client: str, message: master_protocol.FromWorker) -> None:
        worker = self._assigned.get(client)
        match message:
            case TimeRequest(sent_wall_ns=wall, sent_mono_ns=mono):
                self._send(client, TimeResponse(wall, mono, time.time_ns(), time.monotonic_ns()))
            case Join():
                self._send(client, self._assign(client, message))
            case FileRequest():
                self._send(client, self._file_chunk(message))
            case Records(count=count, lines=lines) if worker is not None:
                worker.writer.append(lines)
                worker.received += count
                self._forward_phase_end(worker)
            case ForwardedReport(report=report) if worker is not None:
                self._forward(worker, report)
            case Shutdown(records=records) if worker is not None:
                worker.gone = True
                if not self._over:
                    self._report_failure(worker.number, "it disconnected before the end of the run")
                if worker.received != records:
                    lost = f"{records - worker.received} of its {records} records were lost on the way"
                    self._report_failure(worker.number, lost)
                self._send(client, Goodbye())
            case _:
                sys.stderr.write(f"{client} has no seat\n")

    def _assign(self, client: str, join: Join) -> Assigned | RunFull | VersionMismatch:
        if join.code != self._code:
            return VersionMismatch(
                f"it is not the same version of kvchaos: its code is {join.code}, here {self._code}"
            )
        if len(self._assigned) == self._count:
            return RunFull(f"all {self._count} load workers of run {self._plan.run_id} have joined")
        number = len(self._assigned)
        writer = self._files.enter_context(LineWriter(self._out / layout.requests_file(number)))
        self._assigned[client] = _Worker(number, writer)
        self._send_report(number, Joined(join.host, join.pid))
        return Assigned(number, self._count, self._text)

    def _file_chunk(self, request: FileRequest) -> FileChunk:
        """A chunk of a file that the plan names; no other file is read."""
        path = self._plan.scenario.workloads[request.workload].params[PATH_PARAM]
        with Path(str(path)).open("rb") as file:
            file.seek(request.offset)
            return FileChunk(file.read(PIECE_BYTES))

    def _forward(self, worker: _Worker, report: bytes) -> None:
        """Forward a report; a phase's end only when all its records are on disk."""
        decoded = _reports.decode(report)
        if not isinstance(decoded, PhaseDone):
            self._pipe.forward(worker.number, report)
            return
        worker.ended += decoded.sent
        worker.done = report
        self._forward_phase_end(worker)
        gevent.spawn_later(LATE_S, self._miss, worker, report)

    def _forward_phase_end(self, worker: _Worker) -> None:
        if worker.done is not None and worker.received == worker.ended:
            self._pipe.forward(worker.number, worker.done)
            worker.done = None

    def _miss(self, worker: _Worker, report: bytes) -> None:
        if worker.done is report:
            lost = worker.ended - worker.received
            self._report_failure(worker.number, f"{lost} of its {worker.ended} records were lost on the way")

    def _report_failure(self, worker: int | None, message: str) -> None:
        sys.stderr.write(f"load worker {worker}: {message}\n")
        self._send_report(worker, Failed(message))

    def _send_report(self, worker: int | None, report: Report) -> None:
        self._pipe.forward(worker, msgspec.json.encode(report))

    def _send(self, client: str, message: FromMaster) -> None:
        self._runner.send_message(
            master_protocol.MESSAGE_TYPE,
            {master_protocol.MESSAGE_TYPE: master_protocol.encode(message)},
            client_id=client,
        )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.distributed.master", description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="run.yaml in the run directory")
    parser.add_argument("--workers", type=int, required=True, help="how many workers there are")
    parser.add_argument("--host", required=True, help="address to listen at")
    parser.add_argument("--port", type=int, required=True)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the master's process; returns its exit code."""
    # A Ctrl-C in the terminal reaches this process too; what it means is for the conductor to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    arguments = _arguments(argv)
    raise_soft_limit()
    commands, stdout = own_pipes()
    pipe = ReportPipe(stdout)
    inbox: Queue[Command] = Queue()
    gevent.signal_handler(signal.SIGTERM, inbox.put, Quit())
    try:
        runner = Environment().create_master_runner(arguments.host, arguments.port)
        master = Master(arguments.plan, arguments.workers, runner, pipe)
    except (RPCError, UnreadableRun, OSError) as error:
        pipe.forward(None, msgspec.json.encode(Failed(f"{arguments.host}:{arguments.port}: {error}")))
        return EXIT_FAILED
    gevent.spawn(read_commands, commands, inbox.put)
    try:
        master.serve(inbox)
    except BrokenPipeError:
        return 0
    finally:
        master.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
