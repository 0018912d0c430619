"""No damaged input ends in a traceback, and no damaged run is as expected: a few mutants of each kind.

`python -m tests.fuzz` makes any number; see docs/fuzzing.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from kvchaos.errors import UsageError
from tests.fuzz import campaign
from tests.fuzz.__main__ import main
from tests.fuzz.histories import OUTCOMES, bases, judge, write_files
from tests.fuzz.kind import ACCEPTED, REFUSED, Kind
from tests.fuzz.kinds import KINDS

MUTANTS = {
    "scenarios": 100,
    "schedules": 60,
    "traces": 60,
    "control": 60,
    "metrics": 60,
    "histories": 80,
    "removed": 80,
}
SEED = 20


def test_fuzz_corpus_has_500_mutants_of_all_kinds() -> None:
    assert MUTANTS.keys() == KINDS.keys()
    assert sum(MUTANTS.values()) == 500


@pytest.mark.parametrize("name", KINDS)
def test_a_mutant_is_read_or_refused_in_one_line(name: str) -> None:
    report = campaign.run(KINDS[name], SEED, range(MUTANTS[name]))
    assert "\n".join(map(str, report.failures)) == ""
    assert len(report.outcomes) > 1, "the mutants are all alike"


def test_fuzz_bases_are_as_expected(tmp_path: Path) -> None:
    for number, files in enumerate({id(base): base for base in bases()}.values()):
        write_files(files, tmp_path / str(number) / "run")
        assert judge(tmp_path / str(number)) == OUTCOMES[0]


# The campaign itself.


def kind(read: Callable[[Path], str]) -> Kind:
    def make(chance: Random, folder: Path) -> None:
        (folder / "mutant").write_text(str(chance.random()))

    return Kind("pretended", make, read, (UsageError,), forbidden={"as expected": "it must not be"})


def raising(error: Exception) -> Callable[[Path], str]:
    def read(folder: Path) -> str:
        raise error

    return read


@pytest.mark.parametrize(
    ("read", "outcome", "reported"),
    [
        (raising(ZeroDivisionError("by nothing")), "traceback", "ZeroDivisionError"),
        (raising(RecursionError()), "traceback", "RecursionError"),
        (raising(UsageError("two\nlines")), REFUSED, "2 lines"),
        (raising(UsageError("")), REFUSED, "0 lines"),
        (raising(UsageError("x" * 4000)), REFUSED, "4000 characters"),
        (lambda folder: "as expected", "as expected", "it must not be"),
    ],
)
def test_fuzz_failure_is_counted_saved_and_reproducible(
    tmp_path: Path, read: Callable[[Path], str], outcome: str, reported: str
) -> None:
    report = campaign.run(kind(read), 5, [41, 42], keep=tmp_path)
    assert report.outcomes == {outcome: 2}
    assert [failure.number for failure in report.failures] == [41, 42]
    assert reported in report.failures[0].what
    assert "--kind pretended --seed 5 --only 41" in str(report.failures[0])
    kept = (tmp_path / "pretended-5-41" / "mutant").read_text()
    assert kept == str(Random("pretended/5/41").random())


def test_a_mutant_that_takes_too_long_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "SLOW_S", -1.0)
    report = campaign.run(kind(lambda folder: ACCEPTED), 1, [0])
    assert report.outcomes == {"slow": 1}
    assert len(report.failures) == 1


def test_refusal_in_one_line_and_acceptance_are_no_fuzz_failures() -> None:
    assert campaign.run(kind(lambda folder: ACCEPTED), 1, range(3)).failures == []
    assert campaign.run(kind(raising(UsageError("f.yaml:1: no"))), 1, range(3)).outcomes == {REFUSED: 3}


@pytest.mark.parametrize("name", KINDS)
def test_the_same_seed_and_number_make_the_same_mutant(tmp_path: Path, name: str) -> None:
    made = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        KINDS[name].make(Random("x/1/2"), folder)
        files = sorted(path for path in folder.rglob("*") if path.is_file() and "traces" not in path.parts)
        made.append([(path.relative_to(folder), path.read_bytes()) for path in files])
    assert made[0] == made[1]


def test_the_command_ends_with_1_when_a_mutant_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("resource.setrlimit", lambda which, limits: None)
    good = kind(lambda folder: ACCEPTED)
    for name in KINDS:
        monkeypatch.setitem(KINDS, name, replace(good, name=name))
    arguments = ["--mutants", "3", "--keep", str(tmp_path)]
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith("3 accepted; 0 failures")
    monkeypatch.setitem(KINDS, "traces", kind(raising(KeyError("x"))))
    assert main([*arguments, "--kind", "traces"]) == 1
