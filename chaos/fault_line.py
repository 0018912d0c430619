"""Faults on one line: `20%delay(50ms..400ms); every 7 offset 3 bitflip; nth 40,41 miss`.

    line  = term { ";" term }
    term  = [ "in" STATE { "," STATE } ] [ when ] [ limit "*" ] kind [ "(" argument { "," argument } ")" ]
    when  = NUMBER "%"  |  "every" N [ "offset" N ]  |  "nth" N { "," N }  |  NUMBER "% of keys"

Without `when` the fault fires at every invocation. `in decode` counts only invocations for a request in that
state. `10*` ends the fault after ten firings. An argument is `name=value`, or for a delay a range such as
`50ms..400ms`.
"""

from __future__ import annotations

import re
from typing import get_args

from chaos.fault_catalogue import KINDS
from history.protocol.nearest_name import nearest_name
from history.protocol.schedule import State
from history.scenario import FaultSpec, Param, Trigger

SHORT = {
    "miss": "lookup_miss",
    "refuse": "store_refused",
    "delay": "copy_delay",
    "fail": "load_failure",
    "bitflip": "bit_flip",
    "zero": "zero_block",
}
"""Short names; the long ones are understood as well."""

_TERM = re.compile(
    r"""
    (?: in \s+ (?P<states>[a-z]+ (?: \s*,\s* [a-z]+)*) \s+ )?
    (?: (?P<percent>\d+(?:\.\d+)?) \s* % \s* (?P<keys>of\s+keys)?
      | every \s+ (?P<every>\d+) (?: \s+ offset \s+ (?P<offset>\d+) )?
      | nth \s+ (?P<nth>\d+ (?: \s*,\s* \d+ )*)
    )? \s*
    (?: (?P<limit>\d+) \s* \* \s* )?
    (?P<kind>[a-z_]+) \s*
    (?: \( (?P<arguments>[^()]*) \) )?
    """,
    re.VERBOSE,
)
_RANGE = re.compile(r"(?P<low>\d+)\s*ms\s*\.\.\s*(?P<high>\d+)\s*ms")


def parse_line(line: str) -> list[FaultSpec]:
    """The faults of a line; their ids are the kind and the position in the line. Raises ValueError."""
    terms = [term.strip() for term in line.split(";")]
    return [_parse_term(term, position) for position, term in enumerate(terms, start=1)]


def _parse_term(term: str, position: int) -> FaultSpec:
    match = _TERM.fullmatch(term)
    if match is None:
        raise ValueError(f"{term!r} is not a fault; write for example: 20%delay(50ms..400ms)")
    kind = SHORT.get(match["kind"], match["kind"])
    if kind not in KINDS:
        nearest = nearest_name(match["kind"], sorted({*SHORT, *KINDS}))
        raise ValueError(f"{term!r}: unknown fault {match['kind']}; {nearest}")
    return FaultSpec(
        id=f"{kind.replace('_', '-')}-{position}",
        kind=kind,
        trigger=_trigger(match, term),
        params=_arguments(match["arguments"] or "", term),
    )


def _trigger(match: re.Match[str], term: str) -> Trigger:
    limit = int(match["limit"]) if match["limit"] else None
    share = float(match["percent"]) / 100 if match["percent"] else None
    states = _states(match["states"], term)
    if match["keys"]:
        return Trigger(key_share=share, limit=limit, states=states)
    if share is not None:
        return Trigger(probability=share, limit=limit, states=states)
    if match["nth"]:
        nth = tuple(int(n) for n in match["nth"].split(","))
        return Trigger(nth=nth, limit=limit, states=states)
    every, offset = int(match["every"] or 1), int(match["offset"] or 0)
    return Trigger(every=every, offset=offset, limit=limit, states=states)


def _states(text: str | None, term: str) -> tuple[State, ...] | None:
    if text is None:
        return None
    known: dict[str, State] = {state: state for state in get_args(State)}
    found = []
    for state in re.split(r"\s*,\s*", text):
        if state not in known:
            raise ValueError(f"{term!r}: unknown state {state}; {nearest_name(state, known)}")
        found.append(known[state])
    return tuple(found)


def _arguments(text: str, term: str) -> dict[str, Param]:
    found: dict[str, Param] = {}
    for argument in filter(None, (part.strip() for part in text.split(","))):
        span = _RANGE.fullmatch(argument)
        if span is not None:
            found |= {"min_ms": int(span["low"]), "max_ms": int(span["high"])}
            continue
        name, equals, value = argument.partition("=")
        if not equals:
            raise ValueError(f"{term!r}: {argument!r} is not an argument; write name=value or 50ms..400ms")
        found[name.strip()] = _value(value.strip())
    return found


def _value(text: str) -> Param:
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        return text
