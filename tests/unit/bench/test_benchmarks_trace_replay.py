"""A trace that was replayed late, or from memory, must not be told as replayed on time and from disk."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.trace_replay import MARK, PAGE, TraceReplay, main, report
from benchmarks.watched_load import MemoryUse
from history.latency import Quantiles
from kvchaos.report.text_tables import replace_between

GOOD = TraceReplay(
    lines=1_000_000,
    file_mib=125.0,
    span_s=1000.0,
    took_s=1001.0,
    client_queued=0,
    late_ms=Quantiles(0.5, 3.0),
    memory=MemoryUse(ready_mib=100.0, early_mib=110.0, most_mib=115.0),
)


def test_memory_growth_with_the_trace_is_reported() -> None:
    grown = replace(GOOD.memory, most_mib=143.0)
    assert GOOD.memory.bounded
    assert not grown.bounded
    assert report(replace(GOOD, memory=grown)).count("): no") == 1


def test_replay_lag_is_reported() -> None:
    assert GOOD.on_time
    assert not replace(GOOD, client_queued=1).on_time
    assert not replace(GOOD, late_ms=Quantiles(0.5, 101.0)).on_time


def test_trace_replay_figures_are_in_the_page() -> None:
    assert report(GOOD) in replace_between(PAGE.read_text(encoding="utf-8"), MARK, report(GOOD))


def test_a_replay_too_short_is_one_line_and_exit_code_3(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lines", "50", "--rate", "10"]) == 3
    message = capsys.readouterr().err
    assert message.endswith("longer\n")
    assert len(message.splitlines()) == 1
