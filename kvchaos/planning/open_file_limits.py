"""How many files the processes of a run have open at once, by its plan: nearly all are connections."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chaos.outside.injector import NETWORK
from chaos.outside.outside_kinds import KINDS, kinds_of
from history.scenario import FaultSpec, Scenario, StackName
from history.stack_capabilities import CAPABILITIES
from kvchaos.errors import UsageError
from loadtests.open_files import SPARE, TooFewFiles, require

STORM = "abort_storm"
CLIENTS = "clients"
"""The parameter of a storm that says how many they are."""
SERVER_SPARE = 256
"""Files of vLLM's API server beside its connections: libraries, sockets between its processes, the model."""


@dataclass(frozen=True, slots=True)
class FileNeed:
    """The most open files of one process."""

    what: str
    files: int


def needs_of_run(scenario: Scenario, workers: int, stack: StackName, *, joined: bool) -> Iterator[FileNeed]:
    """What each kind of process needs that is started on this machine, outside of containers.

    `joined`: the load workers run elsewhere and check for themselves.
    """
    load = max(min(phase.concurrency, phase.requests) for phase in scenario.phases)
    crowd = sum(_clients(fault) for fault in scenario.faults if fault.kind == STORM)
    if not joined:
        yield load_worker(load, workers)
    if any(fault.kind in kinds_of(NETWORK) for fault in scenario.faults):
        yield FileNeed(f"the network proxy with {load:,} connections", 2 * load + SPARE)
    if crowd:
        yield FileNeed(f"the conductor with {crowd:,} clients that leave", crowd + SPARE)
    if CAPABILITIES[stack].starts_processes:
        yield FileNeed(f"the server with {load + crowd:,} connections", load + crowd + SERVER_SPARE)


def _clients(storm: FaultSpec) -> int:
    kind = KINDS[STORM]
    return int(storm.params.get(CLIENTS, kind.parameters[CLIENTS].default))


def needs_of_client_bench(concurrency: int, workers: int) -> Iterator[FileNeed]:
    """A measurement against the mock server."""
    yield load_worker(concurrency, workers)
    yield FileNeed(f"the mock server with {concurrency:,} connections", concurrency + SPARE)


def load_worker(concurrency: int, workers: int) -> FileNeed:
    """The one of them with the most connections."""
    most = -(-concurrency // workers)
    return FileNeed(f"a load worker with {most:,} connections", most + SPARE)


def raise_limit(needs: Iterable[FileNeed]) -> None:
    """Raise the soft limit of this process, which its children inherit. Raises UsageError if that fails."""
    most = max(needs, key=lambda need: need.files, default=None)
    if most is None:
        return
    try:
        require(most.files, most.what)
    except TooFewFiles as error:
        raise UsageError(str(error)) from error
