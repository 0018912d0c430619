"""What has to be done all the time while a run is under way, about ten times a second."""

from __future__ import annotations

from history import layout
from kvchaos.conductor.run_parts import RunParts, RunSetup


class LoadGeneratorLost(Exception):
    """A load worker died or fell silent in mid-run: the other records are whole, and prove nothing."""


class Upkeep:
    """Keeps the faults armed and the history complete, and detects a lost load generator."""

    def __init__(self, setup: RunSetup, parts: RunParts) -> None:
        self._stack = setup.stack
        self._files = setup.files
        self._stall_s = setup.limits.stall_s
        self._parts = parts

    def tick(self) -> None:
        """Renew the lease, collect the server's files, refresh the process registry, sample resources.

        Raises LoadGeneratorLost, RunAborted, or OSError when the history cannot be written.
        """
        parts = self._parts
        parts.faults.keep_alive()
        self._files.collect()
        parts.monitor.observe()
        self.record_container_events()
        parts.resources.sample_if_due()
        parts.scraper.failure()
        failures = parts.load.failures()
        if failures:
            raise LoadGeneratorLost("; ".join(failures))

    def record_container_events(self) -> None:
        for action in self._stack.container_events():
            self._parts.events.write(action)

    def check_load(self) -> None:
        """A load generator that reports nothing any more is broken; that says nothing about the server.

        Raises LoadGeneratorLost.
        """
        load = self._parts.load
        silence = load.silence()
        if silence.seconds > self._stall_s:
            raise LoadGeneratorLost(
                f"{load.name(silence.worker)} has said nothing for {silence.seconds:.1f} s; "
                f"see {layout.LOADER_LOG}"
            )
