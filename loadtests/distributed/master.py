"""The master of load workers that join: `python -m loadtests.distributed.master`, started by the conductor.

Locust's own, of which the channel to the workers is used. Commands on stdin go on to the workers, what they
report goes to stdout, and their records into the run directory. The end of stdin is a quit.
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
from history.plan import RunPlan
from history.reader import UnreadableRun, read_plan
from history.writer import LineWriter
from loadtests.distributed import channel
from loadtests.distributed.channel import (
    AskFile,
    AskTime,
    Farewell,
    FromMaster,
    Join,
    Leave,
    NoSeat,
    Order,
    Piece,
    Records,
    Said,
    Seat,
    Time,
    Unfit,
)
from loadtests.messages import EXIT_FAILED, Command, Failed, Joined, PhaseDone, Quit, Report
from loadtests.open_files import raise_soft_limit
from loadtests.pipes import Pipe, own_pipes, read_commands
from loadtests.workloads import PATH_PARAM

_reports = msgspec.json.Decoder(Report)

LEAVE_S = 3.0
"""For the workers to tell the rest and go."""
LATE_S = 5.0
"""For records that were sent before a report to come behind it."""
POLL_S = 0.05
LINGER_MS = 1000
PIECE_BYTES = 1 << 20


@dataclass
class _Worker:
    """One that has a seat."""

    number: int
    writer: LineWriter
    received: int = 0
    """Records."""
    ended: int = 0
    """Requests of the phases that it has told the end of."""
    done: bytes | None = None
    """Its report of a phase's end, which waits for the last records."""
    gone: bool = False


class Master:
    """Seats workers, passes on what is said, and writes what they record."""

    def __init__(self, plan_path: Path, workers: int, runner: MasterRunner, pipe: Pipe) -> None:
        self._plan: RunPlan = read_plan(plan_path.parent)
        self._text = plan_path.read_text(encoding="utf-8")
        self._out = plan_path.parent
        self._count = workers
        self._runner = runner
        self._pipe = pipe
        self._code = channel.code_fingerprint()
        self._seated: dict[str, _Worker] = {}
        self._files = ExitStack()
        self._over = False
        runner.register_message(channel.WORD, self._hear)

    def serve(self, inbox: Queue[Command]) -> None:
        """Pass on commands up to a quit, and let the workers go."""
        while True:
            command = inbox.get()
            self._over = isinstance(command, Quit)
            order = Order(msgspec.json.encode(command))
            for client in self._seated:
                self._answer(client, order)
            if self._over:
                break
        deadline = time.monotonic() + LEAVE_S
        while not all(worker.gone for worker in self._seated.values()) and time.monotonic() < deadline:
            gevent.sleep(POLL_S)

    def close(self) -> None:
        self._files.close()
        self._runner.greenlet.kill()
        server: Any = self._runner.server
        server.close(linger=LINGER_MS)

    def _hear(self, msg: Message, **_: object) -> None:
        try:
            word = channel.from_worker(msg.data[channel.WORD])
        except msgspec.MsgspecError as error:
            sys.stderr.write(f"{msg.node_id} says what is no word of ours: {error}\n")
            return
        try:
            self._heed(msg.node_id, word)
        except BrokenPipeError:
            # The conductor is gone; the end of stdin tells the same.
            return
        except OSError as error:
            self._complain(None, f"what the workers recorded cannot be written: {error}")

    def _heed(self, client: str, word: channel.FromWorker) -> None:
        worker = self._seated.get(client)
        match word:
            case AskTime(sent_wall_ns=wall, sent_mono_ns=mono):
                self._answer(client, Time(wall, mono, time.time_ns(), time.monotonic_ns()))
            case Join():
                self._answer(client, self._seat(client, word))
            case AskFile():
                self._answer(client, self._piece(word))
            case Records(count=count, lines=lines) if worker is not None:
                worker.writer.append(lines)
                worker.received += count
                self._let_pass(worker)
            case Said(report=report) if worker is not None:
                self._pass_on(worker, report)
            case Leave(records=records) if worker is not None:
                worker.gone = True
                if not self._over:
                    self._complain(worker.number, "it left before the run was over")
                if worker.received != records:
                    lost = f"{records - worker.received} of its {records} records were lost on the way"
                    self._complain(worker.number, lost)
                self._answer(client, Farewell())
            case _:
                sys.stderr.write(f"{client} has no seat\n")

    def _seat(self, client: str, join: Join) -> Seat | NoSeat | Unfit:
        if join.code != self._code:
            return Unfit(f"it is not the same version of kvchaos: its code is {join.code}, here {self._code}")
        if len(self._seated) == self._count:
            return NoSeat(f"all {self._count} load workers of run {self._plan.run_id} have joined")
        number = len(self._seated)
        writer = self._files.enter_context(LineWriter(self._out / layout.requests_file(number)))
        self._seated[client] = _Worker(number, writer)
        self._say(number, Joined(join.host, join.pid))
        return Seat(number, self._count, self._text)

    def _piece(self, asked: AskFile) -> Piece:
        """Of the files that the plan names, and no other."""
        path = self._plan.scenario.workloads[asked.workload].params[PATH_PARAM]
        with Path(str(path)).open("rb") as file:
            file.seek(asked.offset)
            return Piece(file.read(PIECE_BYTES))

    def _pass_on(self, worker: _Worker, report: bytes) -> None:
        """A phase's end goes on when all its records are on disk."""
        told = _reports.decode(report)
        if not isinstance(told, PhaseDone):
            self._pipe.pass_on(worker.number, report)
            return
        worker.ended += told.sent
        worker.done = report
        self._let_pass(worker)
        gevent.spawn_later(LATE_S, self._miss, worker, report)

    def _let_pass(self, worker: _Worker) -> None:
        if worker.done is not None and worker.received == worker.ended:
            self._pipe.pass_on(worker.number, worker.done)
            worker.done = None

    def _miss(self, worker: _Worker, report: bytes) -> None:
        if worker.done is report:
            lost = worker.ended - worker.received
            self._complain(worker.number, f"{lost} of its {worker.ended} records were lost on the way")

    def _complain(self, worker: int | None, message: str) -> None:
        sys.stderr.write(f"load worker {worker}: {message}\n")
        self._say(worker, Failed(message))

    def _say(self, worker: int | None, report: Report) -> None:
        self._pipe.pass_on(worker, msgspec.json.encode(report))

    def _answer(self, client: str, word: FromMaster) -> None:
        self._runner.send_message(channel.WORD, {channel.WORD: channel.encode(word)}, client_id=client)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.distributed.master", description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="run.yaml in the run directory")
    parser.add_argument("--workers", type=int, required=True, help="how many workers there are")
    parser.add_argument("--host", required=True, help="address to listen at")
    parser.add_argument("--port", type=int, required=True)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    # A Ctrl-C in the terminal reaches this process too; what it means is for the conductor to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    arguments = _arguments(argv)
    raise_soft_limit()
    commands, stdout = own_pipes()
    pipe = Pipe(stdout)
    inbox: Queue[Command] = Queue()
    gevent.signal_handler(signal.SIGTERM, inbox.put, Quit())
    try:
        runner = Environment().create_master_runner(arguments.host, arguments.port)
        master = Master(arguments.plan, arguments.workers, runner, pipe)
    except (RPCError, UnreadableRun, OSError) as error:
        pipe.pass_on(None, msgspec.json.encode(Failed(f"{arguments.host}:{arguments.port}: {error}")))
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
