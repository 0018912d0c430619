"""All faults there are, inside the server and outside, for whoever reads or shows a scenario."""

from __future__ import annotations

from collections.abc import Mapping

from chaos.inside import faults as inside
from chaos.inside.fault_kind import Effect, FaultKind, Parameter
from chaos.outside import faults as outside
from chaos.outside.outside_kind import OutsideKind
from history.protocol.schedule import Value

Kind = FaultKind | OutsideKind

KINDS: dict[str, Kind] = {**inside.KINDS, **outside.KINDS}


def is_outside(kind: str) -> bool:
    return kind in outside.KINDS


def problems(kind: str, params: Mapping[str, Value]) -> list[str]:
    """What is wrong with a fault as it is written; empty when nothing is."""
    known = outside.KINDS.get(kind)
    if known is not None:
        return inside.parameter_problems(kind, known.parameters, params)
    if kind not in inside.KINDS:
        return [f"unknown fault {kind}; known are {', '.join(sorted(KINDS))}"]
    return inside.problems(kind, params)


def longest_s(kind: str, params: Mapping[str, Value]) -> float:
    """For how long a strike can keep all tokens from the clients of a server that lives on, seconds."""
    known = outside.KINDS.get(kind)
    if known is None or known.lethal or not known.silences:
        return 0.0
    return float(params.get("for_s", known.parameters["for_s"].default))


def ends_the_server(kind: str) -> bool:
    """Whether the server's end is what comes of such a fault."""
    known = outside.KINDS.get(kind)
    return known is not None and known.lethal


def effects(kind: str, params: Mapping[str, Value]) -> tuple[Effect, ...]:
    """The findings that a fault with these parameters is declared to bring, on the releases they name."""
    known = KINDS[kind]
    whole = {**defaults(known.parameters), **params}
    if whole.get("dry_run") is True:
        return ()
    direction = whole.get("direction", "both")
    return tuple(
        effect
        for effect in known.declared
        if all(whole[name] in values for name, values in effect.when.items())
        and (effect.direction is None or direction in ("both", effect.direction))
    )


def defaults(parameters: Mapping[str, Parameter]) -> dict[str, Value]:
    return {name: parameter.default for name, parameter in parameters.items()}


def clash(one: str, other: str) -> bool:
    """Whether faults of these kinds cannot live in one phase."""
    if is_outside(one) or is_outside(other):
        return False  # One that finds the other in its way is refused there and then, and says so.
    return inside.group(one) == inside.group(other)
