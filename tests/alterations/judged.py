"""Apply a kind to a stored run, and say how it was noticed."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from history.reader import UnreadableRun, read_history
from history.seals import reseal
from history.verdict import RunVerdict
from kvchaos.judging.judge_run import judge
from tests.alterations.draft import Draft, read_draft, write_draft
from tests.alterations.kind import EXPECTATION, REFUSED, UNKNOWN, Kind, NotApplicable
from tests.support.stored import SUFFIX, unpack
from tests.support.upgraded_runs import upgrade

RUNS = Path(__file__).parent / "runs"
Notice = Literal["right rule", "another rule", "unknown", "refused", "masked", "not noticed"]


@dataclass(frozen=True, slots=True)
class Applied:
    """A kind on one run."""

    kind: Kind
    run: str
    notice: Notice
    evidence: str
    """The rules that found something, or the reason."""

    @property
    def right(self) -> bool:
        return self.notice == "right rule"


@dataclass(frozen=True, slots=True)
class _Base:
    draft: Draft
    verdict: RunVerdict


def run_names() -> list[str]:
    """The stored runs."""
    return sorted(path.name.removesuffix(SUFFIX) for path in RUNS.glob(f"*{SUFFIX}"))


def apply(kind: Kind, most: int) -> Iterator[Applied]:
    """The kind on so many of the runs that it applies to. Which ones, its name decides."""
    names = run_names()
    first = zlib.crc32(kind.name.encode()) % len(names)
    left = most
    for name in [*names[first:], *names[:first]]:
        if not left:
            return
        draft = _base(name).draft.copy()
        try:
            kind.alter(draft)
        except NotApplicable:
            continue
        left -= 1
        yield _judged(kind, name, draft)


def unaltered(name: str) -> RunVerdict:
    """The verdict of a stored run that was read, written again and sealed."""
    with TemporaryDirectory(prefix="kvchaos-alterations-") as folder:
        run_dir = Path(folder) / "run"
        write_draft(_base(name).draft, run_dir)
        reseal(run_dir)
        return judge(read_history(run_dir))


@cache
def _base(name: str) -> _Base:
    with TemporaryDirectory(prefix="kvchaos-alterations-") as folder:
        run_dir = unpack(RUNS / f"{name}{SUFFIX}", Path(folder))
        verdict = judge(read_history(run_dir))
        upgrade(run_dir)
        return _Base(read_draft(run_dir), verdict)


def _judged(kind: Kind, name: str, draft: Draft) -> Applied:
    with TemporaryDirectory(prefix="kvchaos-alterations-") as folder:
        run_dir = Path(folder) / "run"
        write_draft(draft, run_dir)
        try:
            reseal(run_dir)
            verdict = judge(read_history(run_dir))
        except UnreadableRun as error:
            right = REFUSED in kind.expects
            return Applied(kind, name, "right rule" if right else "refused", str(error).replace(folder, ""))
    return Applied(kind, name, *_noticed(kind, _base(name).verdict, verdict))


def _noticed(kind: Kind, before: RunVerdict, after: RunVerdict) -> tuple[Notice, str]:
    new = _violations(after) - _violations(before)
    evidence = ", ".join(sorted(new)) or "; ".join(after.reasons[:1])
    if after.outcome == UNKNOWN:
        return ("right rule" if UNKNOWN in kind.expects else "unknown"), "; ".join(after.reasons[:1])
    if after.outcome == "as expected":
        return ("masked" if new else "not noticed"), evidence
    found = EXPECTATION in kind.expects or any(_is_expected(rule, kind) for rule in new)
    return ("right rule" if found else "another rule"), evidence


def _is_expected(rule: str, kind: Kind) -> bool:
    return rule in kind.expects or rule.partition("/")[0] in kind.expects


def _violations(verdict: RunVerdict) -> Counter[str]:
    """How often each rule was broken, and of each oracle that had to find something and did not, one."""
    found: Counter[str] = Counter()
    for result in verdict.results:
        found.update(result.by_rule)
        found[result.oracle] += bool(result.missing)
    return +found
