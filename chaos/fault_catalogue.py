"""The catalogue of all kinds of fault, inside the server and outside."""

from __future__ import annotations

from collections.abc import Mapping

from chaos.inside import inside_kinds as inside
from chaos.inside.fault_kind import Effect, FaultKind, Parameter
from chaos.outside import outside_kinds as outside
from chaos.outside.injector import OutsideKind
from history.protocol.extensions import FAULTS, broken, refuse_others
from history.protocol.nearest_name import nearest_name
from history.protocol.schedule import Value

Kind = FaultKind | OutsideKind

KINDS: dict[str, Kind] = {**inside.KINDS, **outside.KINDS}
ORIGINS: dict[str, str] = {**inside.ORIGINS, **outside.ORIGINS}
"""The package of each kind, by name."""
refuse_others(FAULTS, FaultKind, OutsideKind)
broken += [f"there are two faults {name}" for name in sorted(inside.KINDS.keys() & outside.KINDS.keys())]


def is_outside(kind: str) -> bool:
    """Whether faults of this kind are applied from outside the server."""
    return kind in outside.KINDS


def problems(kind: str, params: Mapping[str, Value]) -> list[str]:
    """What is wrong with a fault as it is written; empty when nothing is."""
    known = outside.KINDS.get(kind)
    if known is not None:
        return inside.parameter_problems(kind, known.parameters, params)
    if kind not in inside.KINDS:
        return [f"unknown fault {kind}; {nearest_name(kind, sorted(KINDS))}"]
    return inside.problems(kind, params)


def longest_s(kind: str, params: Mapping[str, Value]) -> float:
    """How long one injection can keep all tokens from the clients of a server that survives it, seconds."""
    known = outside.KINDS.get(kind)
    if known is None or known.lethal or not known.silences:
        return 0.0
    return float(params.get("duration_s", known.parameters["duration_s"].default))


def ends_the_server(kind: str) -> bool:
    """Whether such a fault ends the server."""
    known = outside.KINDS.get(kind)
    return known is not None and known.lethal


def effects(kind: str, params: Mapping[str, Value]) -> tuple[Effect, ...]:
    """The declared findings of a fault with these parameters, on the releases they name."""
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


def outlives_reset(kind: str) -> bool:
    """Whether the damage of such a fault can reach requests after a reset of all caches."""
    known = inside.KINDS.get(kind)
    return known is not None and known.outlives_reset


def defaults(parameters: Mapping[str, Parameter]) -> dict[str, Value]:
    """The default value of each parameter, None where it must be given."""
    return {name: parameter.default for name, parameter in parameters.items()}


def clash(one: str, other: str) -> bool:
    """Whether faults of these kinds cannot be armed in one phase."""
    if is_outside(one) or is_outside(other):
        return False  # An injection that conflicts with an active one is refused, and journaled as such.
    return inside.group(one) == inside.group(other)
