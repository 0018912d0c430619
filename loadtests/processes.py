"""The conductor's side of the load: starts the workers, tells them what to do, adds up what they say."""

from __future__ import annotations

import subprocess
import sys
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
from loadtests.hearing import Hearing, Silence
from loadtests.messages import Command, Failed, Health, Progress, Quit, Report, StartPhase, StopPhase

QUIT_S = 5.0
LEAD_NS = 250_000_000
"""From the word to the workers to the begin of a phase's schedule: time to get their users ready."""
Tell = Callable[[int, Report], None]
"""Number of a worker, and what it says."""
HOME = Path(__file__).resolve().parent.parent
"""Where the package lies, so that the workers find it whatever the current directory is."""


@dataclass
class _Worker:
    number: int
    process: subprocess.Popen[bytes]
    listener: threading.Thread | None = None


class LoadProcesses:
    """All load workers of a run. Call from one thread; the workers are heard in threads of their own.

    Order of use: start, wait_ready, then for each phase start_phase and progress/done; close at the end,
    also after a failure. A second close does nothing.
    """

    def __init__(
        self, run_dir: Path, plan_path: Path, workers: int, log_path: Path, tell: Tell | None = None
    ) -> None:
        """`tell` hears what each worker says, from several threads."""
        self._run_dir = run_dir.resolve()
        self._plan_path = plan_path.resolve()
        self._count = workers
        self._log_path = log_path
        self._tell_on = tell
        self._workers: list[_Worker] = []
        self._hearing = Hearing(workers)
        self._closing = False
        self._client: LineWriter | None = None

    @property
    def pids(self) -> list[int]:
        """Process ids of all workers that were started, for the record of what may have to be cleaned up."""
        return [worker.process.pid for worker in self._workers]

    def start(self) -> None:
        """Start the processes; their stderr goes to the log. Raises OSError."""
        self._client = LineWriter(self._run_dir / layout.CLIENT)
        with self._log_path.open("ab") as log:
            for number in range(self._count):
                worker = _Worker(number, self._spawn(number, log))
                self._workers.append(worker)
                worker.listener = threading.Thread(
                    target=self._listen, args=(worker,), name=f"load-worker-{number}", daemon=True
                )
                worker.listener.start()

    def wait_ready(self, timeout: float) -> bool:
        """Wait until every worker is ready, at most `timeout` seconds. False: too slow or failed."""
        return self._wait(self._hearing.ready, timeout) and not self.failures()

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

    def stop_phase(self, reason: str) -> None:
        """End the current phase early; done() tells when it has ended."""
        self._tell(StopPhase(reason=reason))

    def failures(self) -> list[str]:
        """One line for every worker that has died or given up."""
        return [line for worker in self._workers if (line := self._failure(worker)) is not None]

    def close(self) -> None:
        """End all workers: by asking, after 5 s by killing the process ids that were started here."""
        self._closing = True
        self._tell(Quit())
        deadline = time.monotonic() + QUIT_S
        for worker in self._workers:
            try:
                worker.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
            if worker.listener is not None:
                worker.listener.join()
            for pipe in (worker.process.stdin, worker.process.stdout):
                if pipe is not None:
                    pipe.close()
        if self._client is not None:
            self._client.close()

    def _spawn(self, number: int, log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "loadtests.worker", "--plan", str(self._plan_path)]
        command += ["--worker", str(number), "--of", str(self._count), "--out", str(self._run_dir)]
        return subprocess.Popen(
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            cwd=HOME,
            process_group=0,
        )

    def _tell(self, command: Command) -> None:
        line = msgspec.json.encode(command) + b"\n"
        for worker in self._workers:
            if worker.process.stdin is None or worker.process.stdin.closed:
                continue
            try:
                worker.process.stdin.write(line)
            except BrokenPipeError:
                # Its death is told by failures().
                continue

    def _listen(self, worker: _Worker) -> None:
        decoder = msgspec.json.Decoder(Report)
        for line in worker.process.stdout or ():
            try:
                report = decoder.decode(line)
            except msgspec.MsgspecError as error:
                report = Failed(message=f"said something that is no report: {error}")
            if isinstance(report, Health):
                report = self._keep(report)
            if self._tell_on is not None:
                self._tell_on(worker.number, report)
            self._hearing.note(worker.number, report)
        worker.process.wait()
        self._hearing.wake()

    def _keep(self, health: Health) -> Health | Failed:
        """Write down how a worker did."""
        try:
            if self._client is not None:
                self._client.write(health.record)
        except OSError as error:
            return Failed(message=f"{layout.CLIENT} cannot be written: {error}")
        return health

    def _failure(self, worker: _Worker) -> str | None:
        code = worker.process.poll()
        complaint = self._hearing.complaint(worker.number)
        if complaint is None and (code is None or self._closing):
            return None
        ended = "still runs" if code is None else f"ended with code {code}"
        why = f": {complaint}" if complaint else ""
        return (
            f"load worker {worker.number} (pid {worker.process.pid}) {ended}{why}; see {self._log_path.name}"
        )

    def _wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        self._hearing.wait_for(lambda: condition() or bool(self.failures()), timeout)
        return condition()
