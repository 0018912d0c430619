"""The command `kvchaos workloads`: the kinds of workload, with the package of each."""

from __future__ import annotations

import inspect

from pydantic.fields import FieldInfo
from rich.text import Text

from kvchaos.report.text_tables import plain_table, print_table
from loadtests.workloads import KINDS, ORIGINS
from loadtests.workloads.workload import WorkloadKind


def workloads_command() -> None:
    """List the kinds of workload: what each requests, and its parameters with their defaults."""
    table = plain_table("workload", "from", "requests", "parameters")
    for kind in KINDS.values():
        cells = (kind.name, ORIGINS[kind.name], _purpose(kind), _parameters(kind))
        table.add_row(*map(Text, cells))
    print_table(table)


def _purpose(kind: WorkloadKind) -> str:
    """The first paragraph of the documentation of what makes such a workload."""
    first, _, _ = (inspect.getdoc(kind.make) or "").partition("\n\n")
    return " ".join(first.split())


def _parameters(kind: WorkloadKind) -> str:
    return ", ".join(f"{name}{_default(field)}" for name, field in kind.params.model_fields.items())


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return " (required)"
    return "" if field.default is None else f"={field.default}"
