"""The dashboard of campaigns: runs by oracle, signatures and their states, unknown runs by cause.

It reads the same database as the dashboard of the nights: the nights of `kvchaos soak`, and one by one the
runs of the campaigns that were exported.
"""

from __future__ import annotations

from collections.abc import Iterator

from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, Row
from grafana_foundation_sdk.models.dashboard import VariableHide, VariableSort

from dashboards.night_board import LEAST_INTERVAL, nightly
from dashboards.parts import (
    GREEN,
    GREY,
    HALF,
    ORANGE,
    RED,
    SAME_SOURCE,
    TALL,
    THIRD,
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
from dashboards.promql import DAY, WHOLE, last, or_none, soak, total
from dashboards.search_panels import (
    BEGAN,
    CAMPAIGN,
    ENDED,
    OUTCOMES,
    RUNS_URL,
    SIGNATURE,
    run_links,
    search_figures,
    signature_runs,
)
from dashboards.tables import DATE, listing, matrix

UID = "kvchaos-campaign"
STATES = {"new": RED, "back": RED, "ongoing": ORANGE, "gone": GREEN}
RANKED = {str(4 - rank): (state, colour) for rank, (state, colour) in enumerate(STATES.items())}
"""State and colour by the value that the state timeline gives it."""
VERDICTS = {"1": ("unknown", ORANGE), "2": ("fail", RED)}


def dashboard() -> Dashboard:
    """The dashboard of campaigns."""
    about = "Nights of kvchaos soak: runs by oracle, signatures of failures, unknown runs by cause."
    built = (
        board(UID, "kvchaos: campaigns", about)
        .time("now-90d", "now")
        .with_variable(
            choice(
                "campaign",
                "Campaign",
                "label_values(kvchaos_campaign_run_duration_seconds, campaign)",
                VariableSort.ALPHABETICAL_DESC,
            )
        )
        .with_variable(
            choice("signature", "Signature", "label_values(kvchaos_soak_signature_runs, signature)")
        )
        .with_variable(
            choice(
                RUNS_URL,
                "URL of the runs",
                f"label_values(kvchaos_campaign_start_time_seconds{{{CAMPAIGN}}}, {RUNS_URL})",
            ).hide(VariableHide.HIDE_VARIABLE)
        )
        .annotation(
            annotation(
                "New signatures",
                soak("signature_state", 'state=~"new|back"', "[1h]") + " == 1",
                "{{state}}",
                "{{signature}}",
                RED,
                step="1h",
            )
        )
    )
    for title, row in ROWS.items():
        built = built.with_row(Row(title))
        for panel in row():
            built = built.with_panel(panel)
    return built


def _last_night() -> Iterator[Panel]:
    yield from search_figures()
    new = soak("signature_state", 'state=~"new|back"', DAY) + " == 1"
    yield figure(
        "New signatures",
        "Signatures that are new or back in the last 1d.",
        [Query(or_none(new, state="none", signature="in the last 1d"), "{{state}}: {{signature}}")],
        names=True,
        at_the_end=True,
        width=WIDE,
    ).height(TALL)
    yield bars(
        "Runs by signature",
        "Runs in the last 1d that have the signature. A click on a bar selects the signature.",
        "short",
        [Query(total(soak("signature_runs", window=DAY), "signature"), "{{signature}}")],
    ).data_links([_link_to_signature()])
    yield bars(
        "Runs without a result, by cause",
        "Unknown runs in the last 1d by their reason, and runs that say nothing about the server.",
        "short",
        [
            Query(soak("unknown_runs", window=DAY), "{{reason}}"),
            Query(soak("infrastructure_runs", window=DAY), "infrastructure: {{category}}"),
        ],
    )


def _link_to_signature() -> DashboardLink:
    """Of a bar to the same board with its signature."""
    signature = "var-signature=${__field.labels.signature:percentencode}"
    query = f"{signature}&var-campaign=${{campaign}}&{SAME_SOURCE}"
    return DashboardLink("Show this signature").url(f"/d/{UID}?{query}&${{__url_time_range}}")


def _signatures() -> Iterator[Panel]:
    scores = (
        total(soak("signature_state", f'state="{state}"', DAY), "signature") + f" * {value}"
        for value, (state, _) in RANKED.items()
    )
    yield state_timeline(
        "States of the signatures",
        "New or back: the last seven nights did not have it. Gone: seven nights did not have it. "
        "A state stays for 1d.",
        [Query(" + ".join(scores), "{{signature}}")],
        states=RANKED,
    ).interval(LEAST_INTERVAL)
    yield nightly(
        graph(
            "Runs with the signature $signature",
            "Runs of each night that have it, by build of vLLM.",
            "short",
            [Query(total(soak("signature_runs", SIGNATURE), "build"), "{{build}}")],
            width=HALF,
        )
    )
    yield nightly(
        graph(
            "Runs with a signature, by oracle",
            "A run with two signatures of an oracle counts twice.",
            "short",
            [Query(total(soak("signature_runs"), "oracle"), "{{oracle}}")],
            width=HALF,
        )
    )


def _nights() -> Iterator[Panel]:
    yield nightly(
        graph(
            "Runs of the nights",
            "By outcome, without those that say nothing about the server.",
            "short",
            [
                Query(total(soak("runs", f'outcome="{outcome}"')), outcome, colour)
                for outcome, colour in OUTCOMES.items()
            ],
            width=THIRD,
        )
    )
    yield nightly(
        graph(
            "Runs by category",
            "Why the runs were made: positive control, new seeds, earlier failures, known bugs.",
            "short",
            [Query(total(soak("category_runs"), "category"), "{{category}}")],
            width=THIRD,
        )
    )
    yield nightly(
        graph(
            "Runs without a result",
            "Unknown runs, and runs that say nothing about the server.",
            "short",
            [
                Query(total(soak("unknown_runs")), "unknown", ORANGE),
                Query(total(soak("infrastructure_runs")), "infrastructure", GREY),
            ],
            width=THIRD,
        )
    )


def _signature() -> Iterator[Panel]:
    yield signature_runs()


def _campaign() -> Iterator[Panel]:
    verdict = last("kvchaos_campaign_oracle_verdict", CAMPAIGN, WHOLE)
    yield matrix(
        "Runs by oracle",
        "Runs with an oracle that fails or is unknown. An empty cell is a pass. Faults and known bugs "
        "explain some failures: the table of all runs has the outcome, and links to the dashboard of each.",
        Query(f"{verdict} > 0", "{{run}}: {{oracle}}"),
        rows="run",
        columns="oracle",
        states=VERDICTS,
    ).height(2 * TALL)
    yield bars(
        "Runs that fail, by oracle",
        "Of the campaign, explained failures included.",
        "short",
        [Query(f"count by (oracle) ({verdict} == 2)", "{{oracle}}")],
    )
    yield bars(
        "Unknown runs, by oracle",
        "Of the campaign.",
        "short",
        [Query(f"count by (oracle) ({verdict} == 1)", "{{oracle}}")],
    )
    start, duration = (
        last(f"kvchaos_campaign_run_{name}_seconds", CAMPAIGN, WHOLE) for name in ("start_time", "duration")
    )
    yield listing(
        "All runs",
        "A row for each run of the campaign. A click on a run opens its dashboard with the time of the run.",
        [Query(f"{start} * 1000", BEGAN), Query(f"({start} + {duration}) * 1000", ENDED)],
        columns=("run", "scenario", "seed", "category", "outcome", "signatures", BEGAN, ENDED),
        overrides={
            "run": {"links": run_links()},
            BEGAN: DATE,
            ENDED: DATE,
        },
    )


ROWS = {
    "Campaign $campaign: signature $signature": _signature,
    "Last night": _last_night,
    "Signatures": _signatures,
    "All nights": _nights,
    "Campaign $campaign": _campaign,
}
