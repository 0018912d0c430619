"""Workloads: the prompts and parameters of requests, by kind; `build` makes one from a scenario.

A kind is registered by its module, whose `WORKLOADS` has it; other packages bring theirs by the entry point
`kvchaos.workloads`.
"""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from pydantic import ValidationError

from history.protocol import extensions
from history.protocol.extensions import OWN, ForeignCode, refuse_others, register_units
from history.protocol.nearest_name import nearest_name
from history.scenario import WorkloadSpec
from history.strict_model import first_problem
from loadtests.workloads.workload import Prompt, Workload, WorkloadKind

__all__ = ["KINDS", "ORIGINS", "PATH_PARAM", "Prompt", "Workload", "build"]

PATH_PARAM = "path"
"""The parameter that names a file, whatever the kind; a scenario gives it from its own folder."""

KINDS: dict[str, WorkloadKind] = {}
ORIGINS: dict[str, str] = {}
"""The package of each kind, by name."""


def register(kind: WorkloadKind, origin: str) -> None:
    """Add a kind. Raises ValueError when its name is taken."""
    if kind.name in KINDS:
        raise ValueError(f"there are two workloads {kind.name}")
    KINDS[kind.name], ORIGINS[kind.name] = kind, origin


for _module in iter_modules(__path__, f"{__name__}."):
    for _kind in getattr(import_module(_module.name), "WORKLOADS", ()):
        register(_kind, OWN)
register_units(extensions.WORKLOADS, WorkloadKind, register)
refuse_others(extensions.WORKLOADS, WorkloadKind)


def build(spec: WorkloadSpec, name: str, seed: int) -> Workload:
    """The workload a scenario names. Raises ValueError, one line: unknown kind, bad parameters."""
    kind = KINDS.get(spec.kind)
    if kind is None:
        raise ValueError(f"workload {name}: no kind {spec.kind!r}; {nearest_name(spec.kind, sorted(KINDS))}")
    if ORIGINS[spec.kind] == OWN:
        return _build(kind, spec, name, seed)
    with ForeignCode() as code:
        return _build(kind, spec, name, seed)
    raise ValueError(f"workload {name}: {spec.kind} of {ORIGINS[spec.kind]}: {code.error}")


def _build(kind: WorkloadKind, spec: WorkloadSpec, name: str, seed: int) -> Workload:
    try:
        return kind.make(kind.params.model_validate(spec.params), name, seed)
    except ValidationError as error:
        raise ValueError(f"workload {name}: {first_problem(error)}") from error
