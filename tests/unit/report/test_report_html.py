"""The report says what the other reports say, leads from each finding to its evidence, and hides no gap."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise

import msgspec
import pytest

from history.events import FaultsArmed, FaultsHealed
from history.reader import History
from history.scenario import FaultSpec, Trigger
from kvchaos.judging.judge_run import judge
from kvchaos.report.history_tables import coverage, phase_latencies
from kvchaos.report.html.backdrop import armed_windows
from kvchaos.report.html.report_page import PageDrawings, ReportPage, full_page, meaning, report_html
from loadtests.workloads import ORIGINS
from tests.support.histories import Run, clean_run
from tests.support.synthetic_records import MS, PROMPT, SECOND, failure, fault, make_plan

HOSTILE = "</script><script>alert(1)</script>\"'><img src=x>"


def drawn(run: Run) -> PageDrawings:
    page = page_of(run)
    assert page.drawn is not None
    return page.drawn


def page_of(run: Run) -> ReportPage:
    history = run.history()
    return full_page(history, judge(history))


def html_of(run: Run) -> str:
    history = run.history()
    return report_html(history, judge(history))


class Collector(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, attribute: str) -> list[str]:
        return [value for _, found in self.tags if (value := found.get(attribute)) is not None]


def test_the_latency_of_each_phase_is_that_of_the_summary() -> None:
    run = clean_run()
    table = drawn(run).phases
    rows = {row.name: row.cells for row in table.rows}
    latencies = phase_latencies(run.history())
    assert [column.name for column in table.columns] == [one.phase for one in latencies]
    assert rows["TTFT"] == [str(one.ttft) for one in latencies]
    assert rows["E2EL from send"] == [str(one.e2el_from_send) for one in latencies]


def test_each_phase_has_its_kind_of_workload_and_the_package_of_a_foreign_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = clean_run()
    (kind,) = {spec.kind for spec in run.plan.scenario.workloads.values()}
    for origin in (None, "acme-units 1.0"):
        if origin is not None:
            monkeypatch.setitem(ORIGINS, kind, origin)
        table = drawn(run).phases
        (row,) = (row for row in table.rows if row.name == "workload")
        assert len(row.cells) == len(table.columns)
        assert all(cell.startswith(kind) for cell in row.cells)
        assert all((origin is not None) == ("acme-units 1.0" in cell) for cell in row.cells)


def test_phases_are_grouped_before_during_and_after_the_faults() -> None:
    table = drawn(clean_run(make_plan(roles=("golden", "load", "chaos", "healed")))).phases
    assert [column.when for column in table.columns] == ["before", "before", "during", "after"]
    assert not drawn(clean_run(make_plan(roles=("golden", "load")))).phases.with_faults


def test_fault_band_covers_the_armed_interval() -> None:
    run = clean_run(make_plan(faults=(fault("bit_flip"),)))
    run.fire("f1", "bit_flip", bytes_changed=4)
    history = run.history()
    ((start, end),) = armed_windows(history, "f1")
    (band,) = drawn(run).drop.faults
    assert start == history.events_of(FaultsArmed)[0].t_ns
    assert end == history.events_of(FaultsHealed)[0].t_ns
    assert band.armed[0].left < band.fired[0] < band.armed[0].left + band.armed[0].width


def test_a_fault_that_was_never_healed_is_armed_to_the_end() -> None:
    run = clean_run(make_plan(faults=(fault("bit_flip"),)))
    run.drop_events("healed")
    assert armed_windows(run.history(), "f1")[0][1] == run.events[-1].t_ns


def test_fault_kinds_have_unique_colours_and_faults_unique_letters() -> None:
    kinds = ("bit_flip", "copy_delay", "bit_flip")
    specs = tuple(FaultSpec(id=f"f{n}", kind=kind, trigger=Trigger(every=1)) for n, kind in enumerate(kinds))
    bands = drawn(clean_run(make_plan(faults=specs))).drop.faults
    assert [band.letter for band in bands] == ["A", "B", "C"]
    assert bands[0].style == bands[2].style != bands[1].style


@pytest.mark.parametrize(
    ("change", "observed"),
    [
        (lambda run: run.drop_events("armed"), [False, False, False, True]),
        (lambda run: None, [True, False, False, True]),
        (lambda run: run.fire("f1", "bit_flip", bytes_changed=0), [True, False, False, True]),
        (lambda run: run.fire("f1", "bit_flip", bytes_changed=4), [True, True, False, True]),
        (lambda run: run.change_event("healed", confirmed=False), [True, False, False, False]),
    ],
)
def test_fault_row_shows_each_step_from_armed_to_effective(
    change: Callable[[Run], None], observed: list[bool]
) -> None:
    run = clean_run(make_plan(faults=(fault("bit_flip"),)))
    change(run)
    (row,) = drawn(run).faults
    assert [step.observed for step in row.steps] == observed


def test_a_fault_with_its_consequence_shows_all_steps() -> None:
    run = clean_run(make_plan(faults=(fault("bit_flip"),)))
    run.fire("f1", "bit_flip", bytes_changed=4)
    run.change_request(run.first_of("chaos"), logprobs=[-9.0, -0.25, -1.75, -0.125])
    (row,) = drawn(run).faults
    assert all(step.observed for step in row.steps)


def test_strikes_are_counted_by_what_the_request_was_doing() -> None:
    run = clean_run(make_plan(faults=(fault("bit_flip"),)))
    run.fire("f1", "bit_flip", bytes_changed=4)
    run.faults = [msgspec.structs.replace(one, states=["decode", "storing"]) for one in run.faults]
    assert drawn(run).coverage == coverage(run.history())
    rows = re.findall(r"<tr><th scope=\"row\">bit_flip</th>(.*?)</tr>", html_of(run))
    assert re.findall(r"<td>(.*?)</td>", rows[0]) == ["-", "-", "-", "1", "1", "-"]


def test_findings_are_numbered_and_link_to_their_evidence() -> None:
    run = clean_run()
    record = run.change_request(run.first_of("chaos"), **failure("APIError", "boom"))
    run.bump(PROMPT, -40.0, since=run.scrape_in("healed"))
    page = page_of(run)
    findings = [finding for row in page.rows for finding in row.findings]
    assert [finding.number for finding in findings] == list(range(1, len(findings) + 1))
    assert page.drawn is not None
    by_oracle = {finding.oracle: page.drawn.evidence_links[finding.number] for finding in findings}
    assert "its request" in [link.text for link in by_oracle["outcomes"].links]
    assert by_oracle["outcomes"].when.startswith("its request ended at")
    assert "its counter" in [link.text for link in by_oracle["counters"].links]
    assert record.id in [lane.request for group in page.drawn.lanes.groups for lane in group.lanes]


def test_a_violated_counter_is_drawn_first_and_marked() -> None:
    run = clean_run()
    run.bump(PROMPT, -40.0, since=run.scrape_in("healed"))
    first = drawn(run).counters[0]
    assert first.title == "prompt_tokens_total"
    assert [marker.text for marker in first.markers][:2] == ["finding 1: 576", "finding 1: 536"]
    assert "see finding 1" in first.note


def test_a_log_line_is_shown_with_its_neighbours() -> None:
    run = clean_run()
    run.log = ["INFO one", "AssertionError here", "INFO two"]
    run.change_event("server_stop", log_line=3)
    page = page_of(run)
    assert page.drawn is not None
    (evidence,) = page.drawn.evidence_links.values()
    assert [line.text for line in evidence.log if line.marked] == ["AssertionError here"]
    assert "INFO two" in [line.text for line in evidence.log]


def test_requests_that_fail_together_share_an_axis() -> None:
    run = clean_run()
    first = run.first_of("chaos")
    begin = run.requests[first].start_ns
    for index in (first, first + 1):
        run.change_request(index, **failure("APIError", "boom"), start_ns=begin, scheduled_ns=begin)
    run.change_request(run.first_of("healed"), **failure("APIError", "boom"))
    groups = drawn(run).lanes.groups
    assert [len(group.lanes) for group in groups] == [2, 1]


def test_request_open_at_a_stall_has_a_lane() -> None:
    run = clean_run()
    record = run.change_request(
        run.first_of("chaos"), outcome="aborted", end_us=8_000_000, finish_reason=None
    )
    run.event("stall", seconds=5.0, running=0, waiting=1, detail="")
    run.events[-1] = msgspec.structs.replace(run.events[-1], t_ns=record.start_ns + 6 * SECOND)
    assert [lane.request for group in drawn(run).lanes.groups for lane in group.lanes] == [record.id]


def test_a_strike_is_drawn_on_the_lane_of_its_request() -> None:
    run = clean_run(make_plan(faults=(fault("bit_flip"),)))
    record = run.change_request(run.first_of("chaos"), **failure("APIError", "boom"))
    run.fire_at(record.start_ns + 30 * MS, "f1", "bit_flip", bytes_changed=4)
    run.faults = [msgspec.structs.replace(one, request=f"cmpl-{record.id}-0") for one in run.faults]
    (lane,) = [lane for group in drawn(run).lanes.groups for lane in group.lanes]
    assert lane.start < lane.strikes[0].at < lane.end


def test_simultaneous_findings_share_a_mark_and_others_do_not_overlap() -> None:
    run = clean_run()
    first = run.first_of("chaos")
    for index in range(first, first + 3):
        run.change_request(index, **failure("APIError", "boom"))
    marks = drawn(run).drop.findings
    assert sum(len(re.findall(r"\(outcomes\)", mark.text)) for mark in marks) == 3
    assert all(later.at > earlier.at for earlier, later in pairwise(marks))


@pytest.mark.parametrize(
    "empty",
    [
        lambda run: run.requests.clear(),
        lambda run: run.scrapes.clear(),
        lambda run: run.log.clear(),
        lambda run: run.events.__delitem__(slice(1, None)),
        lambda run: run.faults.clear(),
        lambda run: [part.clear() for part in (run.requests, run.scrapes, run.log, run.client, run.ledger)],
    ],
)
def test_history_with_gaps_is_drawn_with_no_data(empty: Callable[[Run], None]) -> None:
    run = clean_run(make_plan(faults=(fault("bit_flip"),)))
    empty(run)
    assert page_of(run).drawn is not None
    assert "no data" in html_of(run)


def test_metric_missing_from_a_release_shows_no_data() -> None:
    run = clean_run()
    run.drop_metric("vllm:kv_cache_usage_perc")
    chart = next(chart for chart in drawn(run).charts if chart.key == "cache")
    assert chart.empty


def test_a_history_that_cannot_be_drawn_still_shows_its_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(history: History, verdict: object) -> None:
        raise ValueError("odd history")

    monkeypatch.setattr("kvchaos.report.html.report_page.full_page", stumble)
    html = html_of(clean_run())
    assert "no data: this history could not be drawn: ValueError: odd history" in html
    assert "oracle-counters" in html


def test_run_data_is_escaped_everywhere() -> None:
    run = clean_run(make_plan(faults=(fault("bit_flip"),)))
    run.fire("f1", "bit_flip", bytes_changed=4, plane=HOSTILE)
    run.change_request(run.first_of("chaos"), **failure("APIError", HOSTILE))
    run.log[2] = f"AssertionError {HOSTILE}"
    run.scrapes[-1].values['vllm:odd_total{name="' + HOSTILE.replace('"', "") + '"}'] = -1.0
    page = Collector(html_of(run))
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert "img" not in [tag for tag, _ in page.tags]
    assert not [name for _, attributes in page.tags for name in attributes if name.startswith("on")]


def test_control_characters_do_not_reach_the_page() -> None:
    run = clean_run()
    run.log[2] = "AssertionError \x00\x07\x1b]0;title\x07 \ud800"
    html = html_of(run)
    html.encode("utf-8")
    assert not re.search("[\x00\x07\x1b]", html)


def test_report_loads_no_external_resource() -> None:
    page = Collector(html_of(clean_run()))
    assert page.all("src") == []
    targets = [value for value in page.all("href") if not value.startswith(("#", "data:"))]
    assert all(re.fullmatch(r"[a-z.]+", target) for target in targets), targets
    assert "default-src 'none'" in " ".join(page.all("content"))


def test_every_internal_link_has_a_target() -> None:
    run = clean_run()
    run.change_request(run.first_of("chaos"), **failure("APIError", "boom"))
    run.bump(PROMPT, -40.0, since=run.scrape_in("healed"))
    page = Collector(html_of(run))
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in page.all("href") if value.startswith("#")} <= set(ids)


def test_report_is_deterministic() -> None:
    assert html_of(clean_run()) == html_of(clean_run())


def test_report_names_the_reproducing_command_and_versions() -> None:
    html = html_of(clean_run())
    for text in ("kvchaos run synthetic --server cpu-0.32.0 --seed 7", "vLLM 0.32.0", "2 processors"):
        assert text in html


def test_outcome_has_a_plain_explanation() -> None:
    run = clean_run()
    assert "all hold" in meaning(judge(run.history()))
    run.drop_events("leak_probe")
    assert "proves nothing" in meaning(judge(run.history()))
    run.change_request(4, finish_reason="abort")
    assert "differs" in meaning(judge(run.history()))
