"""Tables on dashboards: columns of labels and values, and links from a row to another dashboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_uppercase

from grafana_foundation_sdk.builders import prometheus, table
from grafana_foundation_sdk.models.common import (
    TableCellBackgroundDisplayMode,
    TableColoredBackgroundCellOptions,
)
from grafana_foundation_sdk.models.dashboard import (
    DataTransformerConfig,
    DynamicConfigValue,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.parts import SOURCE, TALL, WIDE, Query, described, fixed_colour

Column = str
Overrides = Mapping[Column, Mapping[str, object]]
"""Options of a column by its name, such as its unit or links."""
DATE: Mapping[str, object] = {"unit": "dateTimeAsIso"}
"""Options of a column with milliseconds since the epoch."""


def matrix(
    title: str,
    about: str,
    query: Query,
    *,
    rows: str,
    columns: str,
    states: Mapping[str, tuple[str, str]],
) -> table.Panel:
    """A row and a column for each value of two labels; a cell has the text and the colour of its value."""
    shown = ValueMap(
        options={
            value: ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(states.items())
        },
    )
    grid = DataTransformerConfig(
        id_val="groupingToMatrix",
        options={"rowField": rows, "columnField": columns, "valueField": "Value", "emptyValue": "empty"},
    )
    panel = _table(title, about, [query], {}).with_transformation(grid)
    cells = TableColoredBackgroundCellOptions(mode=TableCellBackgroundDisplayMode.BASIC)
    # Names, and cells without a value, would have the colour of Grafana's default threshold.
    panel = panel.no_value(" ").color_scheme(fixed_colour("transparent"))
    return panel.mappings([shown]).cell_options(cells)


def listing(
    title: str,
    about: str,
    queries: Sequence[Query],
    *,
    columns: Sequence[Column],
    overrides: Overrides,
) -> table.Panel:
    """A row for each set of labels, with these columns in order.

    Each of the two or more queries gives the column of its legend.
    """
    values = {_value_column(index): query.legend for index, query in enumerate(queries)}
    organised = DataTransformerConfig(
        id_val="organize",
        options={
            "excludeByName": {"Time": True},
            "indexByName": {_source(column, values): index for index, column in enumerate(columns)},
            "renameByName": values,
        },
    )
    kept = DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(columns)}})
    panel = _table(title, about, queries, overrides)
    for each in (DataTransformerConfig(id_val="merge", options={}), organised, kept):
        panel = panel.with_transformation(each)
    return panel


def link(title: str, url: str) -> list[dict[str, object]]:
    """The value of the option `links` of a column."""
    return [{"title": title, "url": url}]


def _table(title: str, about: str, queries: Sequence[Query], overrides: Overrides) -> table.Panel:
    panel = (
        table.Panel()
        .title(title)
        .description(described(about, queries))
        .datasource(SOURCE)
        .unit("short")
        .span(WIDE)
        .height(TALL)
        .no_value("none")
    )
    for letter, query in zip(ascii_uppercase, queries, strict=False):
        target = prometheus.Dataquery().datasource(SOURCE).ref_id(letter).expr(query.expr)
        target = target.legend_format(query.legend).instant().format(PromQueryFormat.TABLE)
        panel = panel.with_target(target)
    for column, options in overrides.items():
        values = [DynamicConfigValue(id_val=name, value=value) for name, value in options.items()]
        panel = panel.override_by_name(column, values)
    return panel


def _value_column(index: int) -> str:
    """Name of the values of a query after the transformation `merge`."""
    return f"Value #{ascii_uppercase[index]}"


def _source(column: Column, values: Mapping[str, Column]) -> str:
    return next((source for source, name in values.items() if name == column), column)
