"""A second witness that is not compared, or whose absence passes for agreement, is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from history.verdict import SERVER, OracleResult, Subject, Verdict, metric
from kvchaos.judging.judge_run import judge as judge_all
from oracles.metrics_crosscheck import judge
from tests.support.histories import Run, Scrape, clean_run
from tests.support.oracle_results import gap_of
from tests.support.synthetic_records import GENERATED, MS, PROMPT, RUNNING, SECOND, USAGE

LABELLED = 'vllm:lora_requests_info{a="",b="x"}'


def witnessed() -> Run:
    """A clean run that Prometheus watched."""
    run = clean_run()
    for _ in range(3):
        # At rest, with nothing on its way.
        run.pass_time(200 * MS)
        run.scrape()
    for scrape in run.scrapes:
        scrape.values[LABELLED] = 1.0
    run.watch()
    return run


def result_of(run: Run) -> OracleResult:
    return judge(run.history())


def in_load(run: Run) -> int:
    """Number of a scrape of Prometheus in the midst of the chaos phase, while a request is on its way."""
    return run.scrape_in("chaos") + 2


class TestAgreement:
    def test_equal_series_of_suite_and_prometheus_pass(self) -> None:
        result = result_of(witnessed())
        assert result.verdict is Verdict.PASS
        assert result.checked > 100
        assert result.figures["lives"] == 1

    def test_prometheus_value_between_two_neighbouring_scrapes_passes(self) -> None:
        run = witnessed()
        index = in_load(run)
        before, after = (run.scrapes[index + more].values[GENERATED] for more in (0, 1))
        assert before < after
        for value in (before, (before + after) / 2, after):
            run.prometheus[index].values[GENERATED] = value
            assert result_of(run).verdict is Verdict.PASS

    def test_gauge_may_differ_while_requests_are_running(self) -> None:
        run = witnessed()
        run.prometheus[in_load(run)].values[USAGE] = 0.7
        assert result_of(run).verdict is Verdict.PASS

    def test_empty_label_equals_a_missing_label(self) -> None:
        run = witnessed()
        for scrape in run.prometheus:
            scrape.values['vllm:lora_requests_info{b="x"}'] = scrape.values.pop(LABELLED)
        assert result_of(run).verdict is Verdict.PASS

    def test_nan_in_both_series_passes(self) -> None:
        run = witnessed()
        for scrape in (*run.scrapes, *run.prometheus):
            scrape.values[PROMPT] = float("nan")
        assert result_of(run).verdict is Verdict.PASS


def _another_value(run: Run) -> None:
    run.prometheus[in_load(run)].values[GENERATED] += 100


def _less(run: Run) -> None:
    run.prometheus[in_load(run)].values[GENERATED] -= 1


def _no_number(run: Run) -> None:
    run.prometheus[in_load(run)].values[GENERATED] = float("nan")


def _a_gauge_at_rest(run: Run) -> None:
    run.prometheus[-2].values[RUNNING] = 1.0


def _a_series_of_its_own(run: Run) -> None:
    for scrape in run.prometheus:
        scrape.values["vllm:invented_total"] = 1.0


def _a_series_less(run: Run) -> None:
    for scrape in run.prometheus:
        del scrape.values[PROMPT]


def _another_life(run: Run) -> None:
    run.prometheus[in_load(run)].incarnation = 1_800_000_100.0


DISAGREEMENTS: dict[Callable[[Run], None], tuple[str, Subject, int]] = {
    _another_value: ("value", metric(GENERATED), 3),
    _less: ("value", metric(GENERATED), 3),
    _no_number: ("value", metric(GENERATED), 2),
    _a_gauge_at_rest: ("value", metric(RUNNING), 3),
    _a_series_of_its_own: ("series-additional", metric("vllm:invented_total"), 1),
    _a_series_less: ("series-missing", metric(PROMPT), 2),
    _another_life: ("incarnation", SERVER, 0),
}
"""The rule that each breaks, its subject, and how many samples are numbers."""


@pytest.mark.parametrize("damage", DISAGREEMENTS, ids=lambda damage: damage.__name__.lstrip("_"))
def test_series_recorded_by_one_scraper_alone_is_a_violation(damage: Callable[[Run], None]) -> None:
    run = witnessed()
    damage(run)
    result = result_of(run)
    rule, subject, samples = DISAGREEMENTS[damage]
    assert result.by_rule == {f"metrics-crosscheck/{rule}": 1}
    assert (result.findings[0].subject, len(result.findings[0].samples)) == (subject, samples)


class TestGaps:
    def test_prometheus_outage_is_reported_and_no_violation(self) -> None:
        run = witnessed()
        # What happened meanwhile took long.
        late = in_load(run)
        for scrape in (*run.scrapes[late + 1 :], *run.prometheus[late + 1 :]):
            scrape.t_ns += 20 * SECOND
        result = result_of(run)
        assert result.verdict is Verdict.PASS
        assert result.figures["longest_gap_s"] == pytest.approx(20.1, abs=0.05)

    def test_server_restart_between_two_scrapes_is_no_violation(self) -> None:
        run = witnessed()
        index = in_load(run)
        for scrape in (*run.scrapes[index + 1 :], *run.prometheus[index + 1 :]):
            scrape.incarnation = 1_800_000_100.0
            scrape.values[GENERATED] = 0.0
        result = result_of(run)
        assert result.verdict is Verdict.PASS
        assert result.figures["lives"] == 2

    def test_failed_scrapes_are_reported(self) -> None:
        run = witnessed()
        run.prometheus[3].failed = True
        result = result_of(run)
        assert result.verdict is Verdict.PASS
        assert result.figures["failed"] == 1

    def test_prometheus_with_under_half_of_the_scrapes_is_unknown(self) -> None:
        run = witnessed()
        for scrape in run.scrapes[4:]:
            scrape.t_ns += 20 * SECOND
        run.prometheus = run.prometheus[:3]
        figures = gap_of(result_of(run), "metrics-crosscheck/too-few-scrapes").figures
        assert figures["share"] < figures["bound"] == 0.5

    @pytest.mark.parametrize("error", [None, "refused"])
    def test_no_samples_at_all_are_unknown(self, error: str | None) -> None:
        run = witnessed()
        run.prometheus = []
        run.event("prometheus_read", scrapes=0, error=error)
        assert (error or "") in gap_of(result_of(run), "metrics-crosscheck/not-scraped").text

    def test_missing_suite_scrapes_are_unknown(self) -> None:
        run = witnessed()
        run.scrapes = []
        assert result_of(run).verdict is Verdict.UNKNOWN

    def test_scrapes_failed_before_the_server_start_are_not_reported(self) -> None:
        run = witnessed()
        run.prometheus.insert(0, Scrape(run.scrapes[0].t_ns - SECOND, {}, failed=True))
        assert result_of(run).figures["failed"] == 0

    def test_prometheus_never_queried_is_unknown(self) -> None:
        run = witnessed()
        run.prometheus = []
        gap_of(result_of(run), "metrics-crosscheck/not-read")


class TestWithoutPrometheus:
    def test_run_without_prometheus_has_no_crosscheck(self) -> None:
        oracles = {result.oracle for result in judge_all(clean_run().history()).results}
        assert "metrics-crosscheck" not in oracles

    def test_run_with_prometheus_has_the_crosscheck(self) -> None:
        verdicts = {result.oracle: result.verdict for result in judge_all(witnessed().history()).results}
        assert verdicts["metrics-crosscheck"] is Verdict.PASS
