"""The results of the matrix as data: one file a release, in it one cell for each scenario; read strictly."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace
from packaging.version import Version

from history.jsonl import one_line
from history.verdict import BugResult, Cause, Outcome, RunVerdict
from kvchaos.errors import UsageError
from kvchaos.matrix.digests import Digests
from kvchaos.servers.releases import TABLE

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{16}$")]
Day = Annotated[str, Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Text = Annotated[str, Meta(min_length=1, max_length=400)]
FOLDERS = re.compile(r"(?<![\w:/.])/(?:[\w.+-]+/)+")
"""The absolute path of a folder."""
LONGEST = 400
"""Characters of a reason; the run directory has all of it."""


class CellCause(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """What violations of the run come of."""

    signature: Text
    bugs: list[str] = []
    """Ids of the known bugs that it may be."""
    faults: list[str] = []
    """Ids of the faults that declare it."""
    unexplained: bool = False


class Cell(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """One scenario on one release."""

    scenario: Annotated[str, Meta(min_length=1)]
    outcome: Outcome | None
    """None: the scenario could not be run."""
    bugs: list[str] = []
    """Ids of the known bugs that showed."""
    absent: list[str] = []
    """Ids of the known bugs that always show and did not."""
    causes: list[CellCause] = []
    reason: Text | None = None
    """Why it is not as expected, unknown, or could not be run."""
    fresh: Outcome | None = None
    """Outcome on a fresh server, if the first run was not as expected on a used server."""
    seed: Annotated[int, Meta(ge=0)]
    day: Day
    """UTC, of the run."""
    run: str | None
    """Its id."""
    made: Digest
    judged: Digest


class Results(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One release."""

    v: Literal[1] = 1
    release: str
    cells: list[Cell] = []
    """Cells by scenario."""

    def find(self, scenario: str) -> Cell | None:
        """The cell of a scenario; None: it was never run."""
        return next((cell for cell in self.cells if cell.scenario == scenario), None)

    def having(self, cell: Cell) -> Results:
        """The results with this cell, which replaces an older one."""
        others = [other for other in self.cells if other.scenario != cell.scenario]
        return replace(self, cells=sorted([*others, cell], key=lambda each: each.scenario))


def cell_of(
    verdict: RunVerdict,
    day: str,
    digests: Digests,
    declared: Mapping[str, Sequence[str]],
    fresh: Outcome | None = None,
) -> Cell:
    """The cell of the matrix for a verdict.

    `declared`: the bugs that a fault causes as its effect, each with its rules.
    """
    expected = verdict.outcome == "as expected"
    causes = [_cause(cause, declared) for cause in verdict.causes]
    shown = {bug.id for bug in verdict.bugs if bug.explains}
    return Cell(
        scenario=verdict.scenario,
        outcome=verdict.outcome,
        bugs=sorted(shown.union(*(cause.bugs for cause in causes))),
        absent=sorted(_absent(verdict.bugs)),
        causes=causes,
        reason=None if expected or not verdict.reasons else shortened(verdict.reasons[0]),
        fresh=fresh,
        seed=verdict.seed,
        day=day,
        run=verdict.run_id,
        made=digests.made,
        judged=digests.judged,
    )


def failed_cell(scenario: str, seed: int, day: str, digests: Digests, reason: str) -> Cell:
    """A cell whose scenario could not be run. Its reason names files without the folders of this machine."""
    return Cell(
        scenario=scenario,
        outcome=None,
        reason=shortened(FOLDERS.sub("", reason)),
        seed=seed,
        day=day,
        run=None,
        made=digests.made,
        judged=digests.judged,
    )


def shortened(text: str) -> str:
    """One line of at most LONGEST characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= LONGEST else f"{flat[: LONGEST - 3]}..."


def _absent(bugs: Iterable[BugResult]) -> Iterable[str]:
    return (bug.id for bug in bugs if bug.missing)


def _cause(cause: Cause, declared: Mapping[str, Sequence[str]]) -> CellCause:
    brought = [bug for bug, rules in declared.items() if cause.explained_by and cause.rule in rules]
    return CellCause(
        signature=shortened(cause.signature),
        bugs=sorted({*cause.known_bugs, *brought}),
        faults=sorted(cause.explained_by),
        unexplained=cause.unexplained,
    )


_RESULTS = msgspec.json.Decoder(Results)


def results_file(folder: Path, release: str) -> Path:
    """Path of the results of a release."""
    return folder / f"{release}.json"


def read_results(folder: Path, release: str) -> Results:
    """What is kept of a release; nothing yet where there is no file. Raises UsageError for a damaged file."""
    path = results_file(folder, release)
    try:
        results = _RESULTS.decode(path.read_bytes())
    except FileNotFoundError:
        return Results(release=release)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _damaged(path, one_line(error)) from error
    if problem := _problem(results, release):
        raise _damaged(path, problem)
    return results


def read_all(folder: Path) -> list[Results]:
    """All releases that have a file, oldest first. Raises UsageError."""
    found = sorted(path.stem for path in folder.glob("*.json"))
    for name in found:
        if name not in TABLE:
            raise _damaged(results_file(folder, name), f"{name} is not a release that can be installed")
    return [read_results(folder, release) for release in sorted(found, key=Version)]


def write_results(folder: Path, results: Results) -> None:
    """Replace the file of a release in one step. Raises UsageError."""
    path = results_file(folder, results.release)
    text = msgspec.json.format(msgspec.json.encode(results), indent=1)
    write_whole(path, text + b"\n")


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file in one step: a reader finds the old or the new one. Raises UsageError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _problem(results: Results, release: str) -> str | None:
    names = [cell.scenario for cell in results.cells]
    if results.release != release:
        return f"release: {results.release} is in the file of {release}"
    if names != sorted(set(names)):
        return "cells: they are not sorted by scenario, or a scenario is there twice"
    return None


def _damaged(path: Path, problem: str) -> UsageError:
    return UsageError(f"{path}: {problem}; correct the file, or remove it: its cells are run again then")
