"""The dashboard of the nights: the last night, its search for failures, one series, all series of a scenario.

It reads a Prometheus database that promtool makes of the OpenMetrics export of the history. A night is one
sample, at its start.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grafana_foundation_sdk.builders import timeseries
from grafana_foundation_sdk.builders.dashboard import AnnotationQuery, Dashboard, DashboardLink, Row
from grafana_foundation_sdk.models.common import VisibilityMode
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from dashboards.parts import (
    BLUE,
    GREEN,
    GREY,
    HALF,
    ORANGE,
    QUARTER,
    RED,
    SAME_SOURCE,
    TALL,
    WIDE,
    Panel,
    Query,
    annotation,
    bars,
    board,
    choice,
    figure,
    graph,
    state_timeline,
)
from dashboards.promql import DAY, night, or_none, total
from dashboards.search_panels import night_signatures, search_figures

UID = "kvchaos-nights"
WATCHED = 'role="watch"'
SERIES = 'series="$series"'
OF_SCENARIO = f'scenario="$scenario",{WATCHED}'
RESULTS = {"regressed": RED, "blind": ORANGE, "improved": BLUE, "same": GREEN}
STATES = {str(3 - rank): (result, colour) for rank, (result, colour) in enumerate(RESULTS.items())}
"""Result and colour by the value that the state timeline gives it: the worse, the higher."""
FAILED = 'result=~"regressed|blind"'
WORST = 10
REPORT = "${__field.labels.report}"
LEAST_INTERVAL = "1h"
"""Grafana asks at most once an hour, so that a night appears within an hour of its start."""


def dashboard() -> Dashboard:
    """The dashboard of all nights."""
    about = "Nights: comparisons of a build of vLLM with a control, and the search for failures."
    built = (
        board(UID, "kvchaos: nights", about)
        .time("now-90d", "now")
        .with_variable(
            choice("scenario", "Scenario", f"label_values(kvchaos_night_result{{{WATCHED}}}, scenario)")
        )
        .with_variable(
            choice("series", "Series", f"label_values(kvchaos_night_result{{{OF_SCENARIO}}}, series)")
        )
        .annotation(_changes("Changes found", "opened|confirmed", RED))
        .annotation(_changes("Changes fixed or accepted", "fixed|accepted", GREEN))
    )
    for title, row in ROWS.items():
        built = built.with_row(Row(title))
        for panel in row():
            built = built.with_panel(panel)
    return built


def _last_night() -> Iterator[Panel]:
    builds = Query(night("info", window=DAY), "{{candidate}} against {{control}}")
    yield figure("Builds", "Of the night in the last 1d.", [builds], names=True, at_the_end=True, width=8)
    results = Query(total(night("result", window=DAY), "result"), "{{result}}")
    yield figure(
        "Results",
        "Watched series by result in the last 1d.",
        [results],
        at_the_end=True,
        colours=RESULTS,
        width=8,
    )
    yield figure(
        "Measurements",
        "Whether all measurements of the night in the last 1d had their pairs within the budget.",
        [Query(night("complete", window=DAY), "")],
        value_texts={"1": ("complete", GREEN), "0": ("pairs missing", ORANGE)},
        at_the_end=True,
    )
    excluded = Query(night("excluded_runs", window=DAY), "")
    yield figure("Excluded runs", "Runs in the last 1d that do not count.", [excluded], at_the_end=True)
    failed = f"{night('result', FAILED, DAY)} == 1"
    yield figure(
        "Regressed or blind",
        "Watched series that regressed or were blind in the last 1d.",
        [Query(or_none(failed, series="none", result="in the last 1d"), "{{series}}: {{result}}")],
        names=True,
        at_the_end=True,
        width=HALF,
    ).height(TALL)
    yield bars(
        "Largest slowdowns",
        f"The {WORST} largest of watched series in the last 1d. "
        "A click on a bar selects the series, or opens the report of a run of the candidate.",
        "percentunit",
        [Query(_with_report(f"topk({WORST}, {night('slowdown_ratio', WATCHED, DAY)})"), "{{series}}")],
    ).data_links([_link_to_series(), DashboardLink("Report of the candidate").url(REPORT)])


def _with_report(slowdowns: str) -> str:
    """The series with the label `report` of their last night; unchanged where an older export has none."""
    # Two nights can be within a day: the value is the start of the night, so that the largest is the last.
    newest = f"topk by (series) (1, {night('report_time_seconds', window=DAY)})"
    joined = f"{slowdowns} * on (series) group_left (report) ({newest} * 0 + 1)"
    return f"sort_desc({joined} or on (series) {slowdowns})"


def _search() -> Iterator[Panel]:
    yield from search_figures()
    yield night_signatures()


def _link_to_series() -> DashboardLink:
    """Of a bar to the same board with its series."""
    query = f"var-series=${{__field.labels.series}}&var-scenario=${{__field.labels.scenario}}&{SAME_SOURCE}"
    return DashboardLink("Show this series").url(f"/d/{UID}?{query}&${{__url_time_range}}")


def _series() -> Iterator[Panel]:
    band = _control_band()
    yield _bands(
        nightly(
            graph(
                "Slowdown of the series",
                "Slowdown of the candidate, less the accepted one, with its 95 % interval. "
                "Control band: mean half width of the intervals of control nights in the 30d before; "
                "a night counts for 1d. "
                "Visible step: the smallest step that the night finds with a probability of 80 %.",
                "percentunit",
                [
                    Query(night("slowdown_ratio", SERIES), "slowdown", BLUE),
                    Query(night("slowdown_high_ratio", SERIES), "95 %, upper", BLUE),
                    Query(night("slowdown_low_ratio", SERIES), "95 %, lower", BLUE),
                    Query(band, "control band, upper", GREY),
                    Query(f"-{band}", "control band, lower", GREY),
                    Query(night("visible_step_ratio", SERIES), "visible step", ORANGE),
                    Query(night("accepted_ratio", SERIES), "accepted", GREEN),
                ],
                width=WIDE,
                least=None,
            )
        ),
        [("B", "C", "95 %, lower"), ("D", "E", "control band, lower")],
    )
    yield nightly(
        graph(
            "Figures of the series",
            "Medians over the pairs of the night, in the unit that the legend gives.",
            "short",
            [
                Query(night("figure", f'{SERIES},side="candidate"'), "candidate ({{unit}})", BLUE),
                Query(night("figure", f'{SERIES},side="control"'), "control {{control}} ({{unit}})", GREY),
            ],
            width=HALF,
        )
    )
    yield nightly(
        graph(
            "Noise of the series",
            "Standard deviation of one pair, and the visible step.",
            "percentunit",
            [
                Query(night("noise_ratio", SERIES), "noise of a pair", GREY),
                Query(night("visible_step_ratio", SERIES), "visible step", ORANGE),
            ],
            width=HALF,
        )
    )


def _control_band() -> str:
    """The half width of the intervals of equal builds, from the nights that measured the control twice."""
    half = f"{night('slowdown_high_ratio', SERIES, DAY)} - {night('slowdown_ratio', SERIES, DAY)}"
    control = night("info", 'kind="control"', DAY)
    return f"avg_over_time(({half} and on () {control})[30d:1d])"


def nightly(panel: timeseries.Panel) -> timeseries.Panel:
    """Lines from night to night, with a point at each."""
    panel = panel.show_points(VisibilityMode.ALWAYS).point_size(5).span_nulls(True)
    return panel.fill_opacity(0).interval(LEAST_INTERVAL)


def _bands(panel: timeseries.Panel, bands: Sequence[tuple[str, str, str]]) -> timeseries.Panel:
    """Only the area between two lines: the query of the upper one, and query and name of the lower one."""
    hidden = [DynamicConfigValue("custom.lineWidth", 0), DynamicConfigValue("custom.showPoints", "never")]
    for upper, lower, name in bands:
        filled = [
            DynamicConfigValue("custom.fillBelowTo", name),
            DynamicConfigValue("custom.fillOpacity", 30),
        ]
        panel = panel.override_by_query(upper, [*hidden, *filled]).override_by_query(lower, hidden)
    return panel


def _scenario() -> Iterator[Panel]:
    yield nightly(
        graph(
            "Slowdowns of the scenario",
            "Slowdowns of its watched series, less the accepted ones.",
            "percentunit",
            [Query(night("slowdown_ratio", OF_SCENARIO), "{{load}} {{figure}}")],
            width=WIDE,
            least=None,
        )
    )
    scores = (
        total(night("result", f'{OF_SCENARIO},result="{result}"', DAY), "series") + f" * {value}"
        for value, (result, _) in STATES.items()
        if value != "0"
    )
    yield state_timeline(
        "Results of the scenario",
        "The result of each watched series, which stays for 1d.",
        [Query(" + ".join(scores), "{{series}}")],
        states=STATES,
    ).interval(LEAST_INTERVAL)


def _nights() -> Iterator[Panel]:
    yield nightly(
        graph(
            "Results of the nights",
            "Watched series of all scenarios by result.",
            "short",
            [
                Query(total(night("result", f'result="{result}"')), result, colour)
                for result, colour in RESULTS.items()
            ],
            width=HALF,
        )
    )
    yield nightly(
        graph(
            "Duration of the nights",
            "From the start of a night to its end.",
            "s",
            [Query(night("duration_seconds"), "duration", BLUE)],
            width=QUARTER,
        )
    )
    yield nightly(
        graph(
            "Runs that do not count",
            "Excluded runs of each night.",
            "short",
            [Query(night("excluded_runs"), "excluded runs", ORANGE)],
            width=QUARTER,
        )
    )


def _changes(name: str, events: str, colour: str) -> AnnotationQuery:
    expr = night("change", f'event=~"{events}"', "[1h]")
    return annotation(name, expr, "{{event}}: {{direction}}", "{{change}}", colour, step="1h")


ROWS = {
    "Last night": _last_night,
    "Search for failures": _search,
    "Series $series": _series,
    "Scenario $scenario": _scenario,
    "All nights": _nights,
}
