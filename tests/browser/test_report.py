"""The report as a person meets it: opened from disk, in a browser, without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from history import layout
from kvchaos.judging.judge_run import judge_run_dir
from tests.support.histories import Run, clean_run
from tests.support.run_dirs import write_run
from tests.support.synthetic_records import PROMPT, failure, fault, make_plan

Scheme = Literal["light", "dark"]
pytestmark = pytest.mark.chromium

MIB = 2**20
PHONE, DESK = 390, 1280
HOSTILE = "<script>window.hit = 1</script><img src=x onerror='window.hit = 2'>\x1b[31m</pre></details>"
SECTIONS = ("verdict", "timeline", "over-time", "phases", "faults", "counters", "requests", "origin", "words")
CHARTS = ("ttft", "itl", "throughput", "ended", "queue", "cache", "sources", "tier", "counter-1")


def troubled_run() -> Run:
    """Something wrong of every sort: a request, a counter, an answer, a log line; a fault with firings."""
    run = clean_run(make_plan(faults=(fault("bit_flip"),)))
    run.fire("f1", "bit_flip", bytes_changed=4, plane=HOSTILE)
    first = run.first_of("chaos")
    run.change_request(first, logprobs=[-9.0, -0.25, -1.75, -0.125])
    run.change_request(first + 1, **failure("APIError", HOSTILE))
    run.bump(PROMPT, -40.0, since=run.scrape_in("healed"))
    run.log[2] = f"(EngineCore pid=7) ERROR 01-15 08:00:10 [core.py:7] AssertionError: {HOSTILE}"
    return run


def report_of(run: Run, folder: Path) -> Path:
    write_run(run, folder)
    judge_run_dir(folder)
    return folder / layout.REPORT


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_of(troubled_run(), tmp_path_factory.mktemp("troubled") / "run")


class ReportOpener:
    """Opens reports, and notes what they complain of and what they ask for besides themselves."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self.complaints: list[str] = []

    def __call__(self, report: Path, *, width: int = DESK, scheme: Scheme = "light") -> Page:
        context = self._browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.route("**/*", lambda route: self._only(report.as_uri(), route))
        page.goto(report.as_uri())
        return page

    def _only(self, url: str, route: Route) -> None:
        if route.request.url == url:
            route.continue_()
        else:
            self.complaints.append(f"asked for {route.request.url}")
            route.abort()

    def close(self) -> None:
        for context in self._contexts:
            context.close()


@pytest.fixture
def open_report(browser: Browser) -> Iterator[ReportOpener]:
    opener = ReportOpener(browser)
    yield opener
    opener.close()
    assert opener.complaints == []


def test_report_renders_offline_without_console_errors(open_report: ReportOpener, report: Path) -> None:
    page = open_report(report)
    page.wait_for_load_state("networkidle")
    for section in SECTIONS:
        expect(page.locator(f"#{section}")).to_be_visible()
    for chart in CHARTS:
        expect(page.locator(f"#{chart} .paths path").first).to_be_attached()


def test_external_requests_and_console_errors_are_detected(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<img src='http://127.0.0.1:9/x.png'><script>console.error('sorry'); nothing()</script>")
    opener = ReportOpener(browser)
    opener(page).wait_for_load_state("networkidle")
    opener.close()
    complaints = "; ".join(opener.complaints)
    assert "asked for http://127.0.0.1:9/x.png" in complaints
    assert "console: sorry" in complaints
    assert "nothing is not defined" in complaints


def test_untrusted_text_is_escaped(open_report: ReportOpener, report: Path) -> None:
    page = open_report(report)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
    for selector in ("#verdict .findings", "#verdict pre.log", "#faults .firings", "#requests .lane"):
        expect(
            page.locator(selector).filter(has_text="<script>window.hit = 1</script>").first
        ).to_be_visible()
    assert page.evaluate("window.hit") is None
    assert page.locator("img").count() == 0


def test_injected_script_does_not_run(open_report: ReportOpener, browser: Browser, report: Path) -> None:
    slipped = report.with_name("slipped.html")
    slipped.write_text(report.read_text().replace("<main>", "<main><script>window.hit = 1</script>"))
    opener = ReportOpener(browser)
    page = opener(slipped)
    assert page.evaluate("window.hit") is None
    assert any("Content Security Policy" in complaint for complaint in opener.complaints)
    opener.close()


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_page_never_scrolls_sideways(open_report: ReportOpener, report: Path, width: int) -> None:
    page = open_report(report, width=width)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_light_and_dark(open_report: ReportOpener, report: Path, scheme: Scheme) -> None:
    page = open_report(report, scheme=scheme)
    paper = luminance(page, "body", "backgroundColor")
    assert (paper > 0.8) == (scheme == "light")
    for selector in ("body", ".note", ".badge.pass", ".badge.fail", "#verdict a", ".row-name", ".number"):
        assert contrast(luminance(page, selector, "color"), paper) >= 4.5, selector


def test_verdicts_are_readable_without_colour(open_report: ReportOpener, report: Path) -> None:
    page = open_report(report)
    expect(page.locator(".outcome")).to_contain_text("not as expected")
    expect(page.locator("#oracle-counters")).to_contain_text("fail")
    expect(page.locator("#oracle-progress")).to_contain_text("pass")


def test_link_opens_its_collapsed_target(open_report: ReportOpener, report: Path) -> None:
    page = open_report(report)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = false })")
    page.locator("#timeline a").first.click()
    expect(page.locator(".findings > li:focus")).to_be_visible()


def test_charts_are_read_with_the_mouse_and_with_the_keys(open_report: ReportOpener, report: Path) -> None:
    page = open_report(report)
    canvas, readout = page.locator("#queue .canvas"), page.locator("#queue .readout")
    canvas.hover()
    expect(readout).to_contain_text("running")
    page.locator("h1").hover()
    expect(readout).to_have_text("")
    canvas.focus()
    page.keyboard.press("End")
    expect(readout).to_have_text(re.compile(r"^\d+\.\d\d s: running 0, waiting 0$"))


def test_every_drawing_has_an_aria_label(open_report: ReportOpener, report: Path) -> None:
    page = open_report(report)
    drawings = page.locator("[role=img]")
    assert drawings.count() > len(CHARTS)
    for drawing in drawings.all():
        assert drawing.get_attribute("aria-label")
    assert page.locator("svg:not([aria-hidden]):not([aria-label]):not([aria-label] svg)").count() == 0


def test_printed_report_includes_the_evidence(open_report: ReportOpener, report: Path) -> None:
    page = open_report(report)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = false })")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    expect(page.locator("#finding-1")).to_be_visible()
    expect(page.locator("nav")).to_be_hidden()


def test_nearly_empty_run_shows_no_data(open_report: ReportOpener, tmp_path: Path) -> None:
    run = clean_run()
    run.events, run.requests, run.scrapes, run.log, run.client = run.events[:1], [], [], [], []
    page = open_report(report_of(run, tmp_path / "run"))
    expect(page.locator(".outcome")).to_contain_text("unknown")
    for chart in ("ttft", "itl", "queue", "counter-1"):
        expect(page.locator(f"#{chart} .nodata")).to_have_text("no data")


def test_report_file_is_small(report: Path) -> None:
    assert report.stat().st_size < 5 * MIB


def luminance(page: Page, selector: str, what: str) -> float:
    """Relative luminance of a colour of the first such element, 0 to 1."""
    colour = page.locator(selector).first.evaluate("(one, what) => getComputedStyle(one)[what]", what)
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    red, green, blue = (one / 12.92 if one <= 0.03928 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: float, other: float) -> float:
    """By the formula of the WCAG; 4.5 is what text needs."""
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)
