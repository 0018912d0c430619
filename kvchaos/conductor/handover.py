"""The end of a run that may leave its server to the next one: the proof that it is clean, or objections."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from history import layout
from history.jsonl import UnreadableRun
from history.reader import read_ledgers
from history.records import ResourceRecord
from kvchaos.conductor import server_state
from kvchaos.conductor.clean_state import EndState, objections, of_the_caches, of_the_resources
from kvchaos.prometheus.scraper import Samples
from kvchaos.stacks.server_files import CollectedFiles
from kvchaos.stacks.stack import Stack

NOT_ENDED = "the run did not come to its end"
QUIET_S = 0.5
CONNECTIONS_CLOSED_S = 6.0
"""For the server to close the connections of a load that has gone."""
POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class RunEnd:
    """The state of a run and its server when all load is over."""

    run_dir: Path
    samples: Samples | None
    """Of a scrape that was made just now."""
    starts: int
    """Of the server in this run."""
    unhealed: Sequence[str]
    """Phases whose faults have no confirmed end."""
    drained: bool
    allowed_log_lines: Sequence[str] = ()
    """Patterns."""


class Handover:
    """Whether a server may serve another run. Made where there is one to follow."""

    def __init__(self, stack: Stack, files: CollectedFiles, before: ResourceRecord | None) -> None:
        """`before` is what the server used before its first load; None: that is still to be measured."""
        self._stack = stack
        self._files = files
        self.before = before
        self._reset: server_state.ResetResult | None = None
        self.figures: Samples | None = None
        """The server's metrics at the end of the proof. They must stand still until the next run."""
        self.objections: list[str] = [NOT_ENDED]
        """Why the server must not serve another run; empty when it is proved clean."""

    @property
    def clean(self) -> bool:
        return not self.objections

    def before_load(self) -> None:
        """Note what the server uses now, unless an earlier run did."""
        if self.before is None:
            # The server may not have closed the connection of the first request yet.
            time.sleep(QUIET_S)
            self.before = self._stack.resources()

    def empty_caches(self, base_url: str, end: RunEnd) -> None:
        """Empty device cache and offload tier, unless something speaks against the server already.

        To be called when the run's own evidence is whole: a reset ends in the ledgers what was open.
        """
        self.objections = self._before_reset(end)
        if not self.objections:
            self._reset = server_state.reset_prefix_cache(base_url, self._files.log, tier=True)
            self.objections = [NOT_ENDED]

    def prove(self, end: RunEnd) -> None:
        """The rest, when the load's connections are closed and the ledgers had time to be written."""
        if self._reset is None:
            return
        usage = self._settled()
        self.objections = [
            *(self._before_reset(end) or map(str, of_the_caches(self._reset, read_ledgers(end.run_dir)))),
            *map(str, of_the_resources(usage, self.before)),
        ]
        self.figures = None if end.samples is None else server_state.own_figures(end.samples)

    def _before_reset(self, end: RunEnd) -> list[str]:
        self._files.collect()
        try:
            ledger = read_ledgers(end.run_dir)
        except UnreadableRun as error:
            return [str(error)]
        log = (end.run_dir / layout.SERVER_LOG).read_text(encoding="utf-8", errors="replace")
        before_reset = objections(
            EndState(
                starts=end.starts,
                unhealed=end.unhealed,
                drained=end.drained,
                gauges=server_state.gauges(end.samples),
                ledger=ledger,
                journal_bytes=self._files.journal_bytes(),
                log=log,
                allowed=end.allowed_log_lines,
            )
        )
        return list(map(str, before_reset))

    def _settled(self) -> ResourceRecord | None:
        """What the server uses, a little later if it is more than before."""
        deadline = time.monotonic() + CONNECTIONS_CLOSED_S
        while True:
            usage = self._stack.resources()
            if not list(of_the_resources(usage, self.before)) or time.monotonic() > deadline:
                return usage
            time.sleep(POLL_S)
