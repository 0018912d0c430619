"""A load worker: `python -m loadtests.load_worker --plan RUN_DIR/run.yaml --worker K --of N --out RUN_DIR`.

It runs one phase after the other with Locust's users; a joined worker runs them in the same way. As a process
it reads commands from stdin and reports on stdout (see `loadtests.messages`). The end of stdin means that the
conductor is gone: what is in flight is given up and recorded, and the process exits.
"""

from __future__ import annotations

import argparse
import gc
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import gevent
import msgspec
from gevent.event import Event
from gevent.queue import Empty, Queue
from locust.env import Environment  # patches the standard library, so it comes before our own modules
from locust.runners import Runner  # patches the standard library, so it comes before our own modules
from pydantic import TypeAdapter, ValidationError

from history import layout
from history.jsonl import LineWriter
from history.phase_spec import Arrivals
from history.plan import RunPlan
from history.reader import UnreadableRun, read_plan
from loadtests.arrival_schedule import due_times, share
from loadtests.client_monitor import ClientMonitor
from loadtests.clients.completion_clients import CLIENTS
from loadtests.conductor_pipes import ReportPipe, own_pipes, read_commands
from loadtests.dispatcher import ClockPoint, Dispatcher, Write
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
    StopReason,
)
from loadtests.open_files import raise_soft_limit
from loadtests.user import CompletionUser
from loadtests.workloads import Workload, build

REPORT_EVERY_S = 0.25
HEALTH_EVERY_S = 1.0
GRACE_S = 2.0
"""Seconds for the requests in flight when a phase is stopped."""


class WorkerFailed(Exception):
    """The worker cannot continue; the message is for the conductor."""


@dataclass(frozen=True)
class AllEnded:
    """All users of the running phase have ended."""


Inbox = Queue[Command | AllEnded]


class ReportSink(Protocol):
    """Sends reports to the conductor."""

    def send(self, report: Report) -> None:
        """Raises BrokenPipeError when it is gone."""


@dataclass(frozen=True, slots=True)
class WorkerSlot:
    """A worker's position in a run, and its resources."""

    worker: int
    of: int
    """How many there are."""
    runner: Runner
    write: Write
    """Stores a record; may raise OSError."""
    own_host: str | None = None
    """An address of the conductor's machine other than loopback."""


class PhaseWorker:
    """Runs one phase after the other. Raises ValueError for a plan that cannot be carried out."""

    def __init__(self, plan: RunPlan, slot: WorkerSlot) -> None:
        scenario = plan.scenario
        self._seed = plan.seed
        self._slot = slot
        self._workloads: dict[str, Workload] = {
            name: build(spec, name, plan.seed) for name, spec in scenario.workloads.items()
        }
        CompletionUser.client = CLIENTS[plan.client](
            plan.load_url or plan.base_url,
            plan.model_name,
            scenario.limits.request_s,
            scenario.server.block_size,
            with_margins=plan.logprob_tolerance > 0,
            own_host=slot.own_host,
        )
        self._runner = slot.runner
        self._monitor = ClientMonitor(slot.worker)
        self._monitor.start()

    def serve(self, inbox: Inbox, reports: ReportSink) -> None:
        """Execute commands from the inbox until `Quit`. Raises CannotGoOn, BrokenPipeError."""
        # Objects created so far stay; collecting them repeatedly would only cause pauses.
        gc.collect()
        gc.freeze()
        reports.send(Ready())
        while True:
            command = inbox.get()
            if isinstance(command, Quit):
                return
            if isinstance(command, StartPhase) and not self._run(command, inbox, reports):
                return

    def close(self) -> None:
        """Abort the requests in flight at once; their records are written."""
        self._runner.stop()
        self._monitor.stop()

    def _run(self, command: StartPhase, inbox: Inbox, reports: ReportSink) -> bool:
        """Run a phase to its end. False: `Quit` was received meanwhile."""
        dispatcher = self._begin(command, inbox)
        reported_at = time.monotonic()
        stopped_because: StopReason | None = None
        over = Event()
        stopping = gevent.Greenlet(self._stop_those_left, over)
        while True:
            message = _next(inbox)
            if dispatcher.write_error is not None:
                raise WorkerFailed(dispatcher.write_error)
            if time.monotonic() - reported_at > HEALTH_EVERY_S:
                reported_at = time.monotonic()
                self._report(dispatcher, reports)
            match message:
                case None:
                    reports.send(dispatcher.progress())
                case Quit():
                    return False
                case StopPhase(reason=reason) if stopped_because is None:
                    stopped_because = reason
                    dispatcher.stop()
                    stopping.start()
                case AllEnded():
                    break
                case StartPhase(name=name):
                    raise WorkerFailed(f"phase {name} was started before phase {command.name} had ended")
        over.set()
        if stopped_because is not None:
            stopping.join()
        self._runner.stop()
        self._report(dispatcher, reports)
        reports.send(dispatcher.done(stopped_because))
        return True

    def _stop_those_left(self, over: Event) -> None:
        """Leave the other users to end by themselves, as the dispatcher has nothing more for them.

        Stopping them all would take long, and tokens that arrive meanwhile would wait.
        """
        if not over.wait(GRACE_S):
            self._runner.stop()

    def _report(self, dispatcher: Dispatcher, reports: ReportSink) -> None:
        reports.send(Health(self._monitor.reading(dispatcher.phase)))
        reports.send(dispatcher.latency.reading())

    def _begin(self, command: StartPhase, inbox: Inbox) -> Dispatcher:
        workload = self._workloads.get(command.workload)
        if workload is None:
            raise WorkerFailed(f"phase {command.name}: no workload named {command.workload}")
        first = command.first // workload.chain_length
        numbers = range(first, first + command.requests // workload.chain_length)
        due = due_times(_arrivals(command), workload, numbers, self._seed, command.name)
        part = share(
            first=first,
            conversations=len(numbers),
            concurrency=command.concurrency,
            worker=self._slot.worker,
            workers=self._slot.of,
        )
        dispatcher = Dispatcher(
            phase=command.name,
            workload=workload,
            slots=part.slots(due),
            begin=ClockPoint.at(command.begins_ns),
            worker=self._slot.worker,
            write=self._slot.write,
        )
        CompletionUser.dispatcher = dispatcher
        # Earlier measurements belong to no phase.
        self._monitor.reading(dispatcher.phase)
        self._runner.spawn_users({CompletionUser.__name__: part.users})
        gevent.spawn(self._report_end, inbox)
        return dispatcher

    def _report_end(self, inbox: Inbox) -> None:
        self._runner.user_greenlets.join()
        inbox.put(AllEnded())


def _arrivals(command: StartPhase) -> Arrivals:
    try:
        return TypeAdapter[Arrivals](Arrivals).validate_json(msgspec.json.encode(command.arrivals))
    except ValidationError as error:
        raise WorkerFailed(f"phase {command.name}: arrivals: {error}") from error


def _next(inbox: Inbox) -> Command | AllEnded | None:
    try:
        return inbox.get(timeout=REPORT_EVERY_S)
    except Empty:
        return None


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.load_worker", description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="run.yaml of the run")
    parser.add_argument("--worker", type=int, required=True, help="number of this worker, from 0")
    parser.add_argument("--of", type=int, required=True, help="how many workers there are")
    parser.add_argument("--out", type=Path, required=True, help="the run directory")
    return parser.parse_args(argv)


def _work(arguments: argparse.Namespace, commands: int, reports: ReportPipe) -> None:
    inbox: Inbox = Queue()
    gevent.signal_handler(signal.SIGTERM, inbox.put, Quit())
    plan = read_plan(arguments.plan.parent)
    with LineWriter(arguments.out / layout.requests_file(arguments.worker)) as writer:
        environment = Environment(user_classes=[CompletionUser])
        runner = environment.create_local_runner()
        worker = PhaseWorker(plan, WorkerSlot(arguments.worker, arguments.of, runner, writer.write))
        reader = gevent.spawn(read_commands, commands, inbox.put)
        try:
            worker.serve(inbox, reports)
        finally:
            reader.kill(block=False)
            worker.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of a load worker; returns its exit code."""
    # A Ctrl-C in the terminal reaches this process too; what it means is for the conductor to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    arguments = _arguments(argv)
    raise_soft_limit()
    commands, stdout = own_pipes()
    reports = ReportPipe(stdout)
    try:
        _work(arguments, commands, reports)
    except BrokenPipeError:
        return 0
    except (WorkerFailed, UnreadableRun, ValueError, OSError) as error:
        sys.stderr.write(f"load worker {arguments.worker}: {error}\n")
        with suppress(BrokenPipeError):
            reports.send(Failed(message=str(error)))
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
