"""Checks the final state of the server: does it answer, drain, hold blocks, may it serve another run?"""

from __future__ import annotations

import time

from chaos.inside.transfer_audit.audit_log import QUIET_S
from history import events
from kvchaos.conductor import server_state
from kvchaos.conductor.handover import RunEnd
from kvchaos.conductor.run_parts import RunParts, RunSetup

LEDGER_QUIET_S = 3 * QUIET_S
"""The plug-in in the server writes its last balance when nothing has changed for a while."""


class FinalChecks:
    """Checks the final state of the server, and proves it clean for the next run."""

    def __init__(self, setup: RunSetup, parts: RunParts) -> None:
        self._setup = setup
        self._parts = parts
        self._drained = self._proved = False

    def drain(self) -> None:
        """After the last phase: does the server answer, is it idle, does it still hold blocks?"""
        setup, parts = self._setup, self._parts
        setup.display.step("draining")
        begin = time.monotonic()
        # The gauges move on an engine step only: the probe causes one.
        parts.prober.probe(events.FINAL, setup.limits.canary_s)
        if not setup.stack.alive():
            return
        self._drained = server_state.settle(parts.scraper, setup.limits.drain_s)
        parts.resources.sample_now()
        self._record_drained(time.monotonic() - begin)
        if setup.plan.stack != "attach":  # Its cache is not ours to drop.
            reset = server_state.reset_prefix_cache(setup.plan.base_url, setup.files.log)
            parts.events.write(events.LeakProbe(ok=reset.ok, answer=reset.answer, detail=reset.detail))
        if setup.prometheus is not None:
            setup.prometheus.catch_up()
        parts.scraper.scrape_now()
        if setup.plan.scenario.server.chaos:
            # What a busy server holds for a moment must not be part of its last balance.
            time.sleep(LEDGER_QUIET_S)
        if setup.handover is not None:
            setup.handover.empty_caches(setup.plan.base_url, self._run_end())
            time.sleep(LEDGER_QUIET_S)

    def prove_clean(self) -> None:
        """Record whether the server may serve the next run; once."""
        handover = self._setup.handover
        if handover is None or self._proved:
            return
        self._proved = True
        if self._setup.stack.alive():
            handover.prove(self._run_end())
        self._parts.events.write(events.CleanState(clean=handover.clean, objections=[*handover.objections]))

    def _record_drained(self, seconds: float) -> None:
        gauges = server_state.gauges(self._parts.scraper.latest())
        self._parts.events.write(
            events.Drained(
                ok=self._drained,
                seconds=round(seconds, 3),
                running=gauges.running,
                waiting=gauges.waiting,
                kv_usage=gauges.kv_usage,
            )
        )

    def _run_end(self) -> RunEnd:
        parts = self._parts
        return RunEnd(
            run_dir=self._setup.run_dir,
            samples=parts.scraper.scrape_now(),
            starts=parts.lifecycle.count,
            unhealed=parts.faults.unhealed,
            drained=self._drained,
            allowed_log_lines=[line.pattern for line in self._setup.plan.scenario.allowed_log_lines],
        )
