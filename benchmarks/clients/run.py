"""One run of one client against mock servers of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clients import ours
from benchmarks.clients.figures import Figures, RunFailed, Taken, figures
from benchmarks.clients.load import Load
from benchmarks.clients.seen import Seen
from benchmarks.clients.tools import Asked, Tool
from benchmarks.clients.watch import Watch
from history.plan import ClientKind
from loadtests.mock.process import MockServer
from loadtests.mock.sent import SentRecord

ROOT = Path(__file__).parents[2]
MOCKS = 2
"""Processes that share a port: one is not to be the limit."""
WARM_S = 2.0
LONGEST_S = 300.0


@dataclass(frozen=True, slots=True)
class Client:
    """One of those that are compared."""

    name: str
    command: Callable[[Load, str, Path], Sequence[str | Path]]
    """For a load, a server's address and a folder."""
    read: Callable[[Path], Iterable[Seen]]
    environment: Mapping[str, str]


def our_client(kind: ClientKind) -> Client:
    def command(load: Load, url: str, folder: Path) -> Sequence[str | Path]:
        return ours.command(kind, load, url, folder)

    return Client(f"kvchaos {kind}", command, ours.read, {})


def others(tool: Tool, python: Path, tokenizer: Path) -> Client:
    def command(load: Load, url: str, folder: Path) -> Sequence[str | Path]:
        return tool.command(Asked(load, url, python, tokenizer, folder))

    return Client(f"{tool.name} {tool.version}", command, tool.read, tool.environment)


def run(client: Client, load: Load, folder: Path) -> Figures:
    """`folder` is new and gets all that is written. Raises RunFailed, MockFailed, OSError."""
    with ExitStack() as mocks:
        servers: list[MockServer] = []
        watches: list[Watch] = []
        for number in range(MOCKS):
            port = servers[0].port if servers else 0
            server = MockServer(load.schedule, folder / f"sent-{number}.jsonl", shared_port=port)
            servers.append(mocks.enter_context(server))
            watches.append(mocks.enter_context(Watch(server.pid)))
        watch = _drive(client, load, servers[0].url, folder)
    # Both name requests that came without a name of their own by their count: those are told apart here.
    sent: dict[str, SentRecord] = {}
    for server in servers:
        sent |= server.sent()
    taken = Taken(client.read(folder), sent, watch.samples, [own.samples for own in watches])
    return figures(client.name, load.name, taken, WARM_S)


def _drive(client: Client, load: Load, url: str, folder: Path) -> Watch:
    command = client.command(load, url, folder)
    log = folder / "client.log"
    with log.open("wb") as output:
        # Of this session, as the servers are: the kernel shares processors out by session.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT if client.read is ours.read else folder,
            env={**os.environ, **client.environment},
            process_group=0,
        )
        try:
            with Watch(process.pid) as watch:
                process.wait(LONGEST_S)
        except subprocess.TimeoutExpired as error:
            raise RunFailed(f"{client.name} did not end within {LONGEST_S:g} s; see {log}") from error
        finally:
            _end(process)
    if process.returncode != 0:
        raise RunFailed(f"{client.name} ended with code {process.returncode}; see {log}")
    return watch


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, 9)
        process.wait()
