"""progress must see work that stands still, by event, by deadline and by metrics alone."""

from __future__ import annotations

import msgspec
import pytest

from history.verdict import Verdict, phase
from oracles.progress import MAX_GAP_S, judge
from tests.support.histories import Run, clean_run
from tests.support.oracle_results import finding_of, gap_of
from tests.support.synthetic_records import (
    EXTERNAL_QUERIES,
    GENERATED,
    PREEMPTIONS,
    PROMPT,
    RUNNING,
    SECOND,
    WAITING,
    failure,
    fault,
    make_plan,
)


def hang_all_requests(
    run: Run, seconds: int, *, running: float, waiting: float, every: int = 1, vain: str | None = None
) -> None:
    """A client waits `seconds` (and one more) for an answer while the server is scraped now and then.

    `vain` is a counter that grows all the while.
    """
    first = run.serve("healed", "prompt-0")
    run.server |= {RUNNING: running, WAITING: waiting}
    for _ in range(0, seconds + 1, every):
        run.pass_time(every * SECOND)
        if vain is not None:
            run.server[vain] += 1000
        run.scrape()
    run.server |= {RUNNING: 0.0, WAITING: 0.0}
    run.requests[-1] = msgspec.structs.replace(first, end_us=(run.now_ns - first.start_ns) // 1000)


def test_a_stall_event_fails() -> None:
    run = clean_run()
    run.event("stall", seconds=15.0, running=0, waiting=8, detail="no token")
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert result.findings[0].figures == {"seconds": 15.0, "running": 0, "waiting": 8}


def test_request_past_its_deadline_fails() -> None:
    run = clean_run()
    run.change_request(2, **failure("DeadlineExceeded", "no end after 60 s", None))
    result = judge(run.history())
    assert result.verdict is Verdict.FAIL
    assert result.findings[0].request == run.requests[2].id


def test_waiting_requests_without_a_running_one_are_a_deadlock() -> None:
    run = clean_run()
    hang_all_requests(run, 7, running=0.0, waiting=3.0)
    finding = finding_of(judge(run.history()), "progress/deadlock")
    assert finding.figures == {"seconds": pytest.approx(8.058), "running": 0, "waiting": 3}
    assert len(finding.samples) == 2


@pytest.mark.parametrize("vain", [EXTERNAL_QUERIES, PREEMPTIONS])
def test_repeated_lookups_without_tokens_are_a_livelock(vain: str) -> None:
    run = clean_run()
    hang_all_requests(run, 7, running=0.0, waiting=1.0, vain=vain)
    finding = finding_of(judge(run.history()), "progress/livelock")
    assert finding.figures["seconds"] == pytest.approx(8.058)


def test_running_requests_without_tokens_are_a_standstill() -> None:
    run = clean_run()
    hang_all_requests(run, 7, running=2.0, waiting=0.0)
    finding = finding_of(judge(run.history()), "progress/stall")
    assert finding.figures["seconds"] == pytest.approx(8.058)


def test_single_lookup_at_the_start_is_no_livelock() -> None:
    run = clean_run()
    hang_all_requests(run, 7, running=0.0, waiting=1.0)
    run.bump(EXTERNAL_QUERIES, 64.0, since=len(run.scrapes) - 6)
    assert judge(run.history()).by_rule == {"progress/deadlock": 1}


def test_a_stall_event_is_named_after_what_the_server_counted_meanwhile() -> None:
    run = clean_run()
    hang_all_requests(run, 3, running=0.0, waiting=1.0, vain=EXTERNAL_QUERIES)
    run.event("stall", seconds=3.0, running=0, waiting=1, detail="no token")
    finding = finding_of(judge(run.history()), "progress/livelock")
    assert finding.figures == {"seconds": 3.0, "running": 0, "waiting": 1}


def test_tokens_count_as_progress_despite_zero_running_gauge() -> None:
    run = clean_run()
    hang_all_requests(run, 7, running=0.0, waiting=3.0, vain=GENERATED)
    assert judge(run.history()).verdict is Verdict.PASS


def test_a_pause_shorter_than_the_limit_passes() -> None:
    run = clean_run()
    hang_all_requests(run, 3, running=0.0, waiting=3.0)
    assert judge(run.history()).verdict is Verdict.PASS


def test_stale_running_gauge_without_waiting_client_is_no_stall() -> None:
    run = clean_run()
    run.server[WAITING] = 1.0
    for _ in range(20):
        run.pass_time(SECOND)
        run.scrape()
    assert judge(run.history()).verdict is Verdict.PASS


def test_gap_between_scrapes_is_no_standstill() -> None:
    run = clean_run()
    every = int(MAX_GAP_S) + 1
    hang_all_requests(run, 3 * every, running=0.0, waiting=3.0, every=every)
    assert judge(run.history()).verdict is Verdict.PASS


@pytest.mark.parametrize("metric", [RUNNING, WAITING, PROMPT, GENERATED])
def test_an_absent_metric_is_unknown(metric: str) -> None:
    run = clean_run()
    run.drop_metric(metric)
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def healed_run() -> Run:
    """A clean run whose faults were healed, and after which four more requests were answered."""
    return clean_run(make_plan(faults=(fault("lookup_miss"),)))


def after_healing(run: Run) -> list[int]:
    """Places of the requests that were sent after healing."""
    (healed,) = [event for event in run.events if event.kind == "healed"]
    return [index for index, record in enumerate(run.requests) if record.start_ns >= healed.t_ns]


def test_recovery_after_healing_passes_with_its_time() -> None:
    result = judge(healed_run().history())
    assert result.verdict is Verdict.PASS
    # The pretended run pauses for 10 s between two phases.
    assert result.figures["recovery_s"] == pytest.approx(10.104)


def test_no_answer_after_healing_fails() -> None:
    run = healed_run()
    for index in after_healing(run):
        run.change_request(index, **failure("InternalServerError", "boom"))
    result = judge(run.history())
    assert result.by_rule == {"progress/no-recovery": 1}
    assert result.findings[0].subject == phase("chaos")


def test_an_answer_to_what_was_sent_before_healing_is_no_recovery() -> None:
    run = healed_run()
    indices = after_healing(run)
    for index in indices:
        run.change_request(index, **failure("InternalServerError", "boom"))
    run.change_request(indices[0] - 1, end_us=20_000_000)
    assert judge(run.history()).verdict is Verdict.FAIL


def scrape_later(run: Run) -> None:
    """A scrape after the last answer, however late that came."""
    run.pass_time(100 * SECOND)
    run.scrape()


@pytest.mark.parametrize(("late_s", "verdict"), [(49, Verdict.PASS), (50, Verdict.FAIL)])
def test_an_answer_too_late_after_healing_fails_with_its_time(late_s: int, verdict: Verdict) -> None:
    run = healed_run()
    for index in after_healing(run):
        run.change_request(index, end_us=100_000 + late_s * 1_000_000)
    scrape_later(run)
    result = judge(run.history())
    assert result.verdict is verdict
    if verdict is Verdict.FAIL:
        figures = finding_of(result, "progress/slow-recovery").figures
        assert figures == {"seconds": pytest.approx(60.104), "bound": 60}


def test_recovery_counts_the_first_answer_of_any_request() -> None:
    run = healed_run()
    run.change_request(after_healing(run)[0], end_us=90_000_000)
    scrape_later(run)
    assert judge(run.history()).verdict is Verdict.PASS


def test_every_healing_is_judged() -> None:
    run = healed_run()
    run.event("healed", phase="second", faults=["f2"], confirmed=True)
    assert gap_of(judge(run.history()), "progress/nothing-sent").subject == phase("second")
    run.serve("healed", "prompt-0")
    run.scrape()
    assert judge(run.history()).verdict is Verdict.PASS
    run.change_request(-1, **failure("InternalServerError", "boom"))
    assert finding_of(judge(run.history()), "progress/no-recovery").subject == phase("second")


def test_healing_without_later_requests_is_unknown() -> None:
    run = healed_run()
    del run.requests[after_healing(run)[0] :]
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def with_cached_tokens(run: Run, cached: int | None) -> Run:
    for index in after_healing(run):
        usage = run.requests[index].usage
        assert usage is not None
        run.change_request(index, usage=msgspec.structs.replace(usage, cached_tokens=cached))
    return run


def test_recovery_without_cached_tokens_is_unknown() -> None:
    """A server that answers and never uses its cache again has not come back."""
    gap = gap_of(judge(with_cached_tokens(healed_run(), 0).history()), "progress/recovery-without-cache")
    assert gap.subject == phase("chaos")


@pytest.mark.parametrize("cached", [32, None])
def test_recovery_passes_with_cached_or_unreported_tokens(cached: int | None) -> None:
    assert judge(with_cached_tokens(healed_run(), cached).history()).verdict is Verdict.PASS


@pytest.mark.parametrize(("event", "data"), [("server_exit", {"code": -9}), ("healed", {"confirmed": False})])
def test_no_recovery_is_required_of_a_dead_or_unhealed_server(
    event: str, data: dict[str, int | bool]
) -> None:
    run = healed_run()
    del run.requests[after_healing(run)[0] :]
    if event == "healed":
        run.change_event("healed", **data)
    else:
        run.event(event, **data)
    assert judge(run.history()).verdict is Verdict.PASS
