"""The stored example: whole enough to be judged as the run was, small, and silent on where it was made."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import example
from benchmarks.verdict_image import DEMO, EXAMPLE, verdict_image
from history import layout
from kvchaos.errors import UsageError
from kvchaos.judging.judge_run import judge_run_dir
from tests.support.fake_server_runs import verdict_of
from tests.support.histories import clean_run
from tests.support.run_dirs import write_run

ROOT = Path(__file__).parents[3]
PICTURE = ROOT / "docs" / "verdict.svg"
HOST = "build-17"


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_stored_example_is_judged_as_the_run_was(tmp_path: Path) -> None:
    for path in files(EXAMPLE):
        copy = tmp_path / path.relative_to(EXAMPLE)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / layout.VERDICT).unlink()
    judge_run_dir(tmp_path)
    assert (tmp_path / layout.VERDICT).read_bytes() == (EXAMPLE / layout.VERDICT).read_bytes()


def test_the_stored_example_shows_a_violation_that_was_expected() -> None:
    verdict = verdict_of(EXAMPLE)
    assert (verdict.scenario, verdict.server, verdict.outcome) == (
        "corruption-canary",
        "0.32.0",
        "as expected",
    )
    assert [result.oracle for result in verdict.results if result.verdict == "fail"] == ["answers"]


def test_the_stored_example_is_small() -> None:
    assert sum(path.stat().st_size for path in files(EXAMPLE)) < example.MAX_BYTES


def test_the_stored_example_names_no_folder_of_a_user() -> None:
    for path in files(EXAMPLE):
        found = re.findall(r"/(?:root|home|Users|work)/[\w./-]*", path.read_text(encoding="utf-8"))
        assert set(found) <= {"/home/user"}, path


def judged(run_dir: Path) -> Path:
    write_run(clean_run(), run_dir)
    judge_run_dir(run_dir)
    return run_dir


def test_paths_get_neutral_names_also_in_the_middle_of_a_line(tmp_path: Path) -> None:
    run_dir = judged(tmp_path / "run")
    home = tmp_path / "home"
    log = run_dir / layout.SERVER_LOG
    log.write_text(log.read_text() + f"see page.html{home}/lib/x.py:7 and {home}-more\n")
    judge_run_dir(run_dir)
    names = example.neutral_names(run_dir, tmp_path / "cache", home)
    example.make_example(run_dir, tmp_path / "made", names, HOST)
    last = (tmp_path / "made" / layout.SERVER_LOG).read_text().splitlines()[-1]
    assert last == f"see page.html/home/user/lib/x.py:7 and {home}-more"


def test_carriage_return_is_kept(tmp_path: Path) -> None:
    """As a line of its own it would be one more line than the run noted."""
    run_dir = judged(tmp_path / "run")
    with (run_dir / layout.SERVER_LOG).open("ab") as log:
        log.write(b"loading 1\rloading 2\n")
    judge_run_dir(run_dir)
    example.make_example(run_dir, tmp_path / "made", {}, HOST)
    assert (tmp_path / "made" / layout.SERVER_LOG).read_bytes().endswith(b"loading 1\rloading 2\n")


def test_an_example_that_names_the_machine_is_refused(tmp_path: Path) -> None:
    run_dir = judged(tmp_path / "run")
    log = run_dir / layout.SERVER_LOG
    log.write_text(log.read_text() + f"listening on {HOST}\n")
    judge_run_dir(run_dir)
    with pytest.raises(UsageError, match=rf"server\.log .*{HOST}"):
        example.make_example(run_dir, tmp_path / "made", {}, HOST)
    assert not (tmp_path / "made").exists()


def test_an_example_that_is_judged_differently_is_refused(tmp_path: Path) -> None:
    run_dir = judged(tmp_path / "run")
    verdict = run_dir / layout.VERDICT
    verdict.write_text(verdict.read_text().replace("as expected", "unknown", 1))
    with pytest.raises(UsageError, match=str(run_dir)):
        example.make_example(run_dir, tmp_path / "made", {}, HOST)


def test_an_example_that_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = judged(tmp_path / "run")
    monkeypatch.setattr(example, "MAX_BYTES", 1000)
    with pytest.raises(UsageError, match="1000"):
        example.make_example(run_dir, tmp_path / "made", {}, HOST)


def test_the_picture_of_a_verdict_is_what_the_demo_prints() -> None:
    """Draw it again with `python -m benchmarks.verdict_image docs/verdict.svg`."""
    assert PICTURE.read_text(encoding="utf-8") == verdict_image()


def test_the_picture_fetches_nothing() -> None:
    assert re.findall(r"url\((?!#)", PICTURE.read_text(encoding="utf-8")) == []


def test_the_picture_names_the_folder_that_the_demo_writes() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"DEMO := {DEMO.parent}/demo-$(EXAMPLE)" in makefile
    assert f"EXAMPLE := {DEMO.name.removeprefix('demo-')}\n" in makefile
