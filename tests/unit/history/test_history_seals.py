"""A run whose files were altered after it was sealed is unknown, and the reason names the file."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from history import layout
from history.reader import UnreadableRun, read_history
from history.seals import NOT_SEALED, FileSeal, Seals, check, evidence_files, reseal, seal
from history.verdict import RunVerdict
from kvchaos.cli.app import run as command_line
from kvchaos.judging.judge_run import judge_run_dir
from tests.support.histories import clean_run
from tests.support.run_dirs import note_evidence, write_run
from tests.support.synthetic_records import fault, make_plan

FAULTS = f"{layout.CONTROL}/faults-worker-100.jsonl"
LEDGER = f"{layout.CONTROL}/ledger-worker-100.jsonl"
FILES = (
    *(layout.PLAN, layout.EVENTS, layout.METRICS, layout.PROMETHEUS, layout.requests_file(0)),
    *(layout.CLIENT, layout.RESOURCES, FAULTS, LEDGER, layout.SERVER_LOG),
)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A green run as a conductor leaves it: lines counted, files sealed, both promised by its plan."""
    run = clean_run(make_plan(faults=(fault("copy_delay"),)).model_copy(update={"sealed": True}))
    run.fire("f1", "copy_delay", ms=0.001, direction="load")
    run.watch()
    write_run(run, tmp_path / "run")
    note_evidence(tmp_path / "run")
    seal(tmp_path / "run")
    assert verdict_of(tmp_path / "run").outcome == "as expected"
    return tmp_path / "run"


def verdict_of(run_dir: Path) -> RunVerdict:
    return judge_run_dir(run_dir)


def broken_file(run_dir: Path) -> str:
    """The file that the one reason of an unknown run names first."""
    cut = verdict_of(run_dir).cut
    assert cut is not None
    assert cut.kind == "run/seal-broken"
    return cut.text.partition(" ")[0]


def alter(path: Path) -> None:
    """Blanks at the end of the first line: the file says the same, in other bytes, on as many lines."""
    first, _, others = path.read_bytes().partition(b"\n")
    path.write_bytes(first + b" \n" + others)


def test_every_file_that_judging_reads_is_sealed(run_dir: Path) -> None:
    seals = msgspec.json.decode((run_dir / layout.SEALS).read_bytes(), type=Seals)
    assert set(seals.files) == set(FILES)
    assert seals.by == "run"
    assert verdict_of(run_dir).seal == "sealed"


@pytest.mark.parametrize("name", FILES)
def test_altered_file_makes_the_run_unknown_and_is_named(run_dir: Path, name: str) -> None:
    alter(run_dir / name)
    verdict = verdict_of(run_dir)
    assert verdict.outcome == "unknown"
    assert verdict.seal == "broken"
    assert verdict.cut is not None
    assert verdict.cut.kind == "run/seal-broken"
    assert verdict.cut.text.startswith(f"{name} ")
    assert verdict.reasons == [verdict.cut.text]
    assert "kvchaos reseal" in verdict.cut.text


def test_an_equal_size_does_not_hide_an_alteration(run_dir: Path) -> None:
    log = run_dir / layout.SERVER_LOG
    log.write_bytes(log.read_bytes().replace(b"serving", b"SERVING"))
    assert broken_file(run_dir) == layout.SERVER_LOG


def test_a_file_that_was_added_breaks_the_seal(run_dir: Path) -> None:
    (run_dir / layout.requests_file(7)).touch()
    assert broken_file(run_dir) == layout.requests_file(7)


def test_a_file_that_was_removed_breaks_the_seal(run_dir: Path) -> None:
    (run_dir / layout.PROMETHEUS).unlink()
    assert broken_file(run_dir) == layout.PROMETHEUS


def test_run_with_missing_seals_is_unknown(run_dir: Path) -> None:
    (run_dir / layout.SEALS).unlink()
    verdict = verdict_of(run_dir)
    assert verdict.outcome == "unknown"
    assert verdict.cut is not None
    assert verdict.cut.kind == "run/seals-missing"


def test_run_of_an_earlier_version_is_judged_as_unsealed(tmp_path: Path) -> None:
    write_run(clean_run(), tmp_path / "run")
    assert check(tmp_path / "run") == NOT_SEALED
    verdict = verdict_of(tmp_path / "run")
    assert verdict.outcome == "as expected"
    assert verdict.seal == "unsealed"
    assert "not sealed" in (tmp_path / "run" / layout.SUMMARY).read_text()
    assert "not sealed" in (tmp_path / "run" / layout.REPORT).read_text()


def test_resealed_run_is_judged_and_marked_as_resealed(run_dir: Path) -> None:
    log = run_dir / layout.SERVER_LOG
    log.write_bytes(log.read_bytes() + b"INFO one line more\n")
    assert reseal(run_dir) == len(evidence_files(run_dir))
    verdict = verdict_of(run_dir)
    assert verdict.outcome == "as expected"
    assert verdict.seal == "resealed"


def test_reseal_is_a_command(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alter(run_dir / layout.CLIENT)
    assert command_line(["judge", str(run_dir)]) == 2
    assert command_line(["reseal", str(run_dir)]) == 0
    assert f"{len(FILES)} files sealed" in capsys.readouterr().out
    assert command_line(["judge", str(run_dir)]) == 0


def test_directory_without_a_run_is_not_sealed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        assert command_line(["reseal", str(folder)]) == 3
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b'{"v":3,"by":"run","files":{}}',
        b'{"v":2,"by":"somebody","files":{}}',
        b'{"v":2,"by":"run","files":{"a":{"sha256":"12","size":1}}}',
        b'{"v":2,"by":"run","files":{},"more":1}',
    ],
)
def test_malformed_seals_make_the_run_unreadable(run_dir: Path, content: bytes) -> None:
    (run_dir / layout.SEALS).write_bytes(content)
    with pytest.raises(UnreadableRun, match=layout.SEALS):
        read_history(run_dir)


def test_seals_are_written_as_they_are_read(run_dir: Path) -> None:
    seals = Seals(by="run", files={"a": FileSeal(sha256="0" * 64, size=1)})
    (run_dir / layout.SEALS).write_bytes(msgspec.json.encode(seals))
    assert len(check(run_dir).broken) == 1 + len(evidence_files(run_dir))
