"""Panels of the search for failures that lead from a night to the runs that show a signature.

The links go from the dashboard of nights to that of a campaign, and from there to a run: its dashboard, its
report and its evidence.
"""

from __future__ import annotations

from collections.abc import Iterator

from grafana_foundation_sdk.builders import table

from dashboards.parts import GREEN, ORANGE, RED, SAME_SOURCE, Panel, Query, figure
from dashboards.promql import DAY, WHOLE, last, soak, total
from dashboards.tables import DATE, link, listing

OUTCOMES = {"as expected": GREEN, "not as expected": RED, "unknown": ORANGE}
CAMPAIGN = 'campaign="$campaign"'
SIGNATURE = 'signature="$signature"'
CAMPAIGN_BOARD, RUN_BOARD = "/d/kvchaos-campaign", "/d/kvchaos-run"
RUNS_URL = "runs_url"
"""Variable with the URL of the folder that has the run directories."""
REPORT = f"${{{RUNS_URL}}}/${{__data.fields.run}}/report.html"
BEGAN, ENDED = "began", "ended"
SHORT = 6
"""Height of a table with a few rows."""


def search_figures() -> Iterator[Panel]:
    """Runs, positive control and unexplained signatures of the last day, in one row."""
    yield figure(
        "Runs",
        "Runs of the search for failures in the last 1d, by outcome.",
        [Query(total(soak("runs", window=DAY), "outcome"), "{{outcome}}")],
        at_the_end=True,
        colours=OUTCOMES,
        width=8,
    )
    yield figure(
        "Positive control",
        "Whether the oracles found the planted violation in the last 1d. If missed, no result counts.",
        [Query(soak("info", window=DAY), "{{positive_control}} ({{build}})")],
        names=True,
        at_the_end=True,
        width=8,
    )
    unexplained = soak("signature_runs", 'unexplained="true"', DAY)
    yield figure(
        "Unexplained signatures",
        "Signatures in the last 1d that no known bug and no expectation explains.",
        [Query(f"count({unexplained}) or on () vector(0)", "")],
        at_the_end=True,
        width=8,
    )


def night_signatures() -> table.Panel:
    """A row for each signature of each exported campaign that nothing explains, the last night first."""
    runs = last("kvchaos_campaign_signature_runs", 'unexplained="true"', WHOLE)
    start = f"max by (campaign) ({last('kvchaos_campaign_start_time_seconds', '', WHOLE)})"
    began = f"({runs} * 0 + on (campaign) group_left () {start}) * 1000"
    url = f"{CAMPAIGN_BOARD}?{_cell('campaign')}&{_cell('signature')}&{SAME_SOURCE}"
    return listing(
        "Unexplained signatures by night",
        "The signatures that no known bug and no expectation explains, the last night first. A click on a "
        "signature opens the dashboard of the campaign with the runs that show it.",
        # Arithmetic drops the name of the metric, so that both queries have the same labels.
        [Query(f"sort_desc({began})", BEGAN), Query(f"{runs} + 0", "runs")],
        columns=(BEGAN, "signature", "runs", "build", "campaign"),
        overrides={
            "signature": {"links": link("Runs with this signature", f"{url}&${{__url_time_range}}")},
            BEGAN: DATE,
        },
    ).height(SHORT)


def signature_runs() -> table.Panel:
    """A row for each kept run of the campaign with the chosen signature."""
    runs = last("kvchaos_campaign_run_signature", f"{CAMPAIGN},{SIGNATURE}", WHOLE)
    start, duration = (
        last(f"kvchaos_campaign_run_{name}_seconds", CAMPAIGN, WHOLE) for name in ("start_time", "duration")
    )
    joined = f"{runs} * on (run) group_left () max by (run)"
    links = [
        *run_links(),
        *link("Report", REPORT),
        *link("Evidence", f"{REPORT}#oracle-${{__data.fields.oracle}}"),
    ]
    return listing(
        "Runs that show $signature",
        "The runs of the campaign that it keeps whole. The command repeats the run. A click on a run leads "
        "to its dashboard, its report and the findings with their evidence.",
        [
            Query(f"{joined} ({start}) * 1000", BEGAN),
            Query(f"{joined} ({start} + {duration}) * 1000", ENDED),
        ],
        columns=("run", "command", "oracle", BEGAN, ENDED),
        overrides={"run": {"links": links}, BEGAN: DATE, ENDED: DATE},
    ).height(SHORT)


def run_links() -> list[dict[str, object]]:
    """From a row with a run to its dashboard, with the time of the run."""
    window = f"from=${{__data.fields.{BEGAN}.numeric}}&to=${{__data.fields.{ENDED}.numeric}}"
    url = f"var-{RUNS_URL}=${{{RUNS_URL}:percentencode}}"
    return link("Dashboard of the run", f"{RUN_BOARD}?var-run=${{__data.fields.run}}&{url}&{window}")


def _cell(column: str) -> str:
    """A variable with the text of a cell of the row."""
    return f"var-{column}=${{__data.fields.{column}:percentencode}}"
