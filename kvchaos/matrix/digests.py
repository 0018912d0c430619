"""Two digests of a cell: of what made it, and of what judged it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
from packaging.version import Version

from history.scenario import Scenario
from kvchaos.bugs.bug_catalogue import KnownBug, declared_bugs, expectation_for
from kvchaos.paths import beside_packages
from kvchaos.planning.run_plan import declared_effects
from kvchaos.servers.releases import find_release
from loadtests.workloads import PATH_PARAM

MAKING = (
    "chaos",
    "history/protocol",
    "kvchaos/campaign",
    "kvchaos/conductor",
    "kvchaos/planning/run_plan.py",
    "kvchaos/servers/install_server.py",
    "kvchaos/servers/served_model.py",
    "kvchaos/servers/tiny_model.py",
    "kvchaos/stacks",
    "loadtests",
)
"""Code that shapes what a run does: plug-in, load generator, stack, conductor, model."""
WITHOUT = ("kvchaos/stacks/compose", "loadtests/locustfile.py", "loadtests/mock", "loadtests/page")
"""Parts of MAKING that a run on the local stack does not use."""
JUDGING = (
    "chaos/fault_catalogue.py",
    "chaos/inside/faults",
    "chaos/outside/faults",
    "history",
    "kvchaos/bugs/bug_catalogue.py",
    "kvchaos/bugs/bug_matching.py",
    "kvchaos/judging",
    "kvchaos/matrix/cells.py",
    "oracles",
)
"""Code that shapes what is said of a run; of the faults the checks of their effects."""
JUDGED_KEYS = frozenset({"summary", "expect", "requires", "allowed_log_lines", "performance"})
"""Keys of a scenario that a run does not depend on."""
LENGTH = 16


@dataclass(frozen=True, slots=True)
class Digests:
    """Each in hexadecimal."""

    made: str
    """Digest of the scenario, the seed, how the release is installed, and the code in MAKING."""
    judged: str
    """Digest of what is expected of the scenario on the release, and the code in JUDGING."""


@dataclass(frozen=True, slots=True)
class Code:
    """Digests of the installed code."""

    making: str
    judging: str


@cache
def installed_code() -> Code:
    """Digests of the packages that run now. Raises FileNotFoundError when a part is missing."""
    root = beside_packages(".")
    return Code(code_digest(root, MAKING, WITHOUT), code_digest(root, JUDGING))


def code_digest(root: Path, parts: Sequence[str], without: Sequence[str] = ()) -> str:
    """Digest of the Python files of these parts: their paths below `root` and contents.

    A part is a file or a folder. Raises FileNotFoundError when one is missing.
    """
    files: dict[str, Path] = {}
    for part in parts:
        path = root / part
        if not path.exists():
            raise FileNotFoundError(f"{path}: is missing; install kvchaos again")
        found = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        files |= {each.relative_to(root).as_posix(): each for each in found}
    kept = [name for name in files if not any(_within(name, part) for part in without)]
    return _digest([[name, hashlib.sha256(files[name].read_bytes()).hexdigest()] for name in sorted(kept)])


def digests_of(scenario: Scenario, release: str, seed: int, bugs: Sequence[KnownBug], code: Code) -> Digests:
    """Digests of a cell if it were made and judged now."""
    content = portable_scenario(scenario)
    run = {key: part for key, part in content.items() if key not in JUDGED_KEYS}
    version = Version(release)
    expectation = expectation_for(scenario, version, bugs)
    effects = declared_effects(scenario.faults, version)
    judged = [
        {key: part for key, part in content.items() if key in JUDGED_KEYS},
        expectation.model_dump(mode="json"),
        [effect.model_dump(mode="json") for effect in effects],
        declared_bugs(scenario.name, version, bugs),
    ]
    return Digests(
        made=_digest([run, seed, repr(find_release(release)), code.making]),
        judged=_digest([judged, code.judging]),
    )


def _within(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}/")


def portable_scenario(scenario: Scenario) -> dict[str, object]:
    """The scenario as plain values, the files that it names by their contents: paths differ by machine."""
    content: dict[str, object] = scenario.model_dump(mode="json")
    content["files"] = {
        name: hashlib.sha256(Path(str(spec.params[PATH_PARAM])).read_bytes()).hexdigest()
        for name, spec in scenario.workloads.items()
        if PATH_PARAM in spec.params
    }
    content["workloads"] = {
        name: [spec.kind, {key: value for key, value in spec.params.items() if key != PATH_PARAM}]
        for name, spec in scenario.workloads.items()
    }
    return content


def _digest(value: object) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:LENGTH]
