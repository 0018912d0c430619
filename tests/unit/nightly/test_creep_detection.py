"""The second net, by the stored output of Otava 0.8.0 for the synthetic nights."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from kvchaos.errors import UsageError
from kvchaos.nightly.creep_detection import LEAST_NIGHTS, creep_table, find_creep, suspicions, write_tables
from kvchaos.nightly.creep_record import CreepFile, read_creep, write_creep
from kvchaos.nightly.night_store import NightHistory
from kvchaos.tools.otava import OTAVA
from kvchaos.tools.tool import need_tool
from tests.support.fake_programs import write_program
from tests.support.night_points import history_of, point
from tests.support.synthetic_nights import CREEPING, synthetic_year

OUTPUT = Path(__file__).parents[2] / "data" / "otava-0.8.0.jsonl"
"""Of `otava analyze all` on the 40 series of these nights."""


@pytest.fixture(scope="module")
def nights() -> NightHistory:
    return synthetic_year(160)


def test_steps_too_small_for_a_night_add_up_to_a_suspicion(nights: NightHistory) -> None:
    (found,) = suspicions(nights, creep_table(nights), OUTPUT.read_text())
    assert found.series == CREEPING
    assert math.log(1.03) < found.slowdown < math.log(1.05)
    assert found.p <= 1e-4


def test_known_change_is_not_suspicious(nights: NightHistory) -> None:
    unknown = NightHistory(nights.nights, nights.by_series, nights.by_night, [])
    found = suspicions(unknown, creep_table(unknown), OUTPUT.read_text())
    # The old regression, the improvement, the accepted one, the creeping one. The new one is too new.
    assert len(found) == 4


def test_only_comparison_nights_of_the_present_identity_are_searched(nights: NightHistory) -> None:
    table = creep_table(nights)
    assert len(table) == 40
    kinds = {night.night: night.kind for night in nights.nights}
    assert {kinds[night] for each in table for night in each.nights} == {"comparison"}
    assert all(each.nights[0] > nights.nights[87].night for each in table)


def test_few_nights_are_not_searched(tmp_path: Path) -> None:
    history = history_of([point(day) for day in range(1, LEAST_NIGHTS)])
    assert creep_table(history) == []
    assert find_creep(history, tmp_path / "not-started").suspicions == ()


def test_tables_have_a_ratio_for_each_night(nights: NightHistory, tmp_path: Path) -> None:
    table = creep_table(nights)[:2]
    config = write_tables(table, tmp_path)
    assert config.read_text().startswith("{")
    lines = (tmp_path / "s1.csv").read_text().splitlines()
    assert lines[0] == "time,ratio"
    assert len(lines) == 1 + len(table[1].nights)


def test_found_creep_is_kept_for_the_page_of_its_night(nights: NightHistory, tmp_path: Path) -> None:
    otava = write_program(tmp_path / "otava", f"#!/bin/sh\ncat {OUTPUT}\n")
    found = find_creep(nights, otava)
    write_creep(tmp_path, found)
    night = nights.nights[-1].night
    assert read_creep(tmp_path, night) == found.suspicions
    assert read_creep(tmp_path, "2027-01-01T00:00:00Z") == ()
    assert read_creep(tmp_path / "none", night) == ()


def test_broken_creep_file_is_named(tmp_path: Path) -> None:
    write_creep(tmp_path, CreepFile(night="2026-11-01T01:00:00Z", tool="x"))
    (tmp_path / "creep.json").write_text("{}")
    with pytest.raises(UsageError, match=r"creep\.json"):
        read_creep(tmp_path, "2026-11-01T01:00:00Z")


@pytest.mark.parametrize("script", ["exit 1", "echo '{\"s0\": []}'", "echo hello", "echo '{\"s0\": [{}]}'"])
def test_unusable_output_is_an_error(nights: NightHistory, tmp_path: Path, script: str) -> None:
    with pytest.raises(UsageError):
        find_creep(nights, write_program(tmp_path / "otava", f"#!/bin/sh\n{script}\n"))


def test_missing_otava_names_the_command_that_installs_it(tmp_path: Path) -> None:
    environ = {"KVCHAOS_CACHE": str(tmp_path), "PATH": str(tmp_path)}
    with pytest.raises(UsageError) as error:
        need_tool(environ, OTAVA)
    assert OTAVA.install_command in str(error.value)
    assert "\n" not in str(error.value)
