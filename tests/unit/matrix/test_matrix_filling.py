"""A cell is run when what makes it changed, judged again when only judging changed, and else left alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kvchaos.bugs.bug_catalogue import find_bug, known_bugs
from kvchaos.matrix.cells import read_results
from kvchaos.matrix.filling import Shard
from tests.support.fake_matrix import CODE, NAMES, Results, changed, order


@pytest.fixture
def matrix(tmp_path: Path) -> Results:
    return Results(tmp_path)


@pytest.fixture
def full(matrix: Results) -> Results:
    """All cells are there."""
    assert matrix.fill(order()) == ["as expected"] * len(NAMES)
    return matrix


def test_every_scenario_runs_on_every_release_by_one_campaign_a_release(matrix: Results) -> None:
    matrix.fill(order("0.18.0", "0.32.0"))
    assert matrix.machine.ran == [(release, name) for release in ("0.18.0", "0.32.0") for name in NAMES]
    assert matrix.machine.campaigns == 2


def test_nothing_runs_when_nothing_has_changed(full: Results) -> None:
    before = {path.name: path.read_bytes() for path in full.folder.iterdir()}
    assert full.again(order()) == ([], [])
    assert {path.name: path.read_bytes() for path in full.folder.iterdir()} == before


@pytest.mark.parametrize(
    "change",
    [
        {"limits": order().scenarios[0].limits.model_copy(update={"stall_s": 99.0})},
        {"server": order().scenarios[0].server.model_copy(update={"gpu_blocks": 77})},
        {"phases": order().scenarios[0].phases[:1]},
    ],
)
def test_changed_scenario_alone_is_run_again(full: Results, change: dict[str, object]) -> None:
    assert full.again(changed(order(), NAMES[0], **change)) == ([NAMES[0]], [])


def test_changed_code_of_a_run_runs_all_again(full: Results) -> None:
    assert full.again(replace(order(), code=replace(CODE, making="m2"))) == (list(NAMES), [])


def test_changed_seed_runs_every_cell_again(full: Results) -> None:
    assert full.again(replace(order(), seed=2)) == (list(NAMES), [])


def test_changed_code_of_judging_judges_the_stored_runs_again(full: Results) -> None:
    wanted = replace(order(), code=replace(CODE, judging="j2"))
    assert full.again(wanted) == ([], list(NAMES))
    assert full.again(wanted) == ([], [])


def test_changed_expectation_rejudges_its_scenario(full: Results) -> None:
    assert full.again(changed(order(), NAMES[1], expect=())) == ([], [NAMES[1]])


def test_new_known_bug_rejudges_only_its_cells(full: Results) -> None:
    bug = find_bug("vllm-31503", known_bugs())
    assert full.again(replace(order(), bugs=(bug,))) == ([], ["aborts"])


def test_cell_without_its_run_directory_is_run_again(full: Results) -> None:
    full.machine.stored = {run for run in full.machine.stored if not run.startswith("aborts")}
    assert full.again(replace(order(), code=replace(CODE, judging="j2"))) == (["aborts"], list(NAMES[:2]))


def test_a_cell_whose_run_cannot_be_read_runs_again(full: Results) -> None:
    full.machine.unreadable = {run for run in full.machine.stored if run.startswith("aborts")}
    assert full.again(replace(order(), code=replace(CODE, judging="j2"))) == (["aborts"], list(NAMES))


def test_rejudged_cell_keeps_its_run_date(full: Results) -> None:
    full.machine.outcomes["aborts"] = "not as expected"
    outcomes = full.fill(replace(order(), code=replace(CODE, judging="j2")))
    cell = read_results(full.folder, "0.18.0").find("aborts")
    assert cell is not None
    assert (cell.outcome, cell.reason, cell.run) == ("not as expected", "why", "aborts-2")
    assert "not as expected" in outcomes


def test_accepted_code_runs_nothing_again(full: Results) -> None:
    other = replace(order(), code=replace(CODE, making="m2"))
    assert full.again(replace(other, accept_code=True)) == ([], [])
    assert full.again(other) == ([], [])


def test_interrupted_matrix_keeps_finished_cells_and_resumes(matrix: Results) -> None:
    matrix.machine.stop_after = 2
    with pytest.raises(KeyboardInterrupt):
        matrix.fill(order())
    assert [cell.scenario for cell in read_results(matrix.folder, "0.18.0").cells] == sorted(NAMES[:2])
    assert "0.18.0" in matrix.machine.installed
    matrix.machine.stop_after = None
    assert matrix.again(order()) == ([NAMES[2]], [])
    assert matrix.machine.installed == set()


def test_an_unknown_cell_runs_again_only_with_the_option_for_it(matrix: Results) -> None:
    matrix.machine.outcomes["aborts"] = "unknown"
    matrix.fill(order())
    assert matrix.again(order()) == ([], [])
    assert matrix.again(replace(order(), retry=True)) == (["aborts"], [])


def test_a_stored_reason_names_no_folder_of_this_machine(matrix: Results) -> None:
    matrix.machine.broken = {"corruption-canary"}
    rest = "http://127.0.0.1:1/health 1/2"
    matrix.machine.problem = f"/home/me/runs/a-1/server.log {rest}"
    matrix.fill(order())
    cell = read_results(matrix.folder, "0.18.0").find("corruption-canary")
    assert cell is not None
    assert cell.reason == f"server.log {rest}"


def test_invalid_scenario_does_not_prevent_others(matrix: Results) -> None:
    matrix.machine.broken = {"corruption-canary"}
    assert matrix.fill(order()) == ["as expected", None, "as expected"]
    cell = read_results(matrix.folder, "0.18.0").find("corruption-canary")
    assert cell is not None
    assert (cell.outcome, cell.run) == (None, None)
    assert cell.reason == matrix.machine.problem
    matrix.machine.broken = set()
    assert matrix.again(order()) == (["corruption-canary"], [])


def test_release_that_never_starts_is_skipped(matrix: Results) -> None:
    matrix.machine.broken = set(NAMES)
    assert matrix.fill(order("0.18.0", "0.32.0")) == [None] * 6
    assert matrix.machine.campaigns == 4
    assert matrix.machine.installed == set()


def test_a_release_that_cannot_be_installed_costs_no_result(full: Results) -> None:
    full.machine.not_to_be_had = {"0.18.0"}
    before = read_results(full.folder, "0.18.0")
    assert full.fill(replace(order(), seed=2)) == [None] * 3
    assert read_results(full.folder, "0.18.0") == before


@pytest.mark.parametrize(("keep", "left"), [(False, {"0.16.0"}), (True, {"0.16.0", "0.18.0"})])
def test_only_what_the_matrix_installed_is_removed(matrix: Results, keep: bool, left: set[str]) -> None:
    matrix.machine.installed = {"0.16.0"}
    matrix.fill(replace(order("0.16.0", "0.18.0"), keep=keep))
    assert matrix.machine.installed == left


def test_server_of_an_interrupted_matrix_is_removed_at_the_end(full: Results) -> None:
    full.machine.installed, full.machine.ours = {"0.18.0"}, {"0.18.0"}
    full.fill(order())
    assert full.machine.installed == set()


def test_a_shard_fills_its_part_only(matrix: Results) -> None:
    matrix.fill(replace(order("0.18.0", "0.32.0"), shard=Shard(2, 2)))
    assert matrix.machine.ran == [("0.32.0", name) for name in NAMES]
    assert not (matrix.folder / "0.18.0.json").exists()
