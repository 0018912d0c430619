"""A joined worker's connection to the master, over Locust's channel."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Protocol

import gevent
import msgspec
from gevent.queue import Empty, Queue
from locust.rpc import Message
from locust.runners import WorkerRunner

from history.records import RequestRecord
from loadtests.distributed import master_protocol
from loadtests.distributed.clock_offset import ClockEstimator, PhaseClock, RoundTrip
from loadtests.distributed.master_protocol import (
    Assigned,
    FileChunk,
    ForwardedCommand,
    ForwardedReport,
    FromMaster,
    FromWorker,
    Goodbye,
    Records,
    RunFull,
    TimeRequest,
    TimeResponse,
    VersionMismatch,
)
from loadtests.load_worker import Inbox, WorkerFailed
from loadtests.messages import Command, Health, Quit, Report, StartPhase

_commands = msgspec.json.Decoder(Command)

RESPONSE_TIMEOUT_S = 20.0
MASTER_TIMEOUT_S = 30.0
"""A master that sends nothing for so long is gone; Locust's heartbeat comes every second."""
FIRST_TRIPS, LEAST_TRIPS = 20, 5
TRIPS = 3
TRIPS_EVERY_S = 1.0
FULL_BYTES = 256 << 10

Response = Assigned | RunFull | VersionMismatch | FileChunk | Goodbye


class MasterConnection:
    """Puts commands into the inbox and keeps comparing the clocks. Raises WorkerFailed on a timeout."""

    def __init__(self, runner: WorkerRunner, inbox: Inbox) -> None:
        self._runner = runner
        self._inbox = inbox
        self._responses: Queue[Response] = Queue()
        self._clock = ClockEstimator()
        self._last_message_mono = time.monotonic()
        self.phase: PhaseClock | None = None
        """The clock of the current or last phase."""
        runner.register_message(master_protocol.MESSAGE_TYPE, self._on_message)
        heartbeat: _Hook = runner.environment.events.heartbeat_received
        heartbeat.add_listener(self._alive)

    def send_message(self, message: FromWorker) -> None:
        """Send a message without waiting for a response."""
        self._runner.send_message(
            master_protocol.MESSAGE_TYPE, {master_protocol.MESSAGE_TYPE: master_protocol.encode(message)}
        )

    def request(self, message: FromWorker) -> Response:
        """Send a message and wait for its response. Raises WorkerFailed after a timeout."""
        self.send_message(message)
        try:
            return self._responses.get(timeout=RESPONSE_TIMEOUT_S)
        except Empty:
            raise WorkerFailed(f"the master did not answer within {RESPONSE_TIMEOUT_S:g} s") from None

    def compare_clocks(self) -> None:
        """Measure the clock offset now, and periodically from now on."""
        for _ in range(FIRST_TRIPS):
            self._request_time()
            gevent.sleep(0.002)
        deadline = time.monotonic() + RESPONSE_TIMEOUT_S
        while self._clock.trip_count() < LEAST_TRIPS:
            if time.monotonic() > deadline:
                raise WorkerFailed("the master does not send its time")
            gevent.sleep(0.01)
        self._runner.greenlet.spawn(self._keep_comparing)

    def _keep_comparing(self) -> None:
        while True:
            for _ in range(TRIPS):
                self._request_time()
            if time.monotonic() - self._last_message_mono > MASTER_TIMEOUT_S:
                sys.stderr.write("the connection to the master is lost\n")
                self._inbox.put(Quit())
                return
            gevent.sleep(TRIPS_EVERY_S)

    def _request_time(self) -> None:
        self.send_message(TimeRequest(time.time_ns(), time.monotonic_ns()))

    def _alive(self, **_: object) -> None:
        self._last_message_mono = time.monotonic()

    def _on_message(self, msg: Message, **_: object) -> None:
        received_ns = time.monotonic_ns()
        self._alive()
        try:
            message = master_protocol.from_master(msg.data[master_protocol.MESSAGE_TYPE])
            self._handle(message, received_ns)
        except msgspec.MsgspecError as error:
            sys.stderr.write(f"the master sent an invalid message: {error}\n")
            self._inbox.put(Quit())

    def _handle(self, message: FromMaster, received_ns: int) -> None:
        match message:
            case TimeResponse():
                trip = RoundTrip(
                    sent_wall_ns=message.sent_wall_ns,
                    sent_mono_ns=message.sent_mono_ns,
                    received_mono_ns=received_ns,
                    master_wall_ns=message.master_wall_ns,
                    master_mono_ns=message.master_mono_ns,
                )
                self._clock.note(trip)
            case ForwardedCommand(command=command):
                self._inbox.put(self._by_this_clock(_commands.decode(command)))
            case _:
                self._responses.put(message)

    def _by_this_clock(self, command: Command) -> Command:
        if not isinstance(command, StartPhase):
            return command
        self.phase = PhaseClock(self._clock)
        return msgspec.structs.replace(command, begins_ns=self.phase.here(command.begins_ns))


class Outbox:
    """Sends records and reports to the master; records in batches, before the reports that count them."""

    def __init__(self, connection: MasterConnection) -> None:
        self._connection = connection
        self._encode = msgspec.json.Encoder().encode
        self._lines = bytearray()
        self._count = 0
        self.records = 0
        """Written so far."""

    def write(self, record: RequestRecord) -> None:
        """Queue a record, converted to the conductor's clocks; full batches are sent."""
        if self._connection.phase is not None:
            record = self._connection.phase.request(record)
        self._lines += self._encode(record)
        self._lines += b"\n"
        self._count += 1
        self.records += 1
        if len(self._lines) >= FULL_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send the records in the queue."""
        if self._count:
            self._connection.send_message(Records(self._count, bytes(self._lines)))
            self._lines.clear()
            self._count = 0

    def send(self, report: Report) -> None:
        """Send a report, after the records that it counts."""
        self.flush()
        if isinstance(report, Health) and self._connection.phase is not None:
            report = Health(self._connection.phase.client(report.record))
        self._connection.send_message(ForwardedReport(self._encode(report)))


class _Hook(Protocol):
    """A Locust event, as typed as it is used here."""

    def add_listener(self, handler: Callable[..., None]) -> object: ...
