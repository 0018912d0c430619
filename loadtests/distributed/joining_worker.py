"""A worker that joins from anywhere: `python -m loadtests.distributed.joining_worker --master HOST:PORT`.

It waits for a master, receives its number and the plan, executes commands, and sends its records. It exits
when the run is over, when the master is silent, or with the process that started it (at the end of its
stdin). Before, it aborts and records the requests in flight.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import gevent
from gevent.fileobject import FileObjectPosix
from gevent.queue import Queue
from locust.env import Environment  # patches the standard library, so it comes before our own modules

from history import layout
from history.plan import RunPlan
from history.reader import UnreadableRun, read_plan
from loadtests.distributed import master_protocol
from loadtests.distributed.master_connection import MasterConnection, Outbox
from loadtests.distributed.master_protocol import (
    Assigned,
    FileChunk,
    FileRequest,
    Goodbye,
    Join,
    RunFull,
    Shutdown,
    VersionMismatch,
)
from loadtests.load_worker import Inbox, PhaseWorker, WorkerFailed, WorkerSlot
from loadtests.messages import EXIT_FAILED, EXIT_NOT_NEEDED, Failed, Quit
from loadtests.open_files import SPARE, TooFewFiles, raise_soft_limit, require
from loadtests.target import address_of, is_healthy, is_loopback, reachable_url
from loadtests.user import CompletionUser
from loadtests.workloads import PATH_PARAM

POLL_S = 0.25
HEALTH_TIMEOUT_S = 2.0


class NotNeeded(Exception):
    """The run needs no more workers."""


def take_part(host: str, port: int) -> None:
    """Take part in one run, from the wait for its master to the disconnect.

    Raises CannotGoOn, NotNeeded, or ConnectionError when there is no master for minutes.
    """
    inbox: Inbox = Queue()
    environment = Environment(user_classes=[CompletionUser])
    runner = environment.create_worker_runner(host, port)
    connection = MasterConnection(runner, inbox)
    seat = _seat(connection)
    gevent.signal_handler(signal.SIGTERM, inbox.put, Quit())
    outbox = Outbox(connection)
    with tempfile.TemporaryDirectory(prefix="kvchaos-worker-") as folder:
        try:
            plan = _plan(seat, Path(folder), connection, host)
            _log(f"load worker {seat.worker} of {seat.of} in run {plan.run_id}")
            connection.compare_clocks()
            own_host = None if is_loopback(host) else host
            _allow_open_files(plan, seat.of)
            worker = PhaseWorker(plan, WorkerSlot(seat.worker, seat.of, runner, outbox.write, own_host))
            try:
                _reach(plan.load_url or plan.base_url, inbox)
                worker.serve(inbox, outbox)
            finally:
                worker.close()
        except (WorkerFailed, UnreadableRun, TooFewFiles, ValueError, OSError) as error:
            outbox.send(Failed(message=str(error)))
            raise WorkerFailed(str(error)) from error
        finally:
            outbox.flush()
            if not isinstance(connection.request(Shutdown(outbox.records)), Goodbye):
                raise WorkerFailed("the master closed the connection without a reason")


def _allow_open_files(plan: RunPlan, workers: int) -> None:
    """The conductor checks its own machine only. Raises TooFewFiles."""
    most = max(-(-phase.concurrency // workers) for phase in plan.scenario.phases)
    require(most + SPARE, f"a load worker with {most:,} connections")


def _seat(connection: MasterConnection) -> Assigned:
    match connection.request(Join(platform.node(), os.getpid(), master_protocol.code_fingerprint())):
        case Assigned() as seat:
            return seat
        case RunFull(why=why):
            raise NotNeeded(why)
        case VersionMismatch(why=why):
            raise WorkerFailed(why)
        case other:
            raise WorkerFailed(f"the master answers {type(other).__name__}")


def _plan(seat: Assigned, folder: Path, connection: MasterConnection, host: str) -> RunPlan:
    """The run's plan for this machine: with its files fetched, and the server's URL from here."""
    (folder / layout.PLAN).write_text(seat.plan, encoding="utf-8")
    plan = read_plan(folder)
    scenario = plan.scenario
    workloads = {
        name: spec.model_copy(
            update={"params": {**spec.params, PATH_PARAM: str(_fetch(name, folder, connection))}}
        )
        if PATH_PARAM in spec.params
        else spec
        for name, spec in scenario.workloads.items()
    }
    url = plan.load_url or plan.base_url
    return plan.model_copy(
        update={
            "scenario": scenario.model_copy(update={"workloads": workloads}),
            "load_url": url if is_loopback(host) else reachable_url(url, host),
        }
    )


def _fetch(workload: str, folder: Path, connection: MasterConnection) -> Path:
    path = folder / workload
    with path.open("wb") as file:
        while True:
            chunk = connection.request(FileRequest(workload, file.tell()))
            if not isinstance(chunk, FileChunk):
                raise WorkerFailed(f"the master answered a file request with {type(chunk).__name__}")
            if not chunk.content:
                return path
            file.write(chunk.content)


def _reach(url: str, inbox: Inbox) -> None:
    """Wait until the server responds, or until a command arrives."""
    if not is_healthy(url, HEALTH_TIMEOUT_S):
        _log(f"waiting for the server at {url}")
    while inbox.empty() and not is_healthy(url, HEALTH_TIMEOUT_S):
        gevent.sleep(POLL_S)


def _log(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _leave_with_parent() -> None:
    with FileObjectPosix(os.dup(0), "rb") as stdin:
        stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.distributed.joining_worker", description=__doc__
    )
    parser.add_argument("--host", required=True, help="where the master is")
    parser.add_argument("--port", type=int, required=True)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of a joining worker; returns its exit code."""
    # A Ctrl-C in the terminal reaches this process too; the one that started it says what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    arguments = _arguments(argv)
    raise_soft_limit()
    gevent.spawn(_leave_with_parent)
    try:
        take_part(address_of(arguments.host), arguments.port)
    except NotNeeded as error:
        _log(str(error))
        return EXIT_NOT_NEEDED
    except (WorkerFailed, ConnectionError, ValueError) as error:
        _log(f"load worker: {error}")
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
