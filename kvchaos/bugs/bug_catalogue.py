"""Reading the known bugs: strict, with one clear line for whatever is wrong with a file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path

import msgspec

from chaos import fault_catalogue as faults
from history.jsonl import one_line
from history.strict_yaml import Value
from kvchaos.bugs.bug_file import UPSTREAM, KnownBug, Shows
from kvchaos.bugs.release_range import range_problem
from kvchaos.errors import UsageError
from kvchaos.paths import beside_packages
from kvchaos.yaml_model import read_model
from oracles import ORACLES, all_rules
from oracles.findings import oracle_of

FOLDER = "known_bugs"


@cache
def known_bugs() -> tuple[KnownBug, ...]:
    """Those that come with the software, by id. Raises UsageError."""
    return load_bugs(beside_packages(FOLDER))


def find_bug(wanted: str, bugs: Sequence[KnownBug]) -> KnownBug:
    """The bug with this id. Raises UsageError."""
    for bug in bugs:
        if bug.id == wanted:
            return bug
    raise UsageError(f"no known bug {wanted}; see: kvchaos bugs")


def load_bugs(folder: Path) -> tuple[KnownBug, ...]:
    """All files of a folder, by id. Raises UsageError with file, key and problem."""
    read = [(path, read_model(path, parse_bug)) for path in sorted(folder.glob("*.yaml"))]
    known = {bug.id for _, bug in read}
    for path, bug in read:
        for problem in problems(bug, path.stem, known):
            raise UsageError(f"{path}: {one_line(problem)}")
    return tuple(bug for _, bug in read)


def parse_bug(content: Value) -> KnownBug:
    """A bug from plain values. Raises pydantic.ValidationError."""
    # By way of JSON, since strict validation of Python objects wants tuples and YAML has none.
    return KnownBug.model_validate_json(msgspec.json.encode(content))


def problems(bug: KnownBug, stem: str, known: Collection[str]) -> Iterator[str]:
    """What is wrong with a bug in a file of this name, among bugs with these ids."""
    if bug.id != stem:
        yield f"id: {bug.id} is in a file named {stem}.yaml; name the file {bug.id}.yaml"
    found = UPSTREAM.fullmatch(bug.id)
    if found is not None and not any(link.endswith(f"/{found['number']}") for link in bug.links[:1]):
        yield f"links: the first must be that of {bug.reference}, which the id names"
    if wrong := range_problem(bug.releases):
        yield f"releases: {wrong}"
    for number, shows in enumerate(bug.shows):
        yield from _shows_problems(f"shows.{number}", shows, known)
    rules = {rule.id for rule in all_rules()}
    for number, text in enumerate(bug.signatures):
        if text.partition(":")[0] not in rules:
            yield f"signatures.{number}: {text} does not begin with a rule; see: kvchaos oracles --rules"


def _shows_problems(key: str, shows: Shows, known: Collection[str]) -> Iterator[str]:
    oracles, rules = {oracle.name for oracle in ORACLES}, {rule.id for rule in all_rules()}
    if shows.releases is not None and (wrong := range_problem(shows.releases)):
        yield f"{key}.releases: {wrong}"
    for name in (*shows.always, *shows.by_chance):
        if name not in oracles | rules:
            yield f"{key}: no rule or oracle named {name}; see: kvchaos oracles --rules"
    named = {*shows.always, *shows.by_chance}
    for rule in shows.subjects:
        if rule not in rules:
            yield f"{key}.subjects: no rule named {rule}; see: kvchaos oracles --rules"
        if named.isdisjoint((rule, oracle_of(rule))):
            yield f"{key}.subjects: {rule} is neither in always nor in by_chance; add it to one of them"
    for other in shows.hides:
        if other not in known:
            yield f"{key}.hides: no known bug {other}; see: kvchaos bugs"
    if shows.declared_by is not None and shows.declared_by not in faults.KINDS:
        yield f"{key}.declared_by: no fault named {shows.declared_by}; see: kvchaos faults"
