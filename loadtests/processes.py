"""The conductor's side of the load: starts the workers, tells them what to do, adds up what they say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from history import layout
from history.plan import PhaseSpec
from history.writer import LineWriter
from loadtests.child import Child, PlainStarter, Starter
from loadtests.hearing import Hearing, Silence
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
    Told,
)

_of_a_worker = msgspec.json.Decoder(Report)
_of_the_master = msgspec.json.Decoder(Told)

QUIT_S = 5.0
LEAD_NS = 250_000_000
"""From the word to the workers to the begin of a phase's schedule: time to get their users ready."""
Tell = Callable[[int, Report], None]
"""Number of a worker, and what it says."""


@dataclass
class _Process:
    child: Child
    worker: int | None
    """None: the master of the workers that join."""
    listener: threading.Thread | None = None


class LoadProcesses:
    """All load workers of a run. Call from one thread; the workers are heard in threads of their own.

    They are processes started here, or join from elsewhere by way of a master that is started here.
    Order of use: start, wait_ready, then for each phase start_phase and progress/done; close at the end,
    also after a failure. A second close does nothing.
    """

    def __init__(
        self,
        run_dir: Path,
        plan_path: Path,
        workers: int,
        log_path: Path,
        tell: Tell | None = None,
        join: str | None = None,
        starter: Starter | None = None,
    ) -> None:
        """`tell` hears what each worker says, from several threads. `join`: HOST:PORT at which they join.

        `starter` starts the processes; else they are plain children.
        """
        self._run_dir = run_dir.resolve()
        self._plan_path = plan_path.resolve()
        self._count = workers
        self._log_path = log_path
        self._tell_on = tell
        self._join = join
        self._starter: Starter = starter or PlainStarter()
        self._processes: list[_Process] = []
        self._hearing = Hearing(workers)
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
        return self._wait(self._hearing.ready, timeout) and not self.failures()

    def absent(self) -> list[str]:
        """One line for every worker that is not ready."""
        return [f"{self.name(worker)} {why}" for worker, why in self._hearing.absent(self._join)]

    def joined(self) -> list[tuple[int, Joined]]:
        """Which workers came from elsewhere, and from where."""
        return self._hearing.joined()

    def start_phase(self, phase: PhaseSpec) -> None:
        """Start a phase in all workers. The one before must be done."""
        self._hearing.begin(phase.name)
        self._tell(
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
        """Where the current phase stands, see Hearing. Raises RuntimeError before the first."""
        return self._hearing.progress()

    def silence(self) -> Silence:
        """The quietest worker that is not done; each speaks several times a second."""
        return self._hearing.silence()

    def done(self) -> bool:
        """Every worker has finished the current phase. Never true when one has died: see failures()."""
        return self._hearing.done()

    def wait_done(self, timeout: float) -> bool:
        """Wait for done(), at most `timeout` seconds; returns early when a worker has failed."""
        return self._wait(self.done, timeout)

    def stop_phase(self, reason: StopReason) -> None:
        """End the current phase early; done() tells when it has ended."""
        self._tell(StopPhase(reason=reason))

    def failures(self) -> list[str]:
        """One line for everyone that has died or given up."""
        told = [self._failure(process) for process in self._processes]
        if self._join is not None:
            told += [self._complaint(worker) for worker in range(self._count)]
        return [line for line in told if line is not None]

    def name(self, worker: int) -> str:
        """A worker by its number and its process."""
        joined = dict(self._hearing.joined()).get(worker)
        if joined is not None:
            return f"load worker {worker} (pid {joined.pid} on {joined.host})"
        pid = next((process.child.pid for process in self._processes if process.worker == worker), None)
        return f"load worker {worker}" if pid is None else f"load worker {worker} (pid {pid})"

    def close(self) -> None:
        """End all of them: by asking, after 5 s by killing the process ids that were started here."""
        self._closing = True
        self._tell(Quit())
        deadline = time.monotonic() + QUIT_S
        for process in self._processes:
            process.child.end(deadline)
            if process.listener is not None:
                process.listener.join()
            process.child.close()
        if self._client is not None:
            self._client.close()

    def _worker(self, number: int, log: IO[bytes]) -> Child:
        place = ("--worker", str(number), "--of", str(self._count), "--out", str(self._run_dir))
        return Child("loadtests.worker", ("--plan", str(self._plan_path), *place), log, self._starter)

    def _master(self, join: str, log: IO[bytes]) -> Child:
        host, port = join.rsplit(":", 1)
        place = ("--workers", str(self._count), "--host", host, "--port", port)
        return Child(
            "loadtests.distributed.master", ("--plan", str(self._plan_path), *place), log, self._starter
        )

    def _add(self, process: _Process) -> None:
        self._processes.append(process)
        name = "load-master" if process.worker is None else f"load-worker-{process.worker}"
        process.listener = threading.Thread(target=self._listen, args=(process,), name=name, daemon=True)
        process.listener.start()

    def _tell(self, command: Command) -> None:
        line = msgspec.json.encode(command) + b"\n"
        for process in self._processes:
            process.child.tell(line)

    def _listen(self, process: _Process) -> None:
        for line in process.child.lines():
            told = _understood(line, process.worker)
            report = self._keep(told.report) if isinstance(told.report, Health) else told.report
            if self._tell_on is not None and told.worker is not None:
                self._tell_on(told.worker, report)
            self._hearing.note(told.worker, report)
        self._hearing.wake()

    def _keep(self, health: Health) -> Health | Failed:
        """Write down how a worker did."""
        try:
            if self._client is not None:
                self._client.write(health.record)
        except OSError as error:
            return Failed(message=f"{layout.CLIENT} cannot be written: {error}")
        return health

    def _failure(self, process: _Process) -> str | None:
        """Of a process that was started here."""
        code = process.child.code
        complaint = self._hearing.complaint(process.worker)
        if complaint is None and (code is None or self._closing):
            return None
        name = f"the master of the load workers (pid {process.child.pid})"
        if process.worker is not None:
            name = self.name(process.worker)
        ended = "still runs" if code is None else f"ended with code {code}"
        why = f": {complaint}" if complaint else ""
        return f"{name} {ended}{why}; see {self._log_path.name}"

    def _complaint(self, worker: int) -> str | None:
        """Of a worker that joined."""
        complaint = self._hearing.complaint(worker)
        return None if complaint is None else f"{self.name(worker)}: {complaint}"

    def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        self._hearing.wait_for(lambda: condition() or bool(self.failures()), timeout)
        return condition()


def _understood(line: bytes, worker: int | None) -> Told:
    """A worker's own pipe brings its reports, the master's tells whose they are."""
    try:
        if worker is None:
            return _of_the_master.decode(line)
        return Told(worker, _of_a_worker.decode(line))
    except msgspec.MsgspecError as error:
        return Told(worker, Failed(message=f"said something that is no report: {error}"))
