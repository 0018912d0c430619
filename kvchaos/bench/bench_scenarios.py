"""Scenarios for measuring: all phases before one as they are written, then that phase at the requested load.

What goes before stays, since it warms the server and gives the answers others are compared with. The two
sides of a comparison differ in the server, or in its settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from history.phase_spec import Closed, PhaseSpec, Poisson
from history.renamed_keys import RENAMED_SETTINGS
from history.scenario import ClientBounds, FaultSpec, Param, Scenario, ServerSettings
from history.strict_yaml import BadYaml, parse_yaml
from kvchaos.errors import UsageError
from kvchaos.planning.scenario_file import rechecked
from loadtests import workloads

CLIENT_MS = 50.0
"""Bound on the client's own delays where the scenario has none: latency is measured."""
IN_FLIGHT = 256
"""The most at once in an open loop: what waits is to wait on the server."""
Settings = dict[str, Param | list[Param]]


@dataclass(frozen=True, slots=True)
class BenchScenario:
    """The scenario that a measurement is made of."""

    scenario: Scenario
    """Up to the measured phase, which is its last."""
    chain: int
    """Requests of a conversation of that phase."""

    @property
    def phase(self) -> PhaseSpec:
        """The phase that is measured: the last one."""
        return self.scenario.phases[-1]


def bench_scenario(
    scenario: Scenario, wanted: str | None, client_ms: float = CLIENT_MS, *, with_faults: bool = False
) -> BenchScenario:
    """`wanted` names the phase; without it, it is the last one of the role load. Raises UsageError.

    With faults it is the last one of the role chaos. `client_ms` bounds the client's delays where the
    scenario does not.
    """
    if scenario.faults and not with_faults:
        raise UsageError(
            f"{scenario.name}: has faults, which would slow the server down; choose one without faults, "
            "or compare with --b faults=on"
        )
    if with_faults and not scenario.faults:
        raise UsageError(f"{scenario.name}: has no faults; choose one that has, or leave out faults=on")
    role = "chaos" if with_faults else "load"
    named = [
        index
        for index, phase in enumerate(scenario.phases)
        if (phase.name == wanted if wanted else phase.role == role)
    ]
    if not named:
        known = ", ".join(phase.name for phase in scenario.phases)
        raise UsageError(f"{scenario.name}: no phase {wanted or f'of the role {role}'}; there are {known}")
    phases = scenario.phases[: named[-1] + 1]
    used = {phase.workload for phase in phases}
    named_phases = {None, *(phase.name for phase in phases)}
    changes = {
        "server": _measured_server(scenario.server, scenario.faults),
        "phases": phases,
        "faults": tuple(fault for fault in scenario.faults if fault.phase in named_phases),
        "workloads": {name: spec for name, spec in scenario.workloads.items() if name in used},
        "limits": scenario.limits.model_copy(update={"client": _strict(scenario.limits.client, client_ms)}),
        "performance": {},
        # What proves a purpose is nothing to measured speed.
        "requires": (),
    }
    name = phases[-1].workload
    chain = workloads.build(scenario.workloads[name], name, seed=0).chain_length
    return BenchScenario(_changed(scenario, changes), chain)


def without_diagnostics(server: ServerSettings) -> ServerSettings:
    """The scenario without the chaos module, unless it does the loads, and without audit mode."""
    return server.model_copy(update={"chaos": server.offload and server.sync_loads, "audit": False})


def _measured_server(server: ServerSettings, faults: Sequence[FaultSpec]) -> ServerSettings:
    """Without what costs time, unless faults need it."""
    return server.model_copy(update={"audit": False}) if faults else without_diagnostics(server)


def with_settings(base: BenchScenario, side: Side) -> BenchScenario:
    """The same with the settings and the faults of a side. Raises UsageError."""
    given: Settings = {**base.scenario.server.model_dump(mode="json"), **side.settings}
    if given["offload"] is False:
        # There is nothing to load then, whenever.
        given |= {"sync_loads": False, "chaos": False}
    kept = base.scenario.faults if side.faults else ()
    content = base.scenario.model_copy(update={"faults": kept}).model_dump(mode="json")
    scenario = rechecked({**content, "server": given})
    server = _measured_server(scenario.server, scenario.faults)
    return BenchScenario(_changed(scenario, {"server": server}), base.chain)


def closed_loop(base: BenchScenario) -> BenchScenario:
    """The phase in a closed loop, whatever its arrivals were."""
    return _measuring(base, [base.phase.model_copy(update={"arrivals": Closed()})])


def at_rates(
    base: BenchScenario, rates: Sequence[float], seconds: float, in_flight: int = IN_FLIGHT
) -> BenchScenario:
    """One phase a rate, each of so many seconds of independent arrivals and of requests of its own.

    Raises UsageError.
    """
    phases: list[PhaseSpec] = []
    first = base.phase.first
    for number, rate in enumerate(rates, start=1):
        requests = math.ceil(rate * seconds) * base.chain
        changes = {
            "name": f"rate-{number}",
            "requests": requests,
            "first": first,
            "concurrency": in_flight,
            "arrivals": Poisson(kind="poisson", rate=rate),
        }
        phases.append(base.phase.model_copy(update=changes))
        first += requests
    return _measuring(base, phases)


def _measuring(base: BenchScenario, phases: Sequence[PhaseSpec]) -> BenchScenario:
    before = base.scenario.phases[:-1]
    faults = tuple(_faults_in(base, phases))
    changes: dict[str, object] = {"phases": (*before, *phases), "faults": faults}
    return BenchScenario(_changed(base.scenario, changes), base.chain)


def _faults_in(base: BenchScenario, phases: Sequence[PhaseSpec]) -> Iterator[FaultSpec]:
    """Faults of the measured phase live in each phase that replaces it."""
    for fault in base.scenario.faults:
        if fault.phase not in (None, base.phase.name):
            yield fault
            continue
        for phase in phases:
            yield fault.model_copy(update={"id": f"{fault.id}-{phase.name}", "phase": phase.name})


def _changed(scenario: Scenario, changes: dict[str, object]) -> Scenario:
    return rechecked(scenario.model_copy(update=changes).model_dump(mode="json"))


def _strict(bounds: ClientBounds, client_ms: float) -> ClientBounds:
    given = {
        name: getattr(bounds, name) or client_ms
        for name in ("event_loop_lag_ms", "schedule_lag_median_ms", "schedule_lag_ms")
    }
    return bounds.model_copy(update=given)


SERVER, URL, FAULTS = "server", "url", "faults"
KNOWN_NAMES = (SERVER, URL, FAULTS, *ServerSettings.model_fields)


@dataclass(frozen=True, slots=True)
class Side:
    """What differs on this side."""

    server: str | None
    """Name of its environment; None: the one that both have."""
    url: str | None
    """Where it is, if it is there already."""
    settings: Settings
    label: str
    faults: bool = False
    """Whether the faults of the scenario live."""


def side_of(assignments: Sequence[str]) -> Side:
    """Parse `name=value` arguments. Raises UsageError."""
    settings: Settings = {}
    servers: dict[str, str] = {}
    faults: bool | None = None
    for assignment in assignments:
        name, found, text = assignment.partition("=")
        if name in RENAMED_SETTINGS:
            raise UsageError(f"{assignment!r}: {name} is named {RENAMED_SETTINGS[name]} now")
        if not found or name not in KNOWN_NAMES:
            raise UsageError(f"{assignment!r}: write name=value, with a name of {', '.join(KNOWN_NAMES)}")
        if name in settings or name in servers or (name == FAULTS and faults is not None):
            raise UsageError(f"{assignment!r}: {name} was given before")
        if name in (SERVER, URL):
            servers[name] = text
        elif name == FAULTS:
            faults = _switch(assignment, text)
        else:
            settings[name] = _value(assignment, text)
    if URL in servers and (settings or SERVER in servers):
        raise UsageError(
            f"{' '.join(assignments)!r}: the settings of a running server are fixed; give its url alone"
        )
    return Side(servers.get(SERVER), servers.get(URL), settings, " ".join(assignments), faults is True)


def _switch(assignment: str, text: str) -> bool:
    value = _value(assignment, text)
    if not isinstance(value, bool):
        raise UsageError(f"{assignment!r}: write {FAULTS}=on or {FAULTS}=off")
    return value


def _value(assignment: str, text: str) -> bool | int | float | str | list[bool | int | float | str]:
    """As YAML has it, as in a scenario file: `off`, `40`, `[--flag, "1"]`."""
    try:
        value = parse_yaml(text, "value")
    except BadYaml as error:
        raise UsageError(f"{assignment!r}: is no value: {error}") from error
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        items = [one for one in value if isinstance(one, bool | int | float | str)]
        if len(items) == len(value):
            return items
    raise UsageError(f"{assignment!r}: is no value; write a number, a word, or a list of them")
