"""The second witness as the conductor has it: started, told what happens, waited for, heard at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from history import layout
from history.events import EventData
from history.plan import PrometheusPlan, RunPlan
from history.writer import LineWriter
from kvchaos.errors import UsageError
from kvchaos.exporter.board import Board
from kvchaos.exporter.firings import Firings
from kvchaos.exporter.serving import Exporter
from kvchaos.stacks.command import HOST
from kvchaos.witness.config import Targets, write_config
from kvchaos.witness.reading import MS_PER_S, NS_PER_S, Client, Unreachable, scrapes
from loadtests.messages import Report

READY_S = 40.0
"""Prometheus looks for new targets every 5 s, and begins to scrape them within as much. Started again, it
reads its data first."""
CATCH_UP_S = 5.0
POLL_S = 0.1
DRAFT = ".draft"


@dataclass(frozen=True, slots=True)
class Heard:
    """What came of reading its samples."""

    scrapes: int
    error: str | None


class Service(Protocol):
    """A Prometheus, wherever it runs."""

    def start(self) -> None: ...

    def check(self) -> None:
        """Raises UsageError when it has ended by itself."""
        ...

    def runs(self) -> bool: ...

    def kill(self) -> None:
        """SIGKILL; to nobody when it has ended."""
        ...

    def revive(self) -> None:
        """Start it again when it has ended, so that it can tell what it saw until then."""
        ...

    def stop(self) -> None:
        """Safe to repeat."""
        ...


@dataclass(frozen=True, slots=True)
class Prometheus:
    """What a plan says of a Prometheus, and how it is started and ended."""

    plan: PrometheusPlan
    service: Service


def witness_of(plan: RunPlan, run_dir: Path, prometheus: Prometheus | None) -> Witness | None:
    """The witness of a run, with its configuration written. Raises OSError."""
    if prometheus is None:
        return None
    suite = f"{HOST}:{prometheus.plan.suite_port}"
    targets = Targets(server=urlsplit(plan.base_url).netloc, suite=suite)
    write_config(run_dir / layout.PROMETHEUS_FOLDER, plan.run_id, targets)
    return Witness(plan, prometheus.plan, run_dir, prometheus.service)


class Witness:
    """Prometheus and what it scrapes of the suite, for one run."""

    def __init__(self, plan: RunPlan, prometheus: PrometheusPlan, run_dir: Path, service: Service) -> None:
        self._run_id = plan.run_id
        self._run_dir = run_dir
        self.service = service
        self._board = Board(plan, Firings(run_dir))
        self._exporter = Exporter(self._board, prometheus.suite_port)
        self._client = Client(prometheus.url)
        self._began_s = int(time.time())
        self._heard: Heard | None = None

    def event(self, event: EventData) -> None:
        """What has just happened."""
        self._board.event(event)

    def report(self, worker: int, report: Report) -> None:
        """What a load worker says."""
        self._board.report(worker, report)

    def start(self) -> None:
        """Raises UsageError, OSError."""
        self._exporter.start()
        self.service.start()

    def wait_ready(self) -> None:
        """Return when it scrapes the server, which must be up. Raises UsageError."""
        if (why := self._wait(lambda: self._client.is_up(self._run_id))) is not None:
            raise UsageError(f"Prometheus is not ready after {READY_S:g} s: {why}")

    def _wait(self, answered: Callable[[], bool]) -> str | None:
        """Wait until it answers well; None, or what was wrong at last. Raises UsageError when it ends."""
        deadline = time.monotonic() + READY_S
        while True:
            self.service.check()
            try:
                if answered():
                    return None
                why = "it does not scrape the server"
            except Unreachable as error:
                why = str(error)
            if time.monotonic() > deadline:
                return why
            time.sleep(POLL_S)

    def catch_up(self) -> None:
        """Wait for a scrape of server and suite that begins now or later, a little while."""
        now_ms = time.time_ns() * MS_PER_S // NS_PER_S
        deadline = time.monotonic() + CATCH_UP_S
        try:
            while (self._client.last_scrape_ms(self._run_id) or 0) < now_ms and time.monotonic() < deadline:
                time.sleep(POLL_S)
        except Unreachable:
            # That is told when its samples are read.
            return

    def hear(self) -> Heard:
        """Read its samples into the run directory, once; what it says later is not asked for."""
        if self._heard is None:
            self._heard = self._read()
        return self._heard

    def _read(self) -> Heard:
        self.service.revive()
        try:
            why = self._wait(self._client.answers)
        except UsageError as error:
            why = str(error)
        return self._write() if why is None else Heard(0, why)

    def _write(self) -> Heard:
        path = self._run_dir / layout.PROMETHEUS
        draft = path.with_suffix(DRAFT)
        draft.unlink(missing_ok=True)
        count = 0
        try:
            with LineWriter(draft) as writer:
                for line in scrapes(self._client, self._run_id, self._began_s, int(time.time()) + 1):
                    writer.write(line)
                    count += 1
        except Unreachable as error:
            return Heard(0, str(error))
        draft.replace(path)
        return Heard(count, None)

    def stop(self) -> None:
        """Safe to repeat."""
        try:
            self.service.stop()
        finally:
            self._exporter.stop()
            self._client.close()
