"""The state of a run at each moment, from its stored records: what the exporter had served then.

Tokens count when they arrived, requests when they started and ended. The live exporter learns of them later.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from history.reader import History
from history.records import GpuRecord, RequestRecord
from kvchaos.exporter.live_state import LiveRunState
from kvchaos.exporter.suite_metrics import KvchaosCollector
from loadtests.dispatcher import LatencyHistograms
from loadtests.messages import Health, Progress
from oracles.views.timeline import end_ns

WORKER = 0
"""The counts of all load workers are those of one."""
NS_PER_US = 1000
NS_PER_S = 1_000_000_000
Item = TypeVar("Item")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by name and labels."""


class _Queue(Generic[Item]):
    """Items in order of time, each given once."""

    def __init__(self, items: Iterable[tuple[int, Item]]) -> None:
        self._items = sorted(items, key=lambda item: item[0])
        self._next = 0

    def until(self, t_ns: int) -> Iterator[Item]:
        """Those that are due by then, and were not given yet."""
        while self._next < len(self._items) and self._items[self._next][0] <= t_ns:
            yield self._items[self._next][1]
            self._next += 1


class _Firings:
    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()

    def count(self) -> Counter[tuple[str, str]]:
        return self.counts


class _PhaseReplay:
    """The requests of one phase."""

    def __init__(self, phase: str, requests: Sequence[RequestRecord]) -> None:
        self._phase = phase
        self._starts = _Queue((each.start_ns, each) for each in requests)
        self._ends = _Queue((end_ns(each), each) for each in requests)
        self._tokens = _Queue(arrival for each in requests for arrival in _arrivals(each))
        self._latencies = LatencyHistograms(phase)
        self._counts: Counter[str] = Counter()
        self._last_token_ns: int | None = None

    def advance(self, t_ns: int, state: LiveRunState) -> None:
        self._counts["sent"] += sum(1 for _ in self._starts.until(t_ns))
        self._counts["tokens"] += sum(self._tokens.until(t_ns))
        for record in self._ends.until(t_ns):
            self._counts[record.outcome] += 1
            self._latencies.ended(record)
        state.report(WORKER, self._progress())
        state.report(WORKER, self._latencies.reading())

    def _progress(self) -> Progress:
        counts = self._counts
        failed = counts["error"] + counts["unknown"]
        return Progress(
            phase=self._phase,
            sent=counts["sent"],
            ok=counts["ok"],
            failed=failed,
            aborted=counts["aborted"],
            in_flight=counts["sent"] - counts["ok"] - failed - counts["aborted"],
            tokens=counts["tokens"],
            last_token_age_s=math.nan,
        )


def _arrivals(record: RequestRecord) -> Iterator[tuple[int, int]]:
    for us, tokens in zip(record.chunk_us, record.chunk_tokens, strict=True):
        yield record.start_ns + us * NS_PER_US, tokens


class RunReplay:
    """A run that is over, from its begin to its end. Moments must be given in order."""

    def __init__(self, history: History) -> None:
        self._firings = _Firings()
        self._gpus: list[GpuRecord] = []
        self._state = LiveRunState(history.plan, self._firings, self._new_gpu_samples)
        self._collector = KvchaosCollector(self._state)
        self._events = _Queue((event.t_ns, event.data) for event in history.timed)
        self._fired = _Queue((each.t_ns, each) for each in history.faults if each.event == "fired")
        self._gpu_samples = _Queue((each.t_ns, each) for each in history.gpus)
        self._clients = _Queue((each.t_ns, each) for each in history.client)
        by_phase: dict[str, list[RequestRecord]] = defaultdict(list)
        for record in history.requests:
            by_phase[record.phase].append(record)
        names = [phase.name for phase in history.plan.scenario.phases]
        self._phases = [_PhaseReplay(name, by_phase[name]) for name in names]

    def _new_gpu_samples(self) -> list[GpuRecord]:
        samples, self._gpus = self._gpus, []
        return samples

    def samples(self, t_ns: int) -> Samples:
        """The metrics of the suite at a moment."""
        for event in self._events.until(t_ns):
            self._state.event(event)
        for fired in self._fired.until(t_ns):
            self._firings.counts[str(fired.fault), str(fired.kind)] += 1
        for client in self._clients.until(t_ns):
            self._state.report(client.worker, Health(record=client))
        self._gpus += self._gpu_samples.until(t_ns)
        for phase in self._phases:
            phase.advance(t_ns, self._state)
        return {
            (sample.name, tuple(sample.labels.items())): float(sample.value)
            for metric in self._collector.collect()
            for sample in metric.samples
        }
