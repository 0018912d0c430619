"""A joined worker's end of Locust's channel to the master."""

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
from loadtests.distributed import channel
from loadtests.distributed.channel import (
    AskTime,
    Farewell,
    FromMaster,
    FromWorker,
    NoSeat,
    Order,
    Piece,
    Records,
    Said,
    Seat,
    Time,
    Unfit,
)
from loadtests.distributed.clock import Clock, Phase, RoundTrip
from loadtests.messages import Command, Health, Quit, Report, StartPhase
from loadtests.phases import CannotGoOn, Inbox

_commands = msgspec.json.Decoder(Command)

ANSWER_S = 20.0
SILENT_S = 30.0
"""A master that says nothing for so long is gone; Locust's own word comes every second."""
FIRST_TRIPS, LEAST_TRIPS = 20, 5
TRIPS = 3
TRIPS_EVERY_S = 1.0
FULL_BYTES = 256 << 10

Answer = Seat | NoSeat | Unfit | Piece | Farewell


class Link:
    """Takes orders into the inbox; keeps the clocks compared. Raises CannotGoOn when no answer comes."""

    def __init__(self, runner: WorkerRunner, inbox: Inbox) -> None:
        self._runner = runner
        self._inbox = inbox
        self._answers: Queue[Answer] = Queue()
        self._clock = Clock()
        self._heard_mono = time.monotonic()
        self.phase: Phase | None = None
        """The one that runs or ran last."""
        runner.register_message(channel.WORD, self._hear)
        heartbeat: _Hook = runner.environment.events.heartbeat_received
        heartbeat.add_listener(self._alive)

    def say(self, word: FromWorker) -> None:
        self._runner.send_message(channel.WORD, {channel.WORD: channel.encode(word)})

    def ask(self, word: FromWorker) -> Answer:
        self.say(word)
        try:
            return self._answers.get(timeout=ANSWER_S)
        except Empty:
            raise CannotGoOn(f"the master did not answer within {ANSWER_S:g} s") from None

    def compare_clocks(self) -> None:
        """Now, and again and again from now on."""
        for _ in range(FIRST_TRIPS):
            self._ask_time()
            gevent.sleep(0.002)
        deadline = time.monotonic() + ANSWER_S
        while self._clock.heard() < LEAST_TRIPS:
            if time.monotonic() > deadline:
                raise CannotGoOn("the master does not tell the time")
            gevent.sleep(0.01)
        self._runner.greenlet.spawn(self._go_on_comparing)

    def _go_on_comparing(self) -> None:
        while True:
            for _ in range(TRIPS):
                self._ask_time()
            if time.monotonic() - self._heard_mono > SILENT_S:
                sys.stderr.write("the master is gone\n")
                self._inbox.put(Quit())
                return
            gevent.sleep(TRIPS_EVERY_S)

    def _ask_time(self) -> None:
        self.say(AskTime(time.time_ns(), time.monotonic_ns()))

    def _alive(self, **_: object) -> None:
        self._heard_mono = time.monotonic()

    def _hear(self, msg: Message, **_: object) -> None:
        heard_ns = time.monotonic_ns()
        self._alive()
        try:
            word = channel.from_master(msg.data[channel.WORD])
            self._heed(word, heard_ns)
        except msgspec.MsgspecError as error:
            sys.stderr.write(f"the master says what is no word of ours: {error}\n")
            self._inbox.put(Quit())

    def _heed(self, word: FromMaster, heard_ns: int) -> None:
        match word:
            case Time():
                trip = RoundTrip(
                    sent_wall_ns=word.sent_wall_ns,
                    sent_mono_ns=word.sent_mono_ns,
                    heard_mono_ns=heard_ns,
                    told_wall_ns=word.told_wall_ns,
                    told_mono_ns=word.told_mono_ns,
                )
                self._clock.note(trip)
            case Order(command=command):
                self._inbox.put(self._by_this_clock(_commands.decode(command)))
            case _:
                self._answers.put(word)

    def _by_this_clock(self, command: Command) -> Command:
        if not isinstance(command, StartPhase):
            return command
        self.phase = Phase(self._clock)
        return msgspec.structs.replace(command, begins_ns=self.phase.here(command.begins_ns))


class Outbox:
    """Records and reports on their way to the master; records in batches, before what is said of them."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._encode = msgspec.json.Encoder().encode
        self._lines = bytearray()
        self._count = 0
        self.records = 0
        """Written so far."""

    def write(self, record: RequestRecord) -> None:
        if self._link.phase is not None:
            record = self._link.phase.request(record)
        self._lines += self._encode(record)
        self._lines += b"\n"
        self._count += 1
        self.records += 1
        if len(self._lines) >= FULL_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._count:
            self._link.say(Records(self._count, bytes(self._lines)))
            self._lines.clear()
            self._count = 0

    def send(self, report: Report) -> None:
        self.flush()
        if isinstance(report, Health) and self._link.phase is not None:
            report = Health(self._link.phase.client(report.record))
        self._link.say(Said(self._encode(report)))


class _Hook(Protocol):
    """A Locust event, as typed as it is used here."""

    def add_listener(self, handler: Callable[..., None]) -> object: ...
