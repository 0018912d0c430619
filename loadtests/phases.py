"""A load worker's work, wherever its words come from: one phase after the other, by Locust's users."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import gevent
import msgspec
from gevent.event import Event
from gevent.queue import Empty, Queue
from locust.runners import Runner  # patches the standard library, so it comes before our own modules
from pydantic import TypeAdapter, ValidationError

from history.arrivals import Arrivals
from history.plan import RunPlan
from history.records import RequestRecord
from loadtests.arrivals import due_times
from loadtests.clients.registry import CLIENTS
from loadtests.health import Monitor
from loadtests.load import Load, Moment
from loadtests.messages import Command, Health, Quit, Ready, Report, StartPhase, StopPhase, StopReason
from loadtests.sharding import share
from loadtests.user import CompletionUser
from loadtests.workloads import Workload, build

REPORT_EVERY_S = 0.25
HEALTH_EVERY_S = 1.0
GRACE_S = 2.0
"""For what is in flight when a phase is stopped."""


class CannotGoOn(Exception):
    """The worker's work cannot be done; the message is for the conductor."""


@dataclass(frozen=True)
class AllEnded:
    """The users of the running phase are gone."""


Inbox = Queue[Command | AllEnded]


class Reports(Protocol):
    """The way to the conductor."""

    def send(self, report: Report) -> None:
        """Raises BrokenPipeError when it is gone."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker stands in a run, and what it is given there."""

    worker: int
    of: int
    """How many there are."""
    runner: Runner
    write: Callable[[RequestRecord], None]
    """Keeps a record; may raise OSError."""
    own_host: str | None = None
    """An address of the conductor's machine other than loopback."""


class Worker:
    """Runs one phase after the other. Raises ValueError for a plan that cannot be carried out."""

    def __init__(self, plan: RunPlan, place: Place) -> None:
        scenario = plan.scenario
        self._seed = plan.seed
        self._place = place
        self._workloads: dict[str, Workload] = {
            name: build(spec, name, plan.seed) for name, spec in scenario.workloads.items()
        }
        CompletionUser.client = CLIENTS[plan.client](
            plan.load_url or plan.base_url,
            plan.model_name,
            scenario.limits.request_s,
            scenario.server.block_size,
            with_gaps=plan.logprob_tolerance > 0,
            own_host=place.own_host,
        )
        self._runner = place.runner
        self._monitor = Monitor(place.worker)
        self._monitor.start()

    def serve(self, inbox: Inbox, reports: Reports) -> None:
        """Do what the inbox says until it says quit. Raises CannotGoOn, BrokenPipeError."""
        # What is there by now stays; going through it again and again would be pauses for nothing.
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
        """Give up what is in flight, at once; its records are written."""
        self._runner.stop()
        self._monitor.stop()

    def _run(self, command: StartPhase, inbox: Inbox, reports: Reports) -> bool:
        """Run a phase to its end. False: quit was said meanwhile."""
        load = self._begin(command, inbox)
        told_at = time.monotonic()
        stopped_because: StopReason | None = None
        over = Event()
        stopping = gevent.Greenlet(self._stop_those_left, over)
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
        over.set()
        if stopped_because is not None:
            stopping.join()
        self._runner.stop()
        self._tell(load, reports)
        reports.send(load.done(stopped_because))
        return True

    def _stop_those_left(self, over: Event) -> None:
        """The others end by themselves, as the load has nothing more for them. Stopping them all would take
        long, and what arrives meanwhile would have to wait."""
        if not over.wait(GRACE_S):
            self._runner.stop()

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
            worker=self._place.worker,
            workers=self._place.of,
        )
        load = Load(
            phase=command.name,
            workload=workload,
            slots=part.slots(due),
            begin=Moment.at(command.begins_ns),
            worker=self._place.worker,
            write=self._place.write,
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
