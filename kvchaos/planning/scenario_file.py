"""Scenario files: read strictly, with one clear line for whatever is wrong, and the order of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import msgspec
from pydantic import ValidationError

from chaos import fault_catalogue
from chaos.fault_line import parse_line
from history.expected_findings import Expectation
from history.jsonl import one_line
from history.phase_spec import Recorded
from history.renamed_keys import renamed_in
from history.scenario import Scenario, ServerSettings, StackName
from history.stack_capabilities import CAPABILITIES
from history.strict_model import first_problem, read_model
from history.strict_yaml import BadYaml, Value
from kvchaos.bugs.bug_catalogue import KnownBug, certain_somewhere, expected_somewhere, range_problem
from kvchaos.errors import UsageError
from kvchaos.paths import beside_packages
from kvchaos.stacks.server_command import check_settings
from loadtests import workloads
from loadtests.workloads import PATH_PARAM, Workload
from loadtests.workloads.shared_prefix_mixes import ParameterMix
from loadtests.workloads.workload import TimedWorkload
from oracles import ORACLES, all_rules
from oracles.findings import oracle_of

FOLDER = "scenarios"
TRIAL = "trial"
"""Scenarios whose result a busy machine can change: they run by their path only."""
CALIBRATION = "calibration"
"""Scenarios that measure how far equal answers differ."""
BENCH = "bench"
"""Scenarios that measure speed."""
OWN_COMMAND = (CALIBRATION, BENCH)
"""Folders whose scenarios have a command of their own."""


class BadSchedule(Exception):
    """A one-line schedule that cannot be read."""


class RenamedKeyUsed(Exception):
    """A scenario has a key by its old name; the message names the new one."""


def scenario_files() -> list[Path]:
    """The scenario files that come with the software, by name; without trials and those of OWN_COMMAND."""
    files = beside_packages(FOLDER).rglob("*.yaml")
    return sorted(path for path in files if path.parent.name not in (TRIAL, *OWN_COMMAND))


def find_scenario(wanted: str) -> Path:
    """The file of a scenario, given as a path or by name. Raises UsageError."""
    if wanted.endswith((".yaml", ".yml")):
        return Path(wanted)
    known = {path.stem: path for path in scenario_files()}
    if wanted not in known:
        raise UsageError(f"no scenario named {wanted}; there are {', '.join(known)}; or give a .yaml file")
    return known[wanted]


def load_scenario(path: Path) -> Scenario:
    """Read and check a scenario. Raises UsageError with file, location and problem."""
    try:
        scenario = read_model(path, _parse)
    except BadSchedule as error:
        raise UsageError(f"{path}: faults: {one_line(error)}") from error
    except BadYaml as error:
        raise UsageError(str(error)) from error
    except RenamedKeyUsed as error:
        raise UsageError(f"{path}: {error}") from error
    scenario = _with_whole_paths(scenario, path.parent)
    for problem in _problems(scenario):
        raise UsageError(f"{path}: {one_line(problem)}")
    return scenario


def check_fit(scenario: Scenario) -> None:
    """Raises UsageError when the workloads do not fit the server's settings."""
    for name, spec in scenario.workloads.items():
        for problem in _too_long(scenario, name, workloads.build(spec, name, seed=0)):
            raise UsageError(f"scenario {scenario.name}: {problem}")


def check_stack(scenario: Scenario, stack: StackName) -> None:
    """Raises UsageError when the scenario asks what is known of another stack's model only."""
    if CAPABILITIES[stack].tiny_model:
        return
    for name, spec in scenario.workloads.items():
        workload = workloads.build(spec, name, seed=0)
        if isinstance(workload, ParameterMix) and workload.chats:
            raise UsageError(
                f"scenario {scenario.name}: workloads.{name}: chat_share needs the tiny model, whose chat "
                f"template is known; the server of --stack {stack} may have another: leave it out"
            )


def _parse(content: Value) -> Scenario:
    expanded = _expand(content)
    if (message := renamed_in(expanded)) is not None:
        raise RenamedKeyUsed(message)
    # By way of JSON, since strict validation of Python objects wants tuples and YAML has none.
    return Scenario.model_validate_json(msgspec.json.encode(expanded))


def rechecked(content: Mapping[str, object]) -> Scenario:
    """A scenario that was changed after it was read, as JSON has it. Raises UsageError."""
    try:
        scenario = Scenario.model_validate_json(msgspec.json.encode(content))
    except ValidationError as error:
        raise UsageError(f"{content.get('name')}: {first_problem(error)}") from error
    for problem in _problems(scenario):
        raise UsageError(f"{scenario.name}: {problem}")
    return scenario


def _with_whole_paths(scenario: Scenario, folder: Path) -> Scenario:
    """The files that workloads name, as they are found from anywhere."""
    whole = {}
    for name, spec in scenario.workloads.items():
        given, params = spec.params.get(PATH_PARAM), spec.params
        if isinstance(given, str):
            params = {**params, PATH_PARAM: str((folder / given).resolve())}
        whole[name] = spec.model_copy(update={"params": params})
    return scenario.model_copy(update={"workloads": whole})


def _expand(content: Value) -> Value:
    """Turn `faults` written as one line into the long form."""
    faults = content.get("faults") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(faults, str):
        return content
    try:
        specs = parse_line(faults)
    except ValidationError as error:
        raise BadSchedule(first_problem(error)) from error
    except ValueError as error:
        raise BadSchedule(str(error)) from error
    return {**content, "faults": [spec.model_dump(mode="json", exclude_none=True) for spec in specs]}


def _conflicts(scenario: Scenario) -> Iterator[str]:
    """Faults of one phase that would fight over the same arrivals, and triggers with nothing to count."""
    known = [fault for fault in scenario.faults if fault.kind in fault_catalogue.KINDS]
    for fault in known:
        kind = fault_catalogue.KINDS[fault.kind]
        if fault.trigger.key_share is not None and not kind.keyed:
            yield f"faults.{fault.id}: {fault.kind} has no block keys; key_share does not go with it"
        if fault.trigger.states is not None and not kind.of_request:
            yield f"faults.{fault.id}: {fault.kind} concerns several requests; states do not go with it"
    for one, other in combinations(known, 2):
        if fault_catalogue.clash(one.kind, other.kind) and scenario.phase_of(one) == scenario.phase_of(other):
            yield f"faults.{one.id} and faults.{other.id} strike the same arrivals; part them by phase"


def _fault_problems(scenario: Scenario) -> Iterator[str]:
    settings, stall_s = scenario.server, scenario.limits.stall_s
    for fault in scenario.faults:
        wrong = fault_catalogue.problems(fault.kind, fault.params)
        yield from (f"faults.{fault.id}: {problem}" for problem in wrong)
        if not (fault_catalogue.is_outside(fault.kind) or (settings.offload and settings.chaos)):
            yield f"faults.{fault.id}: {fault.kind} needs a server with offload and chaos on"
        if not wrong and fault_catalogue.longest_s(fault.kind, fault.params) >= stall_s:
            yield f"faults.{fault.id}: duration_s must be below limits.stall_s ({stall_s:g})"


def _problems(scenario: Scenario) -> list[str]:
    """What only the other rooms know to be wrong."""
    found: list[str] = []
    try:
        check_settings(scenario.server)
    except UsageError as error:
        found.append(str(error))
    for name, spec in scenario.workloads.items():
        try:
            workload = workloads.build(spec, name, seed=0)
        except ValueError as error:
            found.append(f"workloads.{name}: {error}")
            continue
        found += _too_long(scenario, name, workload)
        found += _phase_problems(scenario, name, workload)
    found += _fault_problems(scenario)
    found += _conflicts(scenario)
    for entry in scenario.expect or ():
        found += _expectation_problems(entry)
    return found


def _too_long(scenario: Scenario, name: str, workload: Workload) -> Iterator[str]:
    if workload.longest > scenario.server.max_model_len:
        yield (
            f"workloads.{name}: a request takes up to {workload.longest} tokens, "
            f"server.max_model_len is {scenario.server.max_model_len}"
        )


def _phase_problems(scenario: Scenario, name: str, workload: Workload) -> Iterator[str]:
    """Phases that ask of their workload what it does not have."""
    length = workload.chain_length
    for phase in scenario.phases:
        if phase.workload != name:
            continue
        if phase.requests % length or phase.first % length:
            yield (
                f"phases.{phase.name}: a conversation of {name} is {length} requests; "
                "requests and first must be multiples of it"
            )
        if isinstance(workload, TimedWorkload) and phase.first + phase.requests > len(workload):
            yield f"phases.{phase.name}: {name} ends after {len(workload)} requests"
        if isinstance(phase.arrivals, Recorded) and not isinstance(workload, TimedWorkload):
            yield f"phases.{phase.name}: arrivals of kind trace need a workload of kind trace"


def _expectation_problems(entry: Expectation) -> list[str]:
    oracles, rules = {oracle.name for oracle in ORACLES}, {rule.id for rule in all_rules()}
    found: list[str] = []
    for name in (*entry.fail, *entry.collateral):
        if "/" in name and name not in rules:
            found.append(f"expect: no rule named {name}; see: kvchaos oracles --rules")
        elif "/" not in name and name not in oracles:
            found.append(f"expect: no oracle named {name}; there are {', '.join(sorted(oracles))}")
    if wrong := range_problem(entry.releases):
        found.append(f"expect: releases {wrong}")
    return found


FIRST = ("baseline-offload", "corruption-canary")
"""That nothing breaks by itself, and that the judges see what is broken."""

UNCLEAN = frozenset({"server-alive", "progress", "drained", "resources", "transfer-invariants"})
"""Oracles whose failure says that the server is no more, or is not what it was."""


def order_scenarios(scenarios: Sequence[Scenario], bugs: Sequence[KnownBug]) -> list[Scenario]:
    """Grouped by server settings, the groups in the order of their first names, but with FIRST before all."""

    def within(scenario: Scenario) -> tuple[int, bool, bool, bool]:
        """Who needs a fresh server goes first. Who may leave none that another run can use goes last."""
        red = bool(expected_somewhere(scenario, bugs) or _declared(scenario))
        unclean = _may_leave_it_unclean(scenario, bugs)
        return _rank(scenario), scenario.fresh is None, unclean, red

    groups: dict[ServerSettings, list[Scenario]] = {}
    for scenario in sorted(scenarios, key=lambda scenario: (_rank(scenario), scenario.name)):
        groups.setdefault(scenario.server, []).append(scenario)
    return [scenario for group in groups.values() for scenario in sorted(group, key=within)]


def _rank(scenario: Scenario) -> int:
    return FIRST.index(scenario.name) if scenario.name in FIRST else len(FIRST)


def _may_leave_it_unclean(scenario: Scenario, bugs: Sequence[KnownBug]) -> bool:
    """Whether the server ends, or is expected to, or to hold something for good, on whatever release."""
    if any(
        fault_catalogue.outlives_reset(fault.kind) or fault_catalogue.ends_the_server(fault.kind)
        for fault in scenario.faults
    ):
        return True
    if not UNCLEAN.isdisjoint(_declared(scenario)):
        return True
    return not UNCLEAN.isdisjoint(map(oracle_of, certain_somewhere(scenario, bugs)))


def _declared(scenario: Scenario) -> set[str]:
    """The oracles that fail by what its faults are declared to bring."""
    declared = (
        effect for fault in scenario.faults for effect in fault_catalogue.effects(fault.kind, fault.params)
    )
    return {oracle_of(rule) for effect in declared for rule in effect.rules}
