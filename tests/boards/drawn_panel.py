"""What the page reports of each panel that it drew."""

from __future__ import annotations

from typing import Any

from history.strict_model import Strict


class DrawnAxis(Strict):
    """A vertical axis: the texts at its ticks, and its ends."""

    texts: list[str]
    low: float | None
    high: float | None


class DrawnSeries(Strict):
    """A line of a graph, or a row of a state timeline."""

    name: str
    points: int
    ref: str = ""
    colour: str = ""
    low: float = 0.0
    high: float = 0.0
    pixels: int = 0
    """Of its colour, inside the axes."""
    states: tuple[str, ...] = ()
    colours: tuple[str, ...] = ()


class DrawnFigure(Strict):
    """A value of a stat panel or a bar gauge."""

    name: str
    text: str
    number: float | None
    colour: str
    data: bool
    """False: the text that Grafana shows for a panel without data."""


class DrawnTable(Strict):
    """The cells as texts."""

    columns: list[str]
    rows: list[list[str]]


class DrawnPanel(Strict):
    """One panel."""

    title: str
    type: str
    substitute: bool
    empty: bool
    errors: list[str]
    legend: list[str]
    axes: list[DrawnAxis]
    series: list[DrawnSeries]
    figures: list[DrawnFigure]
    table: DrawnTable | None

    @property
    def has_data(self) -> bool:
        """Whether it shows at least one value."""
        values = any(series.points for series in self.series) or any(figure.data for figure in self.figures)
        return values or bool(self.table and self.table.rows)


def drawn_panels(reports: list[Any]) -> list[DrawnPanel]:
    """The report of the page. Raises ValidationError."""
    return [DrawnPanel.model_validate(report, strict=False) for report in reports]
