"""Lives of whole servers: API server, engine and load generator, as users run them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, nullcontext

from benchmarks.idle_cost.block_figures import Block
from benchmarks.idle_cost.measured_life import WARM_UP, IdleTime, Life, Pair
from benchmarks.idle_cost.measured_server import BenchFolders, MeasuredServer, Processors
from benchmarks.idle_cost.module_states import ModuleState
from kvchaos.servers.server_registry import ServerEnv

CALM_S = 3.0
"""What comes after the last request is not idleness."""
IDLE_S = 5.0
ORDERS = tuple(itertools.permutations(range(3)))
"""The orders of the servers, or of the states of one server, in consecutive rounds."""
ARMED = 2
"""Index of the armed state."""
Round = Sequence[Block]
"""A block of each server, or of each state: plain, control, module."""


def measure_life(
    server: ServerEnv, state: ModuleState, rounds: int, folders: BenchFolders, processors: Processors
) -> Life:
    """Start the servers, measure, end them. Raises UsageError."""
    with ExitStack() as stack:
        servers = []
        states: tuple[tuple[str, ModuleState], ...] = (
            ("plain", "absent"),
            ("control", "absent"),
            ("module", state),
        )
        for name, own in states:
            each = MeasuredServer(f"idle-{name}", server, own, folders, processors)
            stack.callback(each.close)
            each.start()
            servers.append(each)
        for each in servers:
            each.wait_ready()
        for number in range(WARM_UP):
            for each in servers:
                each.block(number)
        measured = [_round(servers, number) for number in range(WARM_UP, WARM_UP + rounds)]
        return _life(measured, IdleTime(*_idle_ms(*servers)))


def measure_switched_life(
    server: ServerEnv, rounds: int, folders: BenchFolders, processors: Processors
) -> Life:
    """Start one server, and arm it for one block of each round: no other server differs by chance.

    Raises UsageError.
    """
    measured = MeasuredServer("idle-switched", server, "armed", folders, processors)
    with ExitStack() as stack:
        stack.callback(measured.close)
        measured.start()
        measured.wait_ready()
        for number in range(WARM_UP):
            measured.block(number)
        blocks = itertools.count(WARM_UP)
        found = [_switched_round(measured, ORDERS[each % len(ORDERS)], blocks) for each in range(rounds)]
        healed = (*_idle_ms(measured), *_idle_ms(measured))
        with measured.armed():
            return _life(found, IdleTime(*healed, *_idle_ms(measured)))


def _life(rounds: Sequence[Round], idle: IdleTime) -> Life:
    return Life(
        costs=[Pair(base, module) for plain, control, module in rounds for base in (plain, control)],
        controls=[Pair(plain, control) for plain, control, _ in rounds],
        idle=idle,
    )


def _switched_round(server: MeasuredServer, order: Sequence[int], blocks: Iterator[int]) -> Round:
    """Two blocks with nothing armed, and one with all faults armed, in this order."""
    found: dict[int, Block] = {}
    for index in order:
        with server.armed() if index == ARMED else nullcontext():
            found[index] = server.block(next(blocks))
    return [found[index] for index in sorted(found)]


def _idle_ms(*servers: MeasuredServer) -> list[float]:
    """Processor time of servers without a request, ms a second."""
    time.sleep(CALM_S)
    before = [each.cpu_s() for each in servers]
    time.sleep(IDLE_S)
    return [(each.cpu_s() - was) * 1e3 / IDLE_S for each, was in zip(servers, before, strict=True)]


def _round(servers: Sequence[MeasuredServer], number: int) -> Round:
    blocks: dict[int, Block] = {index: servers[index].block(number) for index in ORDERS[number % len(ORDERS)]}
    return [blocks[index] for index in sorted(blocks)]
