"""The page of a night, `nightly.html`: ten lines, then signatures, runs by oracle, and series.

It opens in any browser, from disk and without a network.
"""

from __future__ import annotations

from markupsafe import Markup

from kvchaos.nightly.morning.morning_report import MorningReport
from kvchaos.nightly.night_page import night_part
from kvchaos.nightly.page_links import PageFolders
from kvchaos.report.html.report_page import environment, resource, source_hash
from kvchaos.report.verdict_text import clean
from kvchaos.stability.stability_page import stability_part

PAGE = "nightly.html"


def page_html(report: MorningReport, folders: PageFolders) -> str:
    """The page as HTML. It looks only whether the reports of the night's runs exist."""
    style = resource("style.css") + resource("nightly.css")
    performance, stability = report.performance, report.stability
    part = night_part(performance, folders) if performance else None
    build = part.candidate if part else f"vLLM {stability.night.build}" if stability else ""
    return clean(
        environment()
        .get_template("nightly.html")
        .render(
            title=f"kvchaos nightly: {build}, {report.date}",
            date=report.date,
            build=build,
            style=Markup(style),
            style_hash=source_hash(style),
            headlines=report.headlines(),
            performance=part,
            stability=stability_part(stability, folders.runs, folders.report_url) if stability else None,
        )
    )
