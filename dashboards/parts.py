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
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
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
WIDE, HALF, THIRD, QUARTER, SIXTH = 24, 12, 8, 6, 4
TALL, LOW = 8, 4
GREEN, BLUE, RED, GREY, ORANGE = "#73BF69", "#3274D9", "#E02F44", "#8E8E8E", "#FF9830"
BLUES = ("#C0D8FF", "#8AB8FF", "#3274D9")
"""Colours of the 50th, 95th and 99th percentile."""
METRIC = re.compile(r"\b(?:instance:\w+:\w+|vllm:\w+|kvchaos_\w+|process_\w+|up|scrape_duration_seconds)\b")
"""Names of metrics in PromQL, and of series that recording rules make."""

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
    value_texts: Mapping[str, str] | None = None,
    width: int = SIXTH,
) -> Panel:
    """The last value in large letters, or with `names` the name of the series that has one.

    `at_the_end`: only what there is at the end of the time shown, which is now while a run goes on.
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
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("none")
    )
    if value_texts is not None:
        panel = panel.mappings([_value_mapping(value_texts)])
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
    """A row for each series, coloured by its value. `states`: text and colour by value."""
    shown = ValueMap(
        options={
            value: ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(states.items())
        },
    )
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(described(about, queries))
        .datasource(SOURCE)
        .span(WIDE)
        .height(TALL)
        .mappings([shown])
        .show_value(VisibilityMode.NEVER)
        .align_value(TimelineValueAlignment.LEFT)
        .row_height(0.8)
        .legend(_legend())
    )
    for _, _, target in _targets(queries):
        panel = panel.with_target(target)
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


def _value_mapping(value_texts: Mapping[str, str]) -> ValueMap:
    results = {
        value: ValueMappingResult(text=text, index=index)
        for index, (value, text) in enumerate(value_texts.items())
    }
    return ValueMap(options=results)
