"""How fast a server was in each phase, from the client's records: TTFT, ITL, tokens a second, recovery.

TTFT counts from when a request was due: a server that freezes also holds back the requests that come after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from history.latency import US_PER_MS, Quantiles, gaps, itl_us, latencies, percentile, ttft_ms
from history.reader import History, PhaseWindow, per_history
from history.records import RequestRecord
from oracles.views.timeline import NS_PER_S, NS_PER_US, by_phase, span_of

Stage = Literal["before", "during", "after"]
IN_A_ROW = 5
"""So many requests must be served well, one after the other, for a server to have recovered."""


@dataclass(frozen=True, slots=True)
class Speed:
    """Speed of a phase, by its good answers."""

    window: PhaseWindow
    stage: Stage
    """Before faults, while they are armed, or after."""
    ok: Sequence[RequestRecord]
    backwards: frozenset[str]
    """Ids of those in whose stream one event has an earlier time than the event before it."""
    ttft: Quantiles
    itl: Quantiles
    tokens_per_s: float | None
    """None without a good answer."""

    @property
    def name(self) -> str:
        """Name of the phase."""
        return self.window.spec.name

    def in_order(self, record: RequestRecord) -> bool:
        """Whether the tokens of one of them came in order, after its start and before its end."""
        times = record.chunk_us
        within = bool(times) and record.first_us == times[0] and times[0] >= 0 and times[-1] <= record.end_us
        return within and record.id not in self.backwards

    def slowest(self, measure: Literal["ttft", "itl"]) -> RequestRecord:
        """The first of those with the longest TTFT, or the longest gap between tokens."""
        return max(self.ok, key=_longest_gap if measure == "itl" else _ttft)

    def __str__(self) -> str:
        rate = "-" if self.tokens_per_s is None else f"{self.tokens_per_s:.0f}"
        return f"{self.name} ({self.stage}) TTFT {self.ttft} ms, ITL {self.itl} ms, {rate} tokens/s"


def _ttft(record: RequestRecord) -> float:
    return ttft_ms(record) or 0.0


def _longest_gap(record: RequestRecord) -> float:
    return max(itl_us(record), default=0)


@per_history
def speeds(history: History) -> Sequence[Speed]:
    """One entry for each phase that began, in order."""
    found: list[Speed] = []
    chaos_began = False
    for window in history.phases():
        chaos_began |= window.spec.role == "chaos"
        ok = [record for record in by_phase(history).get(window.spec.name, []) if record.outcome == "ok"]
        found.append(speed_of(window, _stage(window, chaos_began=chaos_began), ok))
    return found


def _stage(window: PhaseWindow, *, chaos_began: bool) -> Stage:
    if window.spec.role == "chaos":
        return "during"
    return "after" if chaos_began and window.spec.role != "golden" else "before"


def speed_of(window: PhaseWindow, stage: Stage, ok: Sequence[RequestRecord]) -> Speed:
    """How fast these good answers of a phase came."""
    itl, backwards = _gaps(ok)
    return Speed(
        window=window,
        stage=stage,
        ok=ok,
        backwards=backwards,
        ttft=Quantiles.of(latencies(ok).ttft),
        itl=itl,
        tokens_per_s=_tokens_per_s(ok),
    )


def _gaps(records: Sequence[RequestRecord]) -> tuple[Quantiles, frozenset[str]]:
    """ITL, and the requests whose times run backwards.

    Several answers to one prompt come in one stream, whose events say nothing about any of them.
    """
    # There is one for nearly each token of a run: they are kept once, and put in order where they are.
    us = np.empty(sum(max(len(record.chunk_us) - 1, 0) for record in records), np.int64)
    filled = 0
    backwards: set[str] = set()
    for block in gaps(records):
        single = np.fromiter((record.choices == 1 for record in block.records), np.bool_)
        itl = block.us if single.all() else block.us[np.repeat(single, block.counts)]
        us[filled : filled + len(itl)] = itl
        filled += len(itl)
        falls = np.repeat(np.arange(len(block.records)), block.counts)[block.us < 0]
        backwards.update(block.records[index].id for index in falls.tolist())
    us = us[:filled]
    us.sort()
    ranked = (percentile(us, 50), percentile(us, 99))
    itl_ms = Quantiles(*(None if value is None else float(value) / US_PER_MS for value in ranked))
    return itl_ms, frozenset(backwards)


def _tokens_per_s(records: Sequence[RequestRecord]) -> float | None:
    if not records:
        return None
    span = span_of(records)
    seconds = (span.last_ns - span.first_ns) / NS_PER_S
    return sum(len(record.token_ids) for record in records) / seconds if seconds > 0 else None


def recovered_ns(ok: Sequence[RequestRecord], normal_ms: float) -> int | None:
    """When the server had recovered, in nanoseconds of wall clock time; None when it had not.

    It is the first token of the first of some good requests in a row, by their send time, with a normal TTFT.
    """
    row: list[RequestRecord] = []
    for record in sorted(ok, key=lambda record: record.start_ns):
        ttft = ttft_ms(record)
        if ttft is None or ttft > normal_ms:
            row.clear()
            continue
        row.append(record)
        if len(row) == IN_A_ROW:
            return row[0].start_ns + (row[0].first_us or 0) * NS_PER_US
    return None
