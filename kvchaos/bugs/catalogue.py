"""Reading the known bugs: strict, with one clear line for whatever is wrong with a file."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from pydantic import ValidationError

from chaos import catalogue as faults
from history.lines import one_line
from history.strict import first_problem
from history.yaml_file import BadYaml, Value, load_yaml
from kvchaos.bugs.known_bug import UPSTREAM, KnownBug, Shows
from kvchaos.errors import UsageError
from kvchaos.paths import beside_packages
from oracles import ORACLES, all_rules

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
    read = [(path, _load(path)) for path in sorted(folder.glob("*.yaml"))]
    known = {bug.id for _, bug in read}
    for path, bug in read:
        for problem in problems(bug, path.stem, known):
            raise UsageError(f"{path}: {one_line(problem)}")
    return tuple(bug for _, bug in read)


def _load(path: Path) -> KnownBug:
    try:
        return parse_bug(load_yaml(path))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except BadYaml as error:
        raise UsageError(str(error)) from error
    except ValidationError as error:
        raise UsageError(f"{path}: {first_problem(error)}") from error


def parse_bug(content: Value) -> KnownBug:
    """A bug from plain values. Raises ValidationError."""
    # By way of JSON, since strict validation of Python objects wants tuples and YAML has none.
    return KnownBug.model_validate_json(msgspec.json.encode(content))


def problems(bug: KnownBug, stem: str, known: Collection[str]) -> Iterator[str]:
    """What is wrong with a bug in a file of this name, among bugs with these ids."""
    if bug.id != stem:
        yield f"id: {bug.id} is in a file named {stem}.yaml; name the file {bug.id}.yaml"
    found = UPSTREAM.fullmatch(bug.id)
    if found is not None and not any(link.endswith(f"/{found['number']}") for link in bug.links[:1]):
        yield f"links: the first must be that of {bug.reference}, which the id names"
    yield from _range_problems("releases", bug.releases)
    for number, shows in enumerate(bug.shows):
        yield from _shows_problems(f"shows.{number}", shows, known)
    rules = {rule.id for rule in all_rules()}
    for number, text in enumerate(bug.signatures):
        if text.partition(":")[0] not in rules:
            yield f"signatures.{number}: {text} does not begin with a rule; see: kvchaos oracles --rules"


def _shows_problems(key: str, shows: Shows, known: Collection[str]) -> Iterator[str]:
    oracles, rules = {oracle.name for oracle in ORACLES}, {rule.id for rule in all_rules()}
    if shows.releases is not None:
        yield from _range_problems(f"{key}.releases", shows.releases)
    for name in (*shows.always, *shows.by_chance):
        if name not in oracles | rules:
            yield f"{key}: no rule or oracle named {name}; see: kvchaos oracles --rules"
    for other in shows.hides:
        if other not in known:
            yield f"{key}.hides: no known bug {other}; see: kvchaos bugs"
    if shows.declared_by is not None and shows.declared_by not in faults.KINDS:
        yield f"{key}.declared_by: no fault named {shows.declared_by}; see: kvchaos faults"


def _range_problems(key: str, releases: str) -> Iterator[str]:
    try:
        SpecifierSet(releases)
    except InvalidSpecifier:
        yield f'{key}: {releases!r} is no version range such as ">=0.16,<0.19"'
