"""A process that has imported vLLM and forks engines. Runs in the server's own Python.

    python -m benchmarks.idle_cost.engine_host SOCKET

Engines are forked and built one after the other. Their steps alternate, so a step of one engine follows a
step of the other.
"""

from __future__ import annotations

import gc
import multiprocessing
import random
import sys
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection, Listener

from benchmarks.idle_cost.remote_calls import call, serve
from benchmarks.idle_cost.stepped_engine import SteppedEngine

PADDING_BYTES = 1 << 16
CLASSES = 64
END_S = 20.0
_fork = multiprocessing.get_context("fork")


class Host:
    """The engines that were built, by name."""

    def __init__(self) -> None:
        self._engines: dict[str, Connection] = {}
        self._processes: list[multiprocessing.process.BaseProcess] = []

    def build(self, name: str, arguments: Sequence[str], plugin: str, seed: int) -> bool:
        """Fork one more engine; returns when it can take requests."""
        ours, theirs = _fork.Pipe()
        process = _fork.Process(
            target=_serve_engine, args=(theirs, ours, arguments, plugin, seed), name=name, daemon=True
        )
        process.start()
        theirs.close()
        self._engines[name] = ours
        self._processes.append(process)
        return bool(call(ours, "cpu_s") > 0)

    def block(self, first: int) -> dict[str, dict[str, float]]:
        """One block on each engine, in alternating steps; the figures of each.

        `first` is the index of the engine that does each step before the others.
        """
        for engine in self._engines.values():
            call(engine, "begin")
        engines = list(self._engines.values())
        running = engines[first:] + engines[:first]
        while running:
            running = [engine for engine in running if call(engine, "step")]
        return {name: call(engine, "figures") for name, engine in self._engines.items()}

    def calls(self) -> dict[str, tuple[int, int]]:
        """Python and C calls of each engine during one block."""
        return {name: call(engine, "calls") for name, engine in self._engines.items()}

    def idle(self, seconds: float) -> dict[str, float]:
        """Processor time of each engine without a request, ms a second."""
        before = self._cpu_s()
        time.sleep(seconds)
        after = self._cpu_s()
        return {name: (after[name] - was) * 1e3 / seconds for name, was in before.items()}

    def _cpu_s(self) -> dict[str, float]:
        return {name: float(call(engine, "cpu_s")) for name, engine in self._engines.items()}

    def end(self) -> bool:
        """End the engines, the last one first: each has a copy of the connections to those before it."""
        while self._engines:
            _, engine = self._engines.popitem()
            engine.close()
            process = self._processes.pop()
            process.join(END_S)
            process.kill()
            process.join()
        return True


class _Layout:
    """Shifts the addresses and type versions of a process: two equal engines would share them by chance."""

    def __init__(self, seed: int) -> None:
        lots = random.Random(seed)
        self.padding = [bytearray(lots.randrange(PADDING_BYTES)) for _ in range(lots.randrange(CLASSES))]
        self.classes = [type(f"Padding{number}", (), {}) for number in range(lots.randrange(CLASSES))]
        for each in self.classes:
            # The lookup gives the class its version.
            hash(each())


def _serve_engine(
    connection: Connection, of_host: Connection, arguments: Sequence[str], plugin: str, seed: int
) -> None:
    of_host.close()
    sys.path.insert(0, plugin)
    layout = _Layout(seed)
    engine = SteppedEngine(arguments)
    serve(connection, engine)
    del layout


def main() -> None:
    """Serve one connection."""
    # A collection in an engine would otherwise copy all pages of the imported modules.
    gc.freeze()
    with Listener(sys.argv[1], family="AF_UNIX") as listener, listener.accept() as connection:
        serve(connection, Host())


if __name__ == "__main__":
    main()
