"""The table of all kinds of fault inside the server, the checks of their parameters, and what vLLM lacks."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from chaos.inside.fault_kind import FaultKind, Parameter
from chaos.inside.scheduler_kinds import SCHEDULER_KINDS
from chaos.inside.worker_kinds import CONTENT_KINDS, COPY_KINDS
from history.protocol.schedule import Value

KINDS: dict[str, FaultKind] = {kind.name: kind for kind in (*SCHEDULER_KINDS, *COPY_KINDS, *CONTENT_KINDS)}


def problems(kind: str, params: Mapping[str, Value]) -> list[str]:
    """What is wrong with a fault as it is written; empty when nothing is."""
    known = KINDS.get(kind)
    if known is None:
        return [f"unknown fault {kind}; known are {', '.join(sorted(KINDS))}"]
    found = parameter_problems(kind, known.parameters, params)
    whole = {**defaults(kind), **params}
    if "min_ms" in whole and not found and float(whole["min_ms"]) > float(whole["max_ms"]):
        found.append(f"{kind}: min_ms is above max_ms")
    if kind == "bit_flip" and not found and int(whole["bit"]) >= 8 * int(whole["word_bytes"]):
        found.append("bit_flip: bit lies outside a number of word_bytes")
    return found


def parameter_problems(
    kind: str, parameters: Mapping[str, Parameter], given: Mapping[str, Value]
) -> list[str]:
    """What is wrong with each parameter by itself."""
    found = []
    for name, value in given.items():
        parameter = parameters.get(name)
        if parameter is None:
            found.append(f"{kind} has no parameter {name}; it has {', '.join(parameters)}")
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
