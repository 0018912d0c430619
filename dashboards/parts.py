"""What all dashboards are built of: panels of one look, one data source, annotations, PromQL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardLink,
    DatasourceVariable,
    QueryVariable,
)
from grafana_foundation_sdk.builders.dashboard import FieldColor as FieldColorBuilder
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BarGaugeNamePlacement,
    BarGaugeSizing,
    BigValueGraphMode,
    BigValueTextMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    LineInterpolation,
    SortOrder,
    TimelineValueAlignment,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DynamicConfigValue,
    FieldColor,
    FieldColorModeId,
    ValueMap,
    ValueMappingResult,
    VariableRefresh,
    VariableSort,
)

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
SAME_SOURCE = "var-datasource=${datasource}"
"""Of a link to a dashboard that reads the same database."""
WIDE, HALF, THIRD, QUARTER, SIXTH = 24, 12, 8, 6, 4
TALL, LOW = 8, 4
BAR_HEIGHT = 32
"""Pixels, at most."""
GREEN, BLUE, RED, GREY, ORANGE = "#73BF69", "#3274D9", "#E02F44", "#8E8E8E", "#FF9830"
BLUES = ("#C0D8FF", "#8AB8FF", "#3274D9")
"""Colours of the 50th, 95th and 99th percentile."""
METRIC = re.compile(r"\b(?:instance:\w+:\w+|vllm:\w+|kvchaos_\w+|process_\w+|up|scrape_duration_seconds)\b")
"""Names of metrics in PromQL, and of series that recording rules make."""

COUNTED = "short"
"""Unit of counts, whose axis ends at 1 or above. Without an end, Grafana draws zeros on an axis up to 100."""
TAG = "kvchaos"
ACTIVE = {"0": (" ", "transparent"), "1": ("on", ORANGE)}
"""Text and colour of a state by its value."""

Panel = timeseries.Panel | stat.Panel | statetimeline.Panel | bargauge.Panel | table.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of PromQL, the name of its series, and maybe their colour."""

    expr: str
    legend: str
    colour: str | None = None


def board(uid: str, title: str, about: str) -> Dashboard:
    """An empty dashboard with the choice of the data source."""
    source = DatasourceVariable("datasource").label("Data source").type("prometheus")
    others = DashboardLink("Dashboards of kvchaos").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return (
        Dashboard(title)
        .uid(uid)
        .description(about)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(source)
        .link(others.include_vars(True).keep_time(True))
    )


def choice(
    name: str, label: str, query: str, order: VariableSort = VariableSort.ALPHABETICAL_ASC
) -> QueryVariable:
    """A variable whose values Prometheus knows. The first in order is chosen."""
    return (
        QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(order)
    )


def choices(name: str, label: str, query: str) -> QueryVariable:
    """A variable with any number of the values that Prometheus knows. At first all are chosen."""
    return choice(name, label, query).multi(True).include_all(True).all_value(".*")


def graph(
    title: str,
    about: str,
    unit: str,
    queries: Sequence[Query],
    *,
    width: int = THIRD,
    least: float | None = 0,
) -> timeseries.Panel:
    """Lines over time. `least` is the lower end of the scale; None: wherever the values are."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(described(about, queries))
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(TALL)
        .line_width(1)
        .fill_opacity(8)
        .draw_style(GraphDrawStyle.LINE)
        .line_interpolation(LineInterpolation.LINEAR)
        .show_points(VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .legend(_legend())
    )
    if least is not None:
        panel = panel.min(least)
    if unit == COUNTED and not any("rate" in query.expr for query in queries):
        panel = panel.axis_soft_max(1)
    for letter, query, target in _targets(queries):
        panel = panel.with_target(target)
        if query.colour is not None:
            panel = panel.override_by_query(letter, _coloured(query.colour))
    return panel


def figure(
    title: str,
    about: str,
    queries: Sequence[Query],
    *,
    unit: str = "short",
    names: bool = False,
    at_the_end: bool = False,
    value_texts: Mapping[str, tuple[str, str]] | None = None,
    colours: Mapping[str, str] | None = None,
    width: int = SIXTH,
) -> Panel:
    """The last value in large letters, or with `names` a row with the name of each series that has one.

    `at_the_end`: only what there is at the end of the time shown, which is now while a run goes on.
    `value_texts`: text and colour by value. `colours`: by name of a series. Other values have the colour
    of text: without a colour, Grafana draws a number of 80 or more in red.
    """
    panel = (
        stat.Panel()
        .title(title)
        .description(described(about, queries))
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(LOW)
        .graph_mode(BigValueGraphMode.NONE)
        .text_mode(BigValueTextMode.NAME if names else BigValueTextMode.AUTO)
        .orientation(VizOrientation.HORIZONTAL if names else VizOrientation.AUTO)
        .color_scheme(fixed_colour("text"))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("none")
    )
    if value_texts is not None:
        panel = panel.mappings([_mapping(value_texts)])
    for name, colour in (colours or {}).items():
        panel = panel.override_by_name(name, _coloured(colour))
    for _, _, target in _targets(queries):
        panel = panel.with_target(target.instant() if at_the_end else target)
    return panel


def bars(title: str, about: str, unit: str, queries: Sequence[Query], *, width: int = HALF) -> bargauge.Panel:
    """A bar for the value of each series at the end of the time shown."""
    panel = (
        bargauge.Panel()
        .title(title)
        .description(described(about, queries))
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(TALL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .orientation(VizOrientation.HORIZONTAL)
        .sizing(BarGaugeSizing.MANUAL)
        .min_viz_height(BAR_HEIGHT // 2)
        .max_viz_height(BAR_HEIGHT)
        .name_placement(BarGaugeNamePlacement.LEFT)
        .min(0)
        .color_scheme(fixed_colour(BLUE))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("none")
    )
    for _, _, target in _targets(queries):
        panel = panel.with_target(target.instant())
    return panel


def state_timeline(
    title: str,
    about: str,
    queries: Sequence[Query],
    *,
    states: Mapping[str, tuple[str, str]] = ACTIVE,
) -> statetimeline.Panel:
    """A row for each series, coloured by its value. `states`: text and colour by value.

    The colour of a query is that of the value 1.
    """
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(described(about, queries))
        .datasource(SOURCE)
        .span(WIDE)
        .height(TALL)
        .mappings([_mapping(states)])
        .show_value(VisibilityMode.NEVER)
        .align_value(TimelineValueAlignment.LEFT)
        .row_height(0.8)
        .legend(_legend())
    )
    for letter, query, target in _targets(queries):
        panel = panel.with_target(target)
        if query.colour is not None:
            own = {**states, "1": (states["1"][0], query.colour)}
            panel = panel.override_by_query(letter, [DynamicConfigValue("mappings", [_mapping(own)])])
    return panel


def annotation(
    name: str, expr: str, title: str, text: str, colour: str, *, step: str = "1s"
) -> AnnotationQuery:
    """Marks on every panel where the expression is above 0; neighbours in time make one region."""
    return (
        AnnotationQuery()
        .name(name)
        .datasource(SOURCE)
        .enable(True)
        .icon_color(colour)
        .expr(expr)
        .title_format(title)
        .text_format(text)
        .step(step)
    )


def _targets(queries: Sequence[Query]) -> Iterator[tuple[str, Query, prometheus.Dataquery]]:
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        target = prometheus.Dataquery().datasource(SOURCE).ref_id(letter)
        yield letter, query, target.expr(query.expr).legend_format(query.legend).range()


def described(about: str, queries: Sequence[Query]) -> str:
    """What is shown, and of which metrics."""
    metrics = dict.fromkeys(name for query in queries for name in METRIC.findall(query.expr))
    return f"{about} Metrics: {', '.join(metrics)}."


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    )


def _coloured(colour: str) -> list[DynamicConfigValue]:
    value = FieldColor(mode=FieldColorModeId.FIXED, fixed_color=colour)
    return [DynamicConfigValue(id_val="color", value=value)]


def fixed_colour(colour: str) -> FieldColorBuilder:
    """The colour of all series that no override gives one."""
    return FieldColorBuilder().mode(FieldColorModeId.FIXED).fixed_color(colour)


def _mapping(states: Mapping[str, tuple[str, str]]) -> ValueMap:
    """Text and colour by value."""
    results = {
        value: ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(states.items())
    }
    return ValueMap(options=results)
