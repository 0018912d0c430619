"""The dashboard of vLLM servers in production: broken laws, latency against its objective, load, offloading.

It reads vLLM's own metrics, and the series that compose/prometheus/production-recording.yml makes of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from grafana_foundation_sdk.builders.common import GraphThresholdsStyleConfig
from grafana_foundation_sdk.builders.dashboard import Dashboard, DashboardLink, Row, ThresholdsConfig
from grafana_foundation_sdk.models.common import GraphThresholdsStyleMode
from grafana_foundation_sdk.models.dashboard import DashboardLinkType, Threshold, ThresholdsMode

from dashboards.parts import (
    BLUE,
    GREEN,
    HALF,
    ORANGE,
    QUARTER,
    RED,
    SAME_SOURCE,
    Panel,
    Query,
    annotation,
    board,
    choices,
    figure,
    graph,
    state_timeline,
)
from dashboards.promql import OVER, WHOLE, fleet, total

UID = "kvchaos-fleet"
KNOWN = "vllm:num_requests_running"
BROKEN = {"0": (" ", "transparent"), "1": ("broken", RED)}
ALLOWED = 0.01
"""Share of slow tokens that the objective of 99 % allows."""
BURN_RATES = (6, 14.4)
"""Of the alerts: over 6h, and over 1h."""
BY_SERVER = "{{instance}} {{model_name}}"
FIRING = 'alertname=~"Vllm.+",alertstate="firing",instance=~"$instance"'


def dashboard() -> Dashboard:
    """The dashboard of all servers, or of the chosen ones."""
    about = "vLLM servers in production: broken laws, latency against its objective, load, offloading."
    kv_cache = DashboardLink("KV cache, by vLLM").type(DashboardLinkType.LINK).url("/d/vllm-kv-cache")
    built = (
        board(UID, "kvchaos: servers in production", about)
        .time("now-6h", "now")
        .refresh("1m")
        .link(kv_cache.include_vars(True).keep_time(True))
        .with_variable(choices("model", "Model", f"label_values({KNOWN}, model_name)"))
        .with_variable(
            choices("instance", "Server", f'label_values({KNOWN}{{model_name=~"$model"}}, instance)')
        )
        .annotation(
            annotation("Alerts", f"ALERTS{{{FIRING}}}", "{{alertname}}", "{{instance}}", RED, step="1m")
        )
    )
    for title, row in ROWS.items():
        built = built.with_row(Row(title))
        for panel in row():
            built = built.with_panel(panel)
    return built


def _wrong() -> Iterator[Panel]:
    broken = fleet("instance:vllm_law_broken:bool")
    reachable = fleet("instance:vllm_law_broken:bool", 'law="reachable"')
    yield figure(
        "Servers up", "Servers whose metrics can be scraped.", [Query(f"count({reachable} == 0)", "")]
    )
    yield figure("Servers down", "Servers whose last scrape failed.", [Query(total(reachable), "")])
    yield figure(
        "Servers with a broken law",
        "Servers that break at least one law now.",
        [Query(f"count(max by (instance) ({broken}) == 1)", "")],
        at_the_end=True,
    )
    running, waiting = (
        total(fleet(f"instance:vllm_requests_{state}:sum")) for state in ("running", "waiting")
    )
    yield figure("Requests running", "Of all chosen servers.", [Query(running, "")])
    yield figure("Requests waiting", "Of all chosen servers.", [Query(waiting, "")])
    usage = Query(f"max({fleet('instance:vllm_kv_cache_usage:max')})", "")
    yield figure("KV cache, fullest", "Of the fullest server.", [usage], unit="percentunit")
    yield state_timeline(
        "Broken laws",
        "When each server broke a law of the oracles; docs/alerts.md says what to do. "
        "Laws that were not broken in the time shown have no row.",
        [Query(f"max by (instance, law) ({broken}) and {_ever(broken)}", "{{instance}}: {{law}}")],
        states=BROKEN,
    ).no_value("no law was broken in the time shown")


def _ever(broken: str) -> str:
    """The laws that a server broke at some time shown."""
    return f"on (instance, law) max_over_time({broken}{WHOLE}) > 0"


def _latency() -> Iterator[Panel]:
    for title, of, bound in (
        ("First tokens", "slow_first_tokens", "5 s"),
        ("Gaps between tokens", "slow_gaps", "0.2 s"),
    ):
        shares = (fleet(f"instance:vllm_{of}:ratio_rate{window}") for window in ("1h", "6h"))
        hour, hours = (f"max({share}) / {ALLOWED}" for share in shares)
        yield (
            graph(
                f"{title}: burn rate",
                f"Share of those over {bound}, divided by the allowed 1 %, of the worst server. "
                "14.4 over 1h, or 6 over 6h, raises an alert.",
                "short",
                [Query(hour, "1h", RED), Query(hours, "6h", ORANGE)],
                width=QUARTER,
            )
            .thresholds(_burn_rates())
            .axis_soft_max(BURN_RATES[-1])
            .thresholds_style(GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
        )
    for title, metric in (
        ("TTFT, 99 %", "vllm:time_to_first_token_seconds_bucket"),
        ("ITL, 99 %", "vllm:inter_token_latency_seconds_bucket"),
    ):
        rates = f"sum by (instance, le) (rate({fleet(metric)}{OVER}))"
        yield graph(
            title,
            "By the histogram of the server, from the arrival at the server.",
            "s",
            [Query(f"histogram_quantile(0.99, {rates})", "{{instance}}")],
            width=QUARTER,
        )


def _burn_rates() -> ThresholdsConfig:
    """Lines at the burn rates of the alerts."""
    steps = [
        Threshold(value=None, color=GREEN),
        *(
            Threshold(value=rate, color=colour)
            for rate, colour in zip(BURN_RATES, (ORANGE, RED), strict=True)
        ),
    ]
    return ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _load() -> Iterator[Panel]:
    for title, about, series, unit in (
        ("Running", "Requests that the server runs.", "requests_running:sum", "short"),
        (
            "Waiting",
            "Requests in the queue. A click on a line selects its server.",
            "requests_waiting:sum",
            "short",
        ),
        ("KV cache in use", "Share of the device's KV blocks in use.", "kv_cache_usage:max", "percentunit"),
        ("Prompt tokens/s", "Over 5m.", "prompt_tokens:rate5m", "short"),
        ("Generated tokens/s", "Over 5m.", "generated_tokens:rate5m", "short"),
        ("Preemptions", "Per second, over 5m.", "preemptions:rate5m", "short"),
    ):
        yield graph(title, about, unit, [Query(fleet(f"instance:vllm_{series}"), BY_SERVER)]).data_links(
            [_link_to_server()] if title == "Waiting" else []
        )
    yield graph(
        "Waiting requests by reason",
        "From 0.20 on. Requests that wait for KV loads are deferred.",
        "short",
        [Query(total(fleet("vllm:num_requests_waiting_by_reason"), "reason"), "{{reason}}")],
        width=HALF,
    )
    yield graph(
        "Requests that end with an error",
        "Per second, over 5m, by the finish reason of the server.",
        "reqps",
        [Query(fleet("instance:vllm_failed_requests:rate5m"), BY_SERVER)],
        width=HALF,
    )


def _link_to_server() -> DashboardLink:
    """Of a line to the same board with its server."""
    url = f"/d/{UID}?var-instance=${{__field.labels.instance}}&var-model=${{__field.labels.model_name}}"
    return DashboardLink("Show this server").url(f"{url}&{SAME_SOURCE}&${{__url_time_range}}")


def _offload() -> Iterator[Panel]:
    for title, series in (("KV loads", "kv_load_bytes"), ("KV stores", "kv_store_bytes")):
        yield graph(
            title,
            "Bytes/s over 5m, from or to the CPU tier.",
            "Bps",
            [Query(fleet(f"instance:vllm_{series}:rate5m"), BY_SERVER)],
            width=QUARTER,
        )
    yield graph(
        "Hit rate of the tier",
        "Share of the looked up tokens that were found, over 15m.",
        "percentunit",
        [Query(fleet("instance:vllm_tier_hits:ratio_rate15m"), BY_SERVER)],
        width=QUARTER,
    )
    yield graph(
        "Stores without room in the tier",
        "Per second, over 10m, from 0.26 on.",
        "short",
        [Query(fleet("instance:vllm_kv_allocation_failures:rate10m"), BY_SERVER)],
        width=QUARTER,
    )
    yield graph(
        "CPU tier in use",
        "Share of the tier's blocks, of the fullest server: in use from 0.24 on, pinned from 0.32 on.",
        "percentunit",
        [
            Query(f"max({fleet(f'vllm:kv_offload_cpu_cache_{part}usage_perc')})", name)
            for part, name in (("", "in use"), ("read_", "pinned by loads"), ("write_", "pinned by stores"))
        ],
        width=HALF,
    )
    lookups = f"sum by (le) (rate({fleet('vllm:kv_offload_lookup_sync_delay_seconds_bucket')}{OVER}))"
    yield graph(
        "Lookup delay, 99 %",
        "Time of a lookup in the tier, from 0.32 on.",
        "s",
        [Query(f"histogram_quantile(0.99, {lookups})", "99 %", BLUE)],
        width=HALF,
    )


def _scrapes() -> Iterator[Panel]:
    yield graph(
        "Failed scrapes",
        "Share of the scrapes over 10m.",
        "percentunit",
        [Query(fleet("instance:vllm_failed_scrapes:ratio_avg10m"), "{{instance}}")],
        width=QUARTER,
    )
    yield graph(
        "Restarts",
        "Changes of the start time of the server within 1h.",
        "short",
        [Query(f"changes({fleet('process_start_time_seconds')}[1h])", "{{instance}}")],
        width=QUARTER,
    )
    yield graph(
        "Counters that decreased",
        "How much more often than the server restarted, within 1h.",
        "short",
        [Query(fleet("instance:vllm_counter_decreases:max1h"), "{{instance}}: {{counter}}")],
        width=QUARTER,
        least=None,
    )
    yield graph(
        "Parts above their whole",
        "Excess of a counter over the one of which it is a part; above 0 the counts contradict.",
        "short",
        [Query(fleet("instance:vllm_count_excess:max"), "{{instance}}: {{part}}")],
        width=QUARTER,
        least=None,
    )


ROWS = {
    "What is wrong": _wrong,
    "Latency": _latency,
    "Load": _load,
    "Offloading": _offload,
    "Counters and scrapes": _scrapes,
}
