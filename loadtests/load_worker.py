"""A load process: `python -m loadtests.load_worker --plan RUN_DIR/run.yaml --worker K --of N --out RUN_DIR`.

Reads commands from stdin and reports on stdout (see `loadtests.messages`). The end of stdin means that
the conductor is gone: what is in flight is given up and recorded, and the process exits.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import gevent
from gevent.queue import Queue
from locust.env import Environment  # patches the standard library, so it comes before our own modules

from history import layout
from history.jsonl import LineWriter
from history.reader import UnreadableRun, read_plan
from loadtests.conductor_pipes import ReportPipe, own_pipes, read_commands
from loadtests.messages import EXIT_FAILED, Failed, Quit
from loadtests.open_files import raise_soft_limit
from loadtests.phase_worker import Inbox, PhaseWorker, WorkerFailed, WorkerSlot
from loadtests.user import CompletionUser


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
