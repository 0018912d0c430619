"""What all dashboards are built of: panels of one look, one data source, annotations, PromQL."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders.dashboard import (
    AnnotationQuery,
    Dashboard,
    DatasourceVariable,
    QueryVariable,
)
from grafana_foundation_sdk.models.common import (
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
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
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
METRIC = re.compile(r"\b(?:vllm:\w+|kvchaos_\w+|process_\w+|up|scrape_duration_seconds)\b")

Panel = timeseries.Panel | stat.Panel | statetimeline.Panel


@dataclass(frozen=True, slots=True)
class Query:
    """One expression of PromQL, the name of its series, and maybe their colour."""

    expr: str
    legend: str
    colour: str | None = None


def board(uid: str, title: str, about: str) -> Dashboard:
    """An empty dashboard with the choice of the data source."""
    source = DatasourceVariable("datasource").label("Data source").type("prometheus")
    return (
        Dashboard(title)
        .uid(uid)
        .description(about)
        .tags(["kvchaos"])
        .readonly()
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .with_variable(source)
    )


def choice(name: str, label: str, query: str) -> QueryVariable:
    """A variable whose values Prometheus knows."""
    return (
        QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_DESC)
    )


def graph(
    title: str,
    about: str,
    unit: str,
    queries: Sequence[Query],
    *,
    width: int = THIRD,
    least: float | None = 0,
) -> Panel:
    """Lines over time. `least` is the lower end of the scale; None: wherever the values are."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(_described(about, queries))
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
        .description(_described(about, queries))
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


def state_timeline(title: str, about: str, queries: Sequence[Query]) -> Panel:
    """A row for each series, filled while its value is 1."""
    shown = ValueMap(
        options={
            "0": ValueMappingResult(text=" ", color="transparent", index=0),
            "1": ValueMappingResult(text="on", color=ORANGE, index=1),
        },
    )
    panel = (
        statetimeline.Panel()
        .title(title)
        .description(_described(about, queries))
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


def annotation(name: str, expr: str, title: str, text: str, colour: str) -> AnnotationQuery:
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
        .step("1s")
    )


def _targets(queries: Sequence[Query]) -> Iterator[tuple[str, Query, prometheus.Dataquery]]:
    for letter, query in zip("ABCDEFGH", queries, strict=False):
        target = prometheus.Dataquery().datasource(SOURCE).ref_id(letter)
        yield letter, query, target.expr(query.expr).legend_format(query.legend).range()


def _described(about: str, queries: Sequence[Query]) -> str:
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


RUN = 'run="$run"'
SERVER = 'job="server"'
OVER = "[$__rate_interval]"
WHOLE = "[$__range]"


def suite(metric: str, labels: str = "") -> str:
    """A metric of the suite's own, or one that both jobs have."""
    return f"{metric}{{{_joined(RUN, labels)}}}"


def server(metric: str, labels: str = "") -> str:
    """A metric that was scraped of the server."""
    return suite(metric, _joined(SERVER, labels))


def total(series: str, by: str = "") -> str:
    """PromQL: the sum of a series, for each value of the label `by` where one is given."""
    return f"sum by ({by}) ({series})" if by else f"sum({series})"


def rate(series: str, by: str = "") -> str:
    """Growth a second, summed."""
    return total(f"rate({series}{OVER})", by)


def percentile(share: float, buckets: str) -> str:
    """PromQL: the quantile `share` (0 to 1) of a histogram, from the rates of its buckets."""
    return f"histogram_quantile({share}, {rate(buckets, 'le')})"


def _joined(*labels: str) -> str:
    return ",".join(label for label in labels if label)
