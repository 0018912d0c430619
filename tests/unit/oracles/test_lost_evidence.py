"""Evidence that contradicts itself is lost in part: the run must be unknown, and the server not be blamed."""

from __future__ import annotations

import msgspec
import pytest

from history.verdict import OracleResult, RunVerdict, Verdict
from kvchaos.judging.judge_run import judge as judge_run
from oracles import alive, drained, faults_fired, load_client, progress
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of, gap_kinds, gap_of
from tests.support.synthetic_records import SECOND, fault, make_plan

MINUTE_US = 60_000_000


def struck() -> Run:
    """A run with two firings of one fault in the journal of the worker."""
    run = clean_run(make_plan(faults=(fault("lookup_miss"),)))
    run.fire("f1", "lookup_miss")
    run.fire("f1", "lookup_miss")
    return run


def alter_last_firing(run: Run, **changes: object) -> None:
    run.faults[-1] = msgspec.structs.replace(run.faults[-1], **changes)


def gaps(run: Run) -> set[str]:
    return set(gap_kinds(faults_fired.judge(run.history())))


def outcome(run: Run) -> RunVerdict:
    return judge_run(run.history())


def test_a_journal_that_agrees_with_itself_has_no_gap() -> None:
    assert {kind for kind in gaps(struck()) if "journal" in kind or "line" in kind} == set()


@pytest.mark.parametrize("event", ["loaded", "armed", "healed"])
def test_fault_journal_without_a_required_line_is_unknown(event: str) -> None:
    run = struck()
    run.faults = [line for line in run.faults if line.event != event]
    assert f"faults-fired/journal-without-{event}" in gaps(run)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"site": "nowhere"}, "other-site"),
        ({"n": 0}, "line-repeated"),
        ({"request": "cmpl-nobody-0"}, "unknown-request"),
    ],
)
def test_firing_that_contradicts_the_journal_is_unknown(changes: dict[str, object], kind: str) -> None:
    run = struck()
    assert f"faults-fired/{kind}" not in gaps(run)
    alter_last_firing(run, **changes)
    assert f"faults-fired/{kind}" in gaps(run)


def test_arming_recorded_only_in_the_journal_is_no_unarmed_firing() -> None:
    run = struck()
    run.drop_events("armed")
    result = faults_fired.judge(run.history())
    assert (result.verdict, result.by_rule) == (Verdict.UNKNOWN, {})
    gap_of(result, "faults-fired/arming-lost")


def test_a_phase_that_stalled_without_a_stall_is_unknown() -> None:
    run = clean_run()
    run.change_event("phase_end", reason="stalled")
    gap_of(progress.judge(run.history()), "progress/stall-lost")


@pytest.mark.parametrize("kind", ["server_start", "server_ready"])
def test_missing_server_event_is_unknown(kind: str) -> None:
    run = clean_run()
    run.drop_events(kind)
    gap_of(alive.judge(run.history()), f"server-alive/no-{kind.replace('_', '-')}")


def test_run_without_a_server_stop_is_interrupted() -> None:
    run = clean_run()
    run.drop_events("server_stop")
    assert outcome(run).outcome == "unknown"
    assert "stopped" in outcome(run).reasons[0]


def test_restart_without_a_scrape_makes_the_run_unknown() -> None:
    run = clean_run()
    middle = next(event for event in run.events if event.kind == "phase_end")
    start = next(event for event in run.events if event.kind == "server_start")
    run.events.insert(run.events.index(middle), msgspec.structs.replace(start, t_ns=middle.t_ns))
    cut = outcome(run).cut
    assert cut is not None
    assert cut.kind == "run/restart-not-seen"


@pytest.mark.parametrize("figure", ["running", "waiting", "kv_usage"])
def test_block_leak_after_drain_fails(figure: str) -> None:
    run = clean_run()
    run.change_event("drained", **{figure: 1.0})
    finding_of(drained.judge(run.history()), "drained/gauge-not-zero")


def frozen(seconds: float) -> OracleResult:
    """An answer stands still after its first part while others go on."""
    run = clean_run()
    index = run.first_of("chaos")
    record = run.requests[index]
    first, *later = record.chunk_us
    chunk_us = [first, *(us + int(seconds * 1e6) for us in later)]
    start_ns = record.start_ns - int(seconds * SECOND)
    end_us = record.end_us + int(seconds * 1e6)
    run.change_request(index, chunk_us=chunk_us, start_ns=start_ns, end_us=end_us)
    return progress.judge(run.history())


@pytest.mark.parametrize(("seconds", "broken"), [(4.0, False), (6.0, True)])
def test_gap_between_tokens_beyond_the_stall_limit_fails(seconds: float, broken: bool) -> None:
    assert ("progress/answer-stalled" in frozen(seconds).by_rule) is broken


def test_a_client_that_collected_garbage_for_a_minute_was_the_limit() -> None:
    run = clean_run()
    run.client[0] = msgspec.structs.replace(run.client[0], gc_pause_us=[MINUTE_US])
    gap_of(load_client.judge(run.history()), "client/collector")
