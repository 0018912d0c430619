"""Mutants of scenario files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

import yaml

from chaos.control_plane import ControlPlane
from chaos.inside.control import parse_schedule, schedule_text
from history.reader import read_plan
from history.scenario import Scenario
from history.strict_yaml import dump_yaml, load_yaml
from kvchaos.conductor.fault_controller import inside_of
from kvchaos.errors import UsageError
from kvchaos.planning.run_plan import swarm, write_plan
from kvchaos.planning.scenario_file import check_stack, find_scenario, load_scenario, scenario_files
from tests.fuzz.kind import ACCEPTED, Kind
from tests.fuzz.mutate import damage_tree, damaged_bytes, damaged_lines
from tests.support.synthetic_records import make_plan

FILE = "mutant.yaml"
SEED = 7
NASTY = (
    *("summary: &a [*a]\n", "a: &a [b]\n", "b: *a\n", "<<: {name: x}\n", "summary: !!binary x\n"),
    *("[" * 5000 + "\n", "- " * 500 + "x\n", "---\n", "...\n", "%TAG ! x\n", "? [a]\n: b\n", "\t x: y\n"),
    *("seed: " + "9" * 5000 + "\n", "name: 1:30:30\n", "limits: {stall_s: .inf}\n", "? " * 200 + "\n"),
    *("summary: " + "x" * 200_000 + "\n", "summary: |\n  a\n", "faults: '" + "miss;" * 2000 + "'\n"),
)


def take_in(folder: Path) -> Scenario:
    """Read a scenario like `kvchaos run`: read, checked, planned, written, armed.

    An accepted one must be read back from the files of its run.
    """
    scenario = load_scenario(folder / FILE)
    for stack in scenario.stacks:
        check_stack(scenario, stack)
    run_dir = folder / "run"
    run_dir.mkdir()
    plan = make_plan().model_copy(update={"scenario": swarm(scenario, SEED)})
    write_plan(plan, run_dir)
    assert read_plan(run_dir) == plan
    control = ControlPlane(run_dir / "control")
    for phase in scenario.chaos_phases():
        armed = inside_of(scenario.faults_in(phase))
        control.arm(SEED, armed)
        assert [fault.id for fault in parse_schedule(schedule_text(control.path)).faults] == [
            fault.id for fault in armed
        ]
    return scenario


def _read(folder: Path) -> str:
    take_in(folder)
    return ACCEPTED


@cache
def _texts() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in scenario_files())


def _link_traces(folder: Path) -> None:
    (folder / "traces").symlink_to(scenario_files()[0].parents[0].resolve() / "traces")


def _make_scenario(chance: Random, folder: Path) -> None:
    _link_traces(folder)
    text = chance.choice(_texts())
    for _ in range(chance.choice((1, 1, 1, 2, 5))):
        match chance.choice(("bytes", "lines", "tree", "tree", "tree", "nasty")):
            case "bytes":
                text = damaged_bytes(text, chance)
            case "lines":
                text = damaged_lines(text, chance)
            case "nasty":
                lines = text.splitlines(keepends=True)
                lines.insert(chance.randrange(len(lines) + 1), chance.choice(NASTY).encode())
                text = b"".join(lines)
            case _:
                text = _damaged_values(text, chance)
    (folder / FILE).write_bytes(text)


def _damaged_values(text: bytes, chance: Random) -> bytes:
    try:
        # PyYAML is used here since a mutant may hold what our loader refuses; it holds no alias to itself.
        tree = None if b"&" in text else yaml.load(text, yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, TypeError):
        return text
    damage_tree(tree, chance)
    try:
        return dump_yaml(tree).encode("utf-8", errors="replace")
    except RecursionError:  # Of the nesting that another damage brought.
        return text


@cache
def base(name: str) -> dict[str, object]:
    """A scenario of ours as data."""
    content = load_yaml(find_scenario(name))
    assert isinstance(content, dict)
    return {**content}


SCENARIOS = Kind("scenarios", _make_scenario, _read, (UsageError,))
