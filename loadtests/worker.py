"""A load process: `python -m loadtests.worker --plan RUN_DIR/run.yaml --worker K --of N --out RUN_DIR`.

Reads commands from stdin and reports on stdout (see `loadtests.messages`). The end of stdin means that
the conductor is gone: what is in flight is given up and recorded, and the process exits.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import gevent
import msgspec
from gevent.fileobject import FileObjectPosix
from gevent.queue import Empty, Queue
from locust.env import Environment  # patches the standard library, so it comes before our own modules
from pydantic import TypeAdapter, ValidationError

from history import layout
from history.arrivals import Arrivals
from history.plan import RunPlan
from history.reader import UnreadableRun, read_plan
from history.writer import LineWriter
from loadtests.arrivals import due_times
from loadtests.clients import CLIENTS
from loadtests.health import Monitor
from loadtests.load import Load, Moment
from loadtests.messages import (
    EXIT_FAILED,
    Command,
    Failed,
    Health,
    Quit,
    Ready,
    Report,
    StartPhase,
    StopPhase,
)
from loadtests.sharding import share
from loadtests.user import CompletionUser
from loadtests.workloads import Workload, build

REPORT_EVERY_S = 0.25
HEALTH_EVERY_S = 1.0
GRACE_S = 2.0


class CannotGoOn(Exception):
    """The worker's work cannot be done; the message is for the conductor."""


@dataclass(frozen=True)
class AllEnded:
    """The users of the running phase are gone."""


Inbox = Queue[Command | AllEnded]


class Reports:
    """Lines to the conductor. Raises BrokenPipeError when it is gone."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def send(self, report: Report) -> None:
        os.write(self._fd, msgspec.json.encode(report) + b"\n")


class Worker:
    """Runs one phase after the other on Locust's local runner."""

    def __init__(self, plan: RunPlan, worker: int, workers: int, writer: LineWriter) -> None:
        scenario = plan.scenario
        self._seed = plan.seed
        self._worker = worker
        self._workers = workers
        self._writer = writer
        self._workloads: dict[str, Workload] = {
            name: build(spec, name, plan.seed) for name, spec in scenario.workloads.items()
        }
        CompletionUser.client = CLIENTS[plan.client](
            plan.load_url or plan.base_url,
            plan.model_name,
            scenario.limits.request_s,
            scenario.server.block_size,
            with_gaps=plan.logprob_tolerance > 0,
        )
        self._environment = Environment(
            user_classes=[CompletionUser], host=plan.base_url, stop_timeout=GRACE_S
        )
        self._runner = self._environment.create_local_runner()
        self._monitor = Monitor(worker)
        self._monitor.start()

    def serve(self, inbox: Inbox, reports: Reports) -> None:
        """Do what the inbox says until it says quit. Raises CannotGoOn, BrokenPipeError."""
        reports.send(Ready())
        while True:
            command = inbox.get()
            if isinstance(command, Quit):
                return
            if isinstance(command, StartPhase) and not self._run(command, inbox, reports):
                return

    def close(self) -> None:
        """Give up what is in flight, at once; its records are written."""
        self._environment.stop_timeout = 0
        self._runner.quit()
        self._monitor.stop()

    def _run(self, command: StartPhase, inbox: Inbox, reports: Reports) -> bool:
        """Run a phase to its end. False: quit was said meanwhile."""
        load = self._begin(command, inbox)
        told_at = time.monotonic()
        stopped_because: str | None = None
        stopping = gevent.Greenlet(self._runner.stop)
        while True:
            message = _next(inbox)
            if load.write_error is not None:
                raise CannotGoOn(load.write_error)
            if time.monotonic() - told_at > HEALTH_EVERY_S:
                told_at = time.monotonic()
                self._tell(load, reports)
            match message:
                case None:
                    reports.send(load.progress())
                case Quit():
                    return False
                case StopPhase(reason=reason) if stopped_because is None:
                    stopped_because = reason
                    load.stop()
                    stopping.start()
                case AllEnded():
                    break
                case StartPhase(name=name):
                    raise CannotGoOn(f"phase {name} was started before phase {command.name} had ended")
        if stopped_because is not None:
            stopping.join()
        self._runner.stop()
        self._tell(load, reports)
        reports.send(load.done(stopped_because))
        return True

    def _tell(self, load: Load, reports: Reports) -> None:
        reports.send(Health(self._monitor.reading(load.phase)))
        reports.send(load.stopwatch.reading())

    def _begin(self, command: StartPhase, inbox: Inbox) -> Load:
        workload = self._workloads.get(command.workload)
        if workload is None:
            raise CannotGoOn(f"phase {command.name}: no workload named {command.workload}")
        first = command.first // workload.chain_length
        numbers = range(first, first + command.requests // workload.chain_length)
        due = due_times(_arrivals(command), workload, numbers, self._seed, command.name)
        part = share(
            first=first,
            conversations=len(numbers),
            concurrency=command.concurrency,
            worker=self._worker,
            workers=self._workers,
        )
        load = Load(
            phase=command.name,
            workload=workload,
            slots=part.slots(due),
            begin=Moment.at(command.begins_ns),
            worker=self._worker,
            write=self._writer.write,
        )
        CompletionUser.load = load
        # What came before belongs to no phase.
        self._monitor.reading(load.phase)
        self._runner.spawn_users({CompletionUser.__name__: part.users})
        gevent.spawn(self._tell_end, inbox)
        return load

    def _tell_end(self, inbox: Inbox) -> None:
        self._runner.user_greenlets.join()
        inbox.put(AllEnded())


def _arrivals(command: StartPhase) -> Arrivals:
    try:
        return TypeAdapter[Arrivals](Arrivals).validate_json(msgspec.json.encode(command.arrivals))
    except ValidationError as error:
        raise CannotGoOn(f"phase {command.name}: arrivals: {error}") from error


def _next(inbox: Inbox) -> Command | AllEnded | None:
    try:
        return inbox.get(timeout=REPORT_EVERY_S)
    except Empty:
        return None


def _read_commands(fd: int, inbox: Inbox) -> None:
    """Fill the inbox. The end of the file, and a line that is no command, are a quit."""
    decoder = msgspec.json.Decoder(Command)
    with FileObjectPosix(fd, "rb") as lines:
        for line in lines:
            try:
                inbox.put(decoder.decode(line))
            except msgspec.MsgspecError as error:
                sys.stderr.write(f"not a command: {line!r}: {error}\n")
                break
    inbox.put(Quit())


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.worker", description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="run.yaml of the run")
    parser.add_argument("--worker", type=int, required=True, help="number of this worker, from 0")
    parser.add_argument("--of", type=int, required=True, help="how many workers there are")
    parser.add_argument("--out", type=Path, required=True, help="the run directory")
    return parser.parse_args(argv)


def _own_pipes() -> tuple[int, int]:
    """Stdin and stdout under private numbers.

    Whatever else prints goes to stderr. A child process must not see our stdin either: gevent makes the
    standard files of a child blocking, and with them ours, since both are the same pipe.
    """
    commands, reports = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return commands, reports


def _work(arguments: argparse.Namespace, commands: int, reports: Reports) -> None:
    inbox: Inbox = Queue()
    gevent.signal_handler(signal.SIGTERM, inbox.put, Quit())
    plan = read_plan(arguments.plan.parent)
    with LineWriter(arguments.out / layout.requests_file(arguments.worker)) as writer:
        worker = Worker(plan, arguments.worker, arguments.of, writer)
        reader = gevent.spawn(_read_commands, commands, inbox)
        try:
            worker.serve(inbox, reports)
        finally:
            reader.kill(block=False)
            worker.close()


def main(argv: Sequence[str] | None = None) -> int:
    # A Ctrl-C in the terminal reaches this process too; what it means is for the conductor to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    arguments = _arguments(argv)
    commands, stdout = _own_pipes()
    reports = Reports(stdout)
    try:
        _work(arguments, commands, reports)
    except BrokenPipeError:
        return 0
    except (CannotGoOn, UnreadableRun, ValueError, OSError) as error:
        sys.stderr.write(f"load worker {arguments.worker}: {error}\n")
        with suppress(BrokenPipeError):
            reports.send(Failed(message=str(error)))
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
