"""The conductor's side of the load generator: starts the workers, sends commands, sums up their reports."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from history import layout
from history.jsonl import LineWriter
from history.phase_spec import PhaseSpec
from loadtests.child_process import PlainStarter, ProcessStarter, WorkerProcess
from loadtests.messages import (
    Command,
    Failed,
    Health,
    Joined,
    Progress,
    Quit,
    Report,
    StartPhase,
    StopPhase,
    StopReason,
    WorkerReport,
)
from loadtests.worker_status import Silence, WorkerStatusBoard

_of_a_worker = msgspec.json.Decoder(Report)
_of_the_master = msgspec.json.Decoder(WorkerReport)

QUIT_S = 5.0
LEAD_NS = 250_000_000
"""Time from the command to the begin of a phase's schedule, in which the workers spawn their users."""
OnReport = Callable[[int, Report], None]
"""Called with the number of a worker and its report."""


@dataclass
class _Process:
    child: WorkerProcess
    worker: int | None
    """None: the master of the workers that join."""
    listener: threading.Thread | None = None


class LoadProcesses:
    """All load workers of a run. Call from one thread; other threads read the workers' reports.

    They are processes started here, or join from other machines through a master that is started here.
    Order of use: start, wait_ready, then for each phase start_phase and progress/done; close at the end,
    also after a failure. `close` is idempotent.
    """

    def __init__(
        self,
        run_dir: Path,
        plan_path: Path,
        workers: int,
        log_path: Path,
        on_report: OnReport | None = None,
        join: str | None = None,
        starter: ProcessStarter | None = None,
    ) -> None:
        """`on_report` gets each worker's reports, on several threads. `join`: HOST:PORT at which they join.

        `starter` starts the processes; else they are plain children.
        """
        self._run_dir = run_dir.resolve()
        self._plan_path = plan_path.resolve()
        self._count = workers
        self._log_path = log_path
        self._on_report = on_report
        self._join = join
        self._starter: ProcessStarter = starter or PlainStarter()
        self._processes: list[_Process] = []
        self._status_board = WorkerStatusBoard(workers)
        self._closing = False
        self._client: LineWriter | None = None

    @property
    def pids(self) -> list[int]:
        """Process ids of all that was started here, for the record of what may have to be cleaned up."""
        return [process.child.pid for process in self._processes]

    def start(self) -> None:
        """Start the processes; their stderr goes to the log. Raises OSError."""
        self._client = LineWriter(self._run_dir / layout.CLIENT)
        with self._log_path.open("ab") as log:
            if self._join is None:
                for number in range(self._count):
                    self._add(_Process(self._worker(number, log), number))
            else:
                self._add(_Process(self._master(self._join, log), None))

    def wait_ready(self, timeout: float) -> bool:
        """Wait until every worker is ready, at most `timeout` seconds. False: too slow or failed."""
        return self._wait(self._status_board.ready, timeout) and not self.failures()

    def absent(self) -> list[str]:
        """One line for every worker that is not ready."""
        return [f"{self.name(worker)} {why}" for worker, why in self._status_board.absent(self._join)]

    def joined(self) -> list[tuple[int, Joined]]:
        """The workers that joined, and from where."""
        return self._status_board.joined()

    def start_phase(self, phase: PhaseSpec) -> None:
        """Start a phase in all workers. The one before must be done."""
        self._status_board.begin(phase.name)
        self._send(
            StartPhase(
                name=phase.name,
                role=phase.role,
                workload=phase.workload,
                requests=phase.requests,
                concurrency=phase.concurrency,
                first=phase.first,
                arrivals=phase.arrivals.model_dump(mode="json"),
                begins_ns=time.time_ns() + LEAD_NS,
            )
        )

    def progress(self) -> Progress:
        """The progress of the current phase, see WorkerStatusBoard. Raises RuntimeError before the first."""
        return self._status_board.progress()

    def silence(self) -> Silence:
        """The worker that is not done and has been silent longest; each reports several times a second."""
        return self._status_board.silence()

    def done(self) -> bool:
        """Every worker has finished the current phase. Never true when one has died: see failures()."""
        return self._status_board.done()

    def wait_done(self, timeout: float) -> bool:
        """Wait for done(), at most `timeout` seconds; returns early when a worker has failed."""
        return self._wait(self.done, timeout)

    def stop_phase(self, reason: StopReason) -> None:
        """End the current phase early; done() shows when it has ended."""
        self._send(StopPhase(reason=reason))

    def failures(self) -> list[str]:
        """One line for each process or joined worker that has ended or failed."""
        lines = [self._failure(process) for process in self._processes]
        if self._join is not None:
            lines += [self._joined_failure(worker) for worker in range(self._count)]
        return [line for line in lines if line is not None]

    def name(self, worker: int) -> str:
        """A worker by its number and its process."""
        joined = dict(self._status_board.joined()).get(worker)
        if joined is not None:
            return f"load worker {worker} (pid {joined.pid} on {joined.host})"
        pid = next((process.child.pid for process in self._processes if process.worker == worker), None)
        return f"load worker {worker}" if pid is None else f"load worker {worker} (pid {pid})"

    def close(self) -> None:
        """End all processes started here: by a `Quit`, after 5 s by SIGKILL."""
        self._closing = True
        self._send(Quit())
        deadline = time.monotonic() + QUIT_S
        for process in self._processes:
            process.child.end(deadline)
            if process.listener is not None:
                process.listener.join()
            process.child.close()
        if self._client is not None:
            self._client.close()

    def _worker(self, number: int, log: IO[bytes]) -> WorkerProcess:
        arguments = ("--worker", str(number), "--of", str(self._count), "--out", str(self._run_dir))
        return WorkerProcess(
            "loadtests.load_worker", ("--plan", str(self._plan_path), *arguments), log, self._starter
        )

    def _master(self, join: str, log: IO[bytes]) -> WorkerProcess:
        host, port = join.rsplit(":", 1)
        arguments = ("--workers", str(self._count), "--host", host, "--port", port)
        return WorkerProcess(
            "loadtests.distributed.master", ("--plan", str(self._plan_path), *arguments), log, self._starter
        )

    def _add(self, process: _Process) -> None:
        self._processes.append(process)
        name = "load-master" if process.worker is None else f"load-worker-{process.worker}"
        process.listener = threading.Thread(target=self._listen, args=(process,), name=name, daemon=True)
        process.listener.start()

    def _send(self, command: Command) -> None:
        line = msgspec.json.encode(command) + b"\n"
        for process in self._processes:
            process.child.send(line)

    def _listen(self, process: _Process) -> None:
        for line in process.child.lines():
            decoded = _decoded(line, process.worker)
            report = self._keep(decoded.report) if isinstance(decoded.report, Health) else decoded.report
            if self._on_report is not None and decoded.worker is not None:
                self._on_report(decoded.worker, report)
            self._status_board.note(decoded.worker, report)
        self._status_board.wake()

    def _keep(self, health: Health) -> Health | Failed:
        """Store a worker's health record."""
        try:
            if self._client is not None:
                self._client.write(health.record)
        except OSError as error:
            return Failed(message=f"{layout.CLIENT} cannot be written: {error}")
        return health

    def _failure(self, process: _Process) -> str | None:
        """The failure of a process that was started here."""
        code = process.child.code
        failure = self._status_board.failure(process.worker)
        if failure is None and (code is None or self._closing):
            return None
        name = f"the master of the load workers (pid {process.child.pid})"
        if process.worker is not None:
            name = self.name(process.worker)
        ended = "still runs" if code is None else f"ended with code {code}"
        why = f": {failure}" if failure else ""
        return f"{name} {ended}{why}; see {self._log_path.name}"

    def _joined_failure(self, worker: int) -> str | None:
        """The failure of a joined worker."""
        failure = self._status_board.failure(worker)
        return None if failure is None else f"{self.name(worker)}: {failure}"

    def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        self._status_board.wait_for(lambda: condition() or bool(self.failures()), timeout)
        return condition()


def _decoded(line: bytes, worker: int | None) -> WorkerReport:
    """Decode a line: a worker's pipe has its own reports, the master's names the worker."""
    try:
        if worker is None:
            return _of_the_master.decode(line)
        return WorkerReport(worker, _of_a_worker.decode(line))
    except msgspec.MsgspecError as error:
        return WorkerReport(worker, Failed(message=f"sent a malformed report: {error}"))
