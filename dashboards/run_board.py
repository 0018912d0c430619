"""The dashboard of one run, faults marked on every panel."""

from __future__ import annotations

from collections.abc import Iterator

from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, Row, TextBoxVariable
from grafana_foundation_sdk.models.dashboard import VariableOption, VariableSort

from dashboards import panels
from dashboards.alert_panel import alerts
from dashboards.parts import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    WIDE,
    Panel,
    Query,
    annotation,
    board,
    choice,
    figure,
    state_timeline,
)
from dashboards.promql import or_none, server, suite, total
from dashboards.search_panels import RUNS_URL

NEWEST_FIRST = VariableSort.ALPHABETICAL_DESC
UP = {"1": ("up", GREEN), "0": ("down", RED)}
SERVED = "http://127.0.0.1:8000"
"""URL of the runs unless a link or the user gives another one."""
RUN_DIR = f"${{{RUNS_URL}}}/${{run}}"
TROUBLE = 'kind=~"server_exit|stall"'


def dashboard() -> Dashboard:
    """The dashboard that is shown first."""
    about = "One run of kvchaos: load, offload, counters; faults are shaded on every panel."
    faults = annotation("Faults", suite("kvchaos_fault_active"), "{{fault}}", "armed: {{kind}}", ORANGE)
    trouble = annotation(
        "Incidents",
        f"changes({suite('kvchaos_events_total', TROUBLE)}[2s])",
        "{{kind}}",
        "by the events of the run",
        RED,
    )
    built = (
        board("kvchaos-run", "kvchaos: a run", about)
        .time("now-15m", "now")
        .refresh("5s")
        .with_variable(choice("run", "Run", "label_values(kvchaos_run_info, run)", NEWEST_FIRST))
        .with_variable(
            TextBoxVariable(RUNS_URL)
            .label("URL of the runs")
            .default_value(SERVED)
            .current(VariableOption(selected=True, text=SERVED, value=SERVED))
        )
        .annotation(faults)
        .annotation(trouble)
    )
    for title, row in ROWS.items():
        built = built.with_row(Row(title))
        for panel in row():
            built = built.with_panel(panel)
    return built


def _now() -> Iterator[Panel]:
    what = Query(suite("kvchaos_run_info"), "{{scenario}} on {{server}}, seed {{seed}}")
    yield figure("Scenario", "Scenario, server and seed.", [what], names=True, width=8)
    active = f"{suite('kvchaos_phase_active')} == 1"
    phase = Query(or_none(active, phase="none", role="the run has ended"), "{{phase}} ({{role}})")
    yield figure("Phase", "The current phase.", [phase], names=True, at_the_end=True)
    up = Query(server("up"), "")
    yield figure("Server", "Whether its metrics can be scraped.", [up], value_texts=UP)
    ended = Query(total(suite("kvchaos_requests_total"), "outcome"), "{{outcome}}")
    yield figure("Requests", "Requests that have ended so far, by outcome.", [ended], colours=panels.OUTCOMES)
    fired = Query(total(suite("kvchaos_fault_firings_total")), "")
    yield figure("Fault firings", "Firings of all faults so far.", [fired])
    yield from _origin()


def _origin() -> Iterator[Panel]:
    command = "kvchaos run {{scenario}} --server {{server}} --seed {{seed}}"
    yield (
        figure(
            "Command of the run",
            "It repeats the run. A click on it leads to the report, the findings with their evidence, and "
            "all files of the run.",
            [Query(suite("kvchaos_run_info"), command)],
            names=True,
            width=WIDE,
        )
        .height(3)
        .data_links(
            [
                DashboardLink("Report").url(f"{RUN_DIR}/report.html"),
                DashboardLink("Evidence").url(f"{RUN_DIR}/report.html#verdict"),
                DashboardLink("All files").url(f"{RUN_DIR}/"),
            ]
        )
    )


def _state_timelines() -> Iterator[Panel]:
    yield state_timeline(
        "Phases and faults",
        "When each phase ran and each fault was armed, and whether the server could be scraped.",
        [
            Query(suite("kvchaos_phase_active"), "{{phase}} ({{role}})", BLUE),
            Query(suite("kvchaos_fault_active"), "{{fault}}: {{kind}}", ORANGE),
            Query(server("up"), "server up", GREEN),
        ],
    )


ROWS = {
    "Now": _now,
    "What is wrong": alerts,
    "Phases and faults": _state_timelines,
    "Load, measured by the clients": panels.load,
    "Server": panels.serving,
    "Offload and faults": panels.offload,
    "Counters": panels.counts,
    "Load workers, scrapes and memory": panels.health,
    "GPUs": panels.gpus,
}
