"""Shuts a run down however it ended: heals faults, ends processes, closes and seals the history."""

from __future__ import annotations

from contextlib import ExitStack

from history import events
from history.seals import count_lines, seal
from kvchaos.conductor.final_checks import FinalChecks
from kvchaos.conductor.run_parts import RunParts, RunSetup
from kvchaos.conductor.upkeep import Upkeep
from kvchaos.errors import Interrupted


class RunShutdown:
    """Each step is done even when the one before failed."""

    def __init__(self, setup: RunSetup, parts: RunParts, upkeep: Upkeep, final_checks: FinalChecks) -> None:
        self._setup = setup
        self._parts = parts
        self._upkeep = upkeep
        self._final_checks = final_checks
        self._prometheus_read = False
        self._stopped_at_line: int | None = None

    def run(self) -> None:
        """Stop everything; once more from the start when the signal comes now, since there is only one."""
        try:
            try:
                self._stop_everything()
            except Interrupted:
                self._stop_everything()
                raise
        finally:
            self._close_history()

    def _stop_everything(self) -> None:
        """Safe to repeat."""
        in_order = (
            self._parts.faults.close,
            self._parts.load.close,
            self._final_checks.prove_clean,
            self._read_prometheus,
            self._parts.scraper.stop,
            self._stop_server,
            self._stop_prometheus,
        )
        with ExitStack() as steps:
            for step in reversed(in_order):
                steps.callback(step)

    def _read_prometheus(self) -> None:
        if self._setup.prometheus is None or self._prometheus_read:
            return
        result = self._setup.prometheus.collect()
        self._prometheus_read = True
        self._parts.events.write(events.PrometheusRead(scrapes=result.scrapes, error=result.error))

    def _stop_prometheus(self) -> None:
        if self._setup.prometheus is not None:
            self._setup.prometheus.stop()

    def _stop_server(self) -> None:
        stack, handover = self._setup.stack, self._setup.handover
        if handover is not None and handover.clean:
            return
        if self._stopped_at_line is None and stack.alive():
            self._stopped_at_line = self._setup.files.log_lines()
        else:
            # It may have ended by itself after its load, when nothing waits for its exit any more.
            self._parts.lifecycle.record_exit()
        stack.stop()

    def _close_history(self) -> None:
        parts = self._parts
        self._upkeep.record_container_events()
        self._setup.files.collect()
        line = self._stopped_at_line
        if line is not None:
            code = self._setup.stack.exit_code()
            parts.events.write(events.ServerStop(how="SIGTERM", code=code, log_line=line))
        parts.prober.close()
        parts.metrics.close()
        parts.resources.close()
        # The last event: all other files are as they will be judged.
        parts.events.write(events.EvidenceCounted(lines=count_lines(self._setup.run_dir)))
        parts.events.close()
        seal(self._setup.run_dir)
