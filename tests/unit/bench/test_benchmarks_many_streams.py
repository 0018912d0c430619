"""A client that was late, busy or growing must not be reported as fit for the load of a large GPU."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import many_streams
from benchmarks.many_streams import MARK, PAGE, RATE, STREAM_S, STREAMS, StreamLoad, main, report
from benchmarks.watched_load import MemoryUse, SentLoad, WatchedLoad
from history.latency import Quantiles
from kvchaos.report.text_tables import replace_between

SENT = SentLoad(
    requests=134_000,
    tokens=17_152_000,
    client_queued=0,
    late_ms=Quantiles(0.1, 2.0),
    span_s=1800.0,
    in_flight=512.0,
)
MEMORY = MemoryUse(ready_mib=90.0, early_mib=120.0, most_mib=125.0)
GOOD = StreamLoad("openai", WatchedLoad(1810.0, MEMORY, SENT), loop_lag_ms=Quantiles(0.1, 3.0), cpu=0.4)


def sent(**changes: Any) -> StreamLoad:
    """The good load with other requests."""
    return replace(GOOD, load=replace(GOOD.load, sent=replace(SENT, **changes)))


def test_rate_keeps_the_streams_open() -> None:
    assert (STREAMS, STREAM_S) == (512, 6.85)
    assert pytest.approx(74.74, abs=0.01) == RATE


LATE = Quantiles(0.1, 101.0)


@pytest.mark.parametrize("late", [sent(client_queued=1), sent(late_ms=LATE), replace(GOOD, loop_lag_ms=LATE)])
def test_late_client_is_reported(late: StreamLoad) -> None:
    assert GOOD.on_time
    assert not late.on_time
    assert report(late).count(": no") == 1


def test_busy_client_is_reported() -> None:
    assert report(replace(GOOD, cpu=0.96)).count(": no") == report(GOOD).count(": no") + 1


def test_growing_client_is_reported() -> None:
    grown = replace(GOOD.load, memory=replace(MEMORY, most_mib=153.0))
    assert report(replace(GOOD, load=grown)).count(": no") == report(GOOD).count(": no") + 1


def test_figures_of_many_streams_are_in_the_page() -> None:
    assert report(GOOD) in replace_between(PAGE.read_text(encoding="utf-8"), MARK, report(GOOD))


def test_load_too_short_is_one_line_and_exit_code_3(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_streams, "ANSWER_TOKENS", 2)
    assert main(["--minutes", "0.02"]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
