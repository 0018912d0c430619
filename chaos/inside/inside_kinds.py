"""All kinds of fault inside the server, the checks of their parameters, and what vLLM lacks.

A kind is registered by its module in `chaos.inside.faults`, whose `FAULTS` has it; other packages bring
theirs by the entry point `kvchaos.faults`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules

from chaos.inside import faults
from chaos.inside.fault_kind import FaultKind, Parameter
from chaos.inside.injection_points import CONTENT, COPY, COPY_RESULT, MANAGER_CALL, SITES
from history.protocol import extensions
from history.protocol.evidence import FIRINGS
from history.protocol.extensions import OWN, ForeignCode, register_units
from history.protocol.nearest_name import nearest_name
from history.protocol.schedule import Value

KINDS: dict[str, FaultKind] = {}
"""Kinds by name: all faults of the first module, then of the next, in the order in which they are applied."""
ORIGINS: dict[str, str] = {}
"""The package of each kind, by name."""
NEEDED = {
    COPY: ("direction",),
    COPY_RESULT: ("direction",),
    CONTENT: ("direction",),
    MANAGER_CALL: ("hook",),
}
"""The parameters by which a site chooses the invocations of a fault."""


def register(kind: FaultKind, origin: str) -> None:
    """Add a kind. Raises ValueError when its name is taken, or it does not fit its injection point."""
    if kind.name in KINDS:
        raise ValueError(f"there are two faults {kind.name}")
    if kind.site not in SITES:
        raise ValueError(f"fault {kind.name}: no injection point {kind.site}; there are {', '.join(SITES)}")
    for name in ("dry_run", *NEEDED.get(kind.site, ())):
        if name not in kind.parameters:
            raise ValueError(f"fault {kind.name}: at {kind.site} it needs the parameter {name}")
    KINDS[kind.name], ORIGINS[kind.name] = kind, origin
    FIRINGS[kind.name] = kind.firing


for _module in iter_modules(faults.__path__, f"{faults.__name__}."):
    for _kind in import_module(_module.name).FAULTS:
        register(_kind, OWN)
register_units(extensions.FAULTS, FaultKind, register)


def problems(kind: str, params: Mapping[str, Value]) -> list[str]:
    """What is wrong with a fault as it is written; empty when nothing is."""
    known = KINDS.get(kind)
    if known is None:
        return [f"unknown fault {kind}; {nearest_name(kind, sorted(KINDS))}"]
    found = parameter_problems(kind, known.parameters, params)
    whole = {**defaults(kind), **params}
    if {"min_ms", "max_ms"} <= whole.keys() and not found and float(whole["min_ms"]) > float(whole["max_ms"]):
        found.append(f"{kind}: min_ms is above max_ms")
    if not found and (conflict := _conflict(known, whole)) is not None:
        found.append(f"{kind}: {conflict}")
    return found


def _conflict(kind: FaultKind, params: Mapping[str, Value]) -> str | None:
    """What is wrong with these parameters together."""
    if ORIGINS[kind.name] == OWN:
        return kind.conflict(params)
    with ForeignCode() as code:
        return kind.conflict(params)
    return f"the check of its parameters by {ORIGINS[kind.name]} raised {code.error}"


def parameter_problems(
    kind: str, parameters: Mapping[str, Parameter], given: Mapping[str, Value]
) -> list[str]:
    """What is wrong with each parameter by itself."""
    found = []
    for name, value in given.items():
        parameter = parameters.get(name)
        if parameter is None:
            found.append(f"{kind} has no parameter {name}; {nearest_name(name, parameters)}")
        elif problem := parameter.problem(value):
            found.append(f"{kind}: {name} {problem}")
    return found


def group(kind: str) -> str:
    """Faults of one group cannot live in one phase."""
    return KINDS[kind].excludes or kind


def defaults(kind: str) -> dict[str, Value]:
    """The parameters of a kind with their defaults."""
    return {name: parameter.default for name, parameter in KINDS[kind].parameters.items()}


def unsupported_kinds() -> dict[str, str]:
    """Kinds of fault that can never fire here, each with the reason."""
    connector = import_module("vllm.distributed.kv_transfer.kv_connector.v1").KVConnectorBase_V1
    return {
        kind.name: f"{kind.name} answers {kind.call}, which vLLM calls {kind.releases} and not here"
        for kind in KINDS.values()
        if kind.call and not hasattr(connector, kind.call)
    }
