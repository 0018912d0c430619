"""A fault of a container is believed by what clients, scrapes and the engine show."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from history.records import Event, RequestError, RequestRecord
from tests.support.synthetic_records import MS, START_NS
from tests.unit.oracles.test_outside_effects import EffectCase, line, request_at, reverted, scrape


def tokens(start_ms: int, until_ms: int, every_ms: int) -> RequestRecord:
    return request_at(start_ms, *range(start_ms + every_ms, until_ms, every_ms))


SQUEEZED = EffectCase(
    journal=(
        line("fired", 3300, "cpu_squeeze", struck_ns=START_NS + 3000 * MS),
        reverted(7600, "cpu_squeeze", lifted_ms=7000),
    ),
    scrapes=(),
    requests=(tokens(500, 3000, 20), tokens(3100, 7000, 60), tokens(7100, 8000, 20)),
)


def test_cpu_squeeze_is_effective_when_itl_rises() -> None:
    assert SQUEEZED.doubt("cpu_squeeze") is None


@pytest.mark.parametrize(
    ("changed", "doubt"),
    [
        (replace(SQUEEZED, requests=(tokens(500, 8000, 20),)), "not-slower"),
        (replace(SQUEEZED, requests=(tokens(2500, 8000, 20),)), "too-little-time"),
        (replace(SQUEEZED, requests=()), "too-little-time"),
        (replace(SQUEEZED, journal=SQUEEZED.journal[:1]), "strike-unseen"),
    ],
    ids=["as fast", "hardly begun", "no load", "no end"],
)
def test_cpu_squeeze_without_slower_tokens_is_not_effective(changed: EffectCase, doubt: str) -> None:
    assert changed.doubt("cpu_squeeze") == doubt


def failed(start_ms: int, end_ms: int) -> RequestRecord:
    error = RequestError(kind="InternalServerError", status=500, message="EngineCore died")
    return structs.replace(
        request_at(start_ms, end_ms), outcome="error", error=error, chunk_us=[], first_us=None
    )


def event_at(ms: int, kind: str, **data: str | float) -> Event:
    return Event(t_ns=START_NS + ms * MS, mono_ns=0, kind=kind, data=dict(data))


def oom(ms: int, service: str = "server") -> Event:
    at_ns = START_NS + ms * MS
    return event_at(ms + 400, "container", service=service, container="abc", action="oom", at_ns=at_ns)


STARVED = EffectCase(
    journal=(line("fired", 2300, "memory_squeeze", begun_ns=START_NS + 2000 * MS, log_line=7, pid=40),),
    scrapes=(),
    requests=(failed(1500, 2400),),
    container_events=(
        event_at(-9000, "server_start", pid=40, log_line=0),
        oom(2100),
        event_at(4000, "server_start", pid=41, log_line=9),
        event_at(6000, "server_ready", seconds=2.0),
    ),
)


def test_memory_squeeze_is_effective_when_the_kernel_kills_the_server() -> None:
    assert STARVED.doubt("memory_squeeze") is None


@pytest.mark.parametrize(
    ("changed", "doubt"),
    [
        (replace(STARVED, container_events=STARVED.container_events[:1]), "not-out-of-memory"),
        (replace(STARVED, container_events=(oom(2100, "prometheus"),)), "not-out-of-memory"),
        (replace(STARVED, container_events=(oom(1000), *STARVED.container_events[2:])), "not-out-of-memory"),
        (replace(STARVED, requests=(request_at(1500, 2400),)), "no-request-failed"),
    ],
    ids=["nobody ended", "another container's", "before the strike", "nobody failed"],
)
def test_exit_for_another_reason_is_no_effect_of_a_memory_squeeze(changed: EffectCase, doubt: str) -> None:
    assert changed.doubt("memory_squeeze") == doubt


BLIND = EffectCase(
    journal=(
        line("fired", 2300, "prometheus_kill", struck_ns=START_NS + 2000 * MS),
        reverted(6600, "prometheus_kill", lifted_ms=6000),
    ),
    scrapes=(scrape(1900), scrape(3000), scrape(7000)),
    requests=(),
    prometheus=(scrape(1000), scrape(1990), scrape(7500)),
)


def test_prometheus_kill_is_effective_when_its_series_have_a_gap() -> None:
    assert BLIND.doubt("prometheus_kill") is None


@pytest.mark.parametrize(
    ("changed", "doubt"),
    [
        (replace(BLIND, prometheus=(*BLIND.prometheus[:2], scrape(4000), scrape(7500))), "prometheus-saw"),
        (replace(BLIND, prometheus=BLIND.prometheus[:2]), "not-seen-around"),
        (replace(BLIND, prometheus=()), "not-seen-around"),
        (replace(BLIND, scrapes=(scrape(1900), scrape(7000))), "suite-saw-nothing"),
        (replace(BLIND, journal=BLIND.journal[:1]), "strike-unseen"),
    ],
    ids=["it saw", "never again", "never", "nothing to be seen", "no end"],
)
def test_prometheus_kill_without_a_gap_is_not_effective(changed: EffectCase, doubt: str) -> None:
    assert changed.doubt("prometheus_kill") == doubt
