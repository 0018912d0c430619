"""A measurement as a page of its own, `bench.html`: opens in any browser, from disk and without a network."""

from __future__ import annotations

from markupsafe import Markup

from kvchaos.bench.bench_file import Bench
from kvchaos.bench.bench_tables import conclusions, tables
from kvchaos.bench.curve_charts import curve_charts
from kvchaos.report.html.report_page import environment, resource, source_hash
from kvchaos.report.verdict_text import clean


def page_html(bench: Bench) -> str:
    """Pure: the same measurement gives the same page."""
    style = resource("style.css")
    on = " and ".join(bench.sides) if any(bench.sides) else bench.servers[0]
    return clean(
        environment()
        .get_template("bench.html")
        .render(
            bench=bench,
            on=on,
            title=f"kvchaos bench {bench.kind}: {bench.scenario} on {on}",
            style=Markup(style),
            style_hash=source_hash(style),
            conclusions=conclusions(bench),
            charts=curve_charts(bench),
            tables=tables(bench),
            versions=version_lines(bench),
        )
    )


def version_lines(bench: Bench) -> list[str]:
    """What was measured, with what."""
    phase = f"phase {bench.phase} of {bench.scenario}, {bench.created}"
    return [phase, f"vLLM {', '.join(bench.servers)}", f"kvchaos {bench.kvchaos} ({bench.git})", bench.host]
