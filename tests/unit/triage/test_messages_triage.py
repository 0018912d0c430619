"""What a triage says of bad input, of a log that is not its own, and of its result."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from history.jsonl import LineWriter
from kvchaos.errors import UsageError
from kvchaos.triage.bisection_result import Bisection, ExaminedRelease, ShowingReleases, bisection_lines
from kvchaos.triage.failure_repeats import RateOfRuns, RepeatOutcome, classify, result_lines
from kvchaos.triage.occurrence_rate import ALWAYS_RULE, OccurrenceRate
from kvchaos.triage.shrunk_scenario import brief_size, size_lines, size_of
from kvchaos.triage.trial_log import FILE, Trial, TrialLog
from tests.support.triage_runs import FAILURE, triage_scenario, triage_start


def write_log(path: Path) -> Path:
    log = TrialLog(path / FILE, triage_start())
    log.add(Trial(key="a", step="faults", observation="shows", seconds=1.0, run="run-1"))
    log.close()
    return path / FILE


def test_log_of_another_server_is_refused(tmp_path: Path) -> None:
    path = write_log(tmp_path)
    other = msgspec.structs.replace(triage_start(), server="0.32.0")
    with pytest.raises(UsageError, match="of another failure, scenario or server"):
        TrialLog(path, other)


def test_damaged_log_is_named_with_its_line(tmp_path: Path) -> None:
    path = write_log(tmp_path)
    path.write_bytes(path.read_bytes() + b'{"line":"trial"}\n')
    with pytest.raises(UsageError, match=f"{FILE}:3: .*move the file away"):
        TrialLog(path, triage_start())


def test_second_start_in_a_log_is_refused(tmp_path: Path) -> None:
    path = write_log(tmp_path)
    with LineWriter(path) as writer:
        writer.write(msgspec.structs.replace(triage_start(), seed=8))
    with pytest.raises(UsageError, match=f"{FILE}:3: "):
        TrialLog(path, triage_start())


def test_folder_instead_of_a_log_is_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        TrialLog(tmp_path / FILE, triage_start())


def test_line_that_a_kill_has_cut_is_removed(tmp_path: Path) -> None:
    path = write_log(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"line":"trial","key":"b","st')
    log = TrialLog(path, triage_start())
    assert path.read_bytes() == whole
    assert (log.resumed, len(log.of("a")), log.of("b")) == (1, 1, [])


def test_repeats_print_rates_and_the_need_for_faults() -> None:
    outcomes = [
        *(RepeatOutcome("same seed", 1, "shows", None) for _ in range(3)),
        RepeatOutcome("other seed", 2, "client", None),
        RepeatOutcome("without faults", 1, "absent", None),
    ]
    assert list(result_lines(classify(outcomes))) == [
        "always: 3 of 3 runs, rate 0.44 to 1.00 (95 %)",
        "  same seed: 3 of 3 runs, rate 0.44 to 1.00 (95 %)",
        "  other seeds: no run",
        "  without its faults: not shown",
        "  not counted: 1 of client",
    ]


def test_sizes_before_and_after() -> None:
    before, after = size_of(triage_scenario()), size_of(triage_scenario(requests=1, concurrency=1))
    assert list(size_lines(before, after)) == [
        "  phases: 2 -> 2",
        "  requests: 44 -> 5",
        "  concurrency: 8 -> 1",
        "  tokens of the longest request: 17 -> 17",
        "  server settings other than the default: 1 -> 1",
    ]


def test_brief_size_names_faults_only_where_there_are_any() -> None:
    assert brief_size(triage_scenario()) == "2 phases, 44 requests, 8 at once"


def bisection(found: ShowingReleases | None) -> Bisection:
    return Bisection(
        run="failing-1",
        failure=FAILURE,
        rate=RateOfRuns.of(OccurrenceRate(5, 5)),
        tries=2,
        miss=0.00694,
        releases=[
            ExaminedRelease(server="0.17.0", vllm="0.17.0", decision="absent", given=True),
            ExaminedRelease(server="0.18.0", vllm="0.18.0", decision="shows", shown=5, runs=5),
            ExaminedRelease(server="0.19.1", vllm="0.19.1", decision="absent", runs=2),
            ExaminedRelease(server="0.20.2", vllm="0.20.2", decision=None),
        ],
        found=found,
    )


def test_bisection_prints_the_range_and_the_runs_of_each_release() -> None:
    found = ShowingReleases(
        first="0.18.0", last="0.18.0", absent_before="0.17.0", absent_after="0.19.1", untested=[]
    )
    assert list(bisection_lines(bisection(found))) == [
        "failure: server-alive/died: server",
        "rate at the start: 5 of 5 runs, rate 0.57 to 1.00 (95 %)",
        "the neighbours of the range are free of it after 2 runs without it; "
        "a failure of the lowest rate seen is missed with a probability of 0.69%",
        "  0.17.0       absent, as given",
        "  0.18.0       shows, 5 of 5 runs",
        "  0.19.1       absent, 0 of 2 runs",
        "  0.20.2       -",
        "first release that shows it: 0.18.0 (0.17.0 does not show it)",
        "last release that shows it: 0.18.0 (0.19.1 does not show it)",
    ]


def test_bisection_prints_what_is_not_known() -> None:
    *_, last = bisection_lines(bisection(None))
    assert last.startswith("the budget was spent")
    found = ShowingReleases(
        first="0.18.0", last="0.18.0", absent_before=None, absent_after=None, untested=["0.17.0"]
    )
    lines = list(bisection_lines(bisection(found)))
    assert "no older one was free of it" in lines[-3]
    assert "0.17.0" in lines[-1]


def test_rule_prints_how_many_runs_must_show_it() -> None:
    assert str(ALWAYS_RULE) == "2 of at most 2 runs must show it"
