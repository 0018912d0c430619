"""One run of one client against mock servers of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clients import ours
from benchmarks.clients.client_figures import ClientFigures, ClientRunFailed, ClientRunRecords, client_figures
from benchmarks.clients.client_load import ClientLoad, ClientObservation
from benchmarks.clients.other_tools import LoadTool, ToolCall
from benchmarks.process_watch import ProcessWatch
from history.scenario import ClientKind
from loadtests.child_process import logged_child
from loadtests.mock.mock_process import MockServer, SentRecord

ROOT = Path(__file__).parents[2]
MOCK_SERVERS = 2
"""Processes that share a port: one is not to be the limit."""
WARM_S = 2.0
RUN_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class MeasuredClient:
    """One of the compared clients."""

    name: str
    command: Callable[[ClientLoad, str, Path], Sequence[str | Path]]
    """The command line for a load, a server's address and a folder."""
    read: Callable[[Path], Iterable[ClientObservation]]
    environment: Mapping[str, str]


def our_client(kind: ClientKind) -> MeasuredClient:
    """One of this suite's clients, measured like the others."""

    def command(load: ClientLoad, url: str, folder: Path) -> Sequence[str | Path]:
        return ours.command(kind, load, url, folder)

    return MeasuredClient(f"kvchaos {kind}", command, ours.read, {})


def other_client(tool: LoadTool, python: Path, tokenizer: Path) -> MeasuredClient:
    """A tool of others in the environment of `python`, with the tokenizer in a local folder."""

    def command(load: ClientLoad, url: str, folder: Path) -> Sequence[str | Path]:
        return tool.command(ToolCall(load, url, python, tokenizer, folder))

    return MeasuredClient(f"{tool.name} {tool.version}", command, tool.read, tool.environment)


def run(client: MeasuredClient, load: ClientLoad, folder: Path) -> ClientFigures:
    """`folder` is new and gets all that is written. Raises RunFailed, MockFailed, OSError."""
    with ExitStack() as mocks:
        servers: list[MockServer] = []
        watches: list[ProcessWatch] = []
        for number in range(MOCK_SERVERS):
            port = servers[0].port if servers else 0
            server = MockServer(load.schedule, folder / f"sent-{number}.jsonl", shared_port=port)
            servers.append(mocks.enter_context(server))
            watches.append(mocks.enter_context(ProcessWatch(server.pid)))
        watch = _drive(client, load, servers[0].url, folder)
    # Each server numbers requests that came without an id of their own.
    sent: dict[str, SentRecord] = {}
    for server in servers:
        sent |= server.sent()
    records = ClientRunRecords(client.read(folder), sent, watch.samples, [own.samples for own in watches])
    return client_figures(client.name, load.name, records, WARM_S)


def _drive(client: MeasuredClient, load: ClientLoad, url: str, folder: Path) -> ProcessWatch:
    command = client.command(load, url, folder)
    log = folder / "client.log"
    with log.open("wb") as output:
        cwd = ROOT if client.read is ours.read else folder
        environment = {**os.environ, **client.environment}
        try:
            with (
                logged_child(command, output, cwd=cwd, environment=environment) as process,
                ProcessWatch(process.pid) as watch,
            ):
                process.wait(RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise ClientRunFailed(
                f"{client.name} did not end within {RUN_TIMEOUT_S:g} s; see {log}"
            ) from error
    if process.returncode != 0:
        raise ClientRunFailed(f"{client.name} ended with code {process.returncode}; see {log}")
    return watch
