"""Whole runs against a fake server: every end of a server must end the run, tidily and with a verdict.

They test our conducting only; nothing here speaks of vLLM.
"""

from __future__ import annotations

import io
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from history import layout
from history.events import (
    Drained,
    FaultsArmed,
    FaultsHealed,
    PhaseEnd,
    PhaseStart,
    ProbeSent,
    RunFailed,
    ServerExit,
    ServerNotReady,
    ServerStalled,
    ServerStart,
)
from history.jsonl import UnreadableRun
from history.protocol.outside import Paused
from history.reader import History, read_history, read_plan
from history.seals import check
from history.verdict import RunVerdict, Verdict
from kvchaos.campaign.campaign import run_all
from kvchaos.cli.app import run as command_line
from kvchaos.conductor.fault_controller import FaultController, LeaseLost
from kvchaos.errors import UsageError
from kvchaos.stacks.process_group import read_process
from oracles.views.timeline import end_ns
from tests.fakes.vllm_server import CRASH_CODE, FATAL_LINE
from tests.support.fake_server_runs import Bench, members, scenario, verdict_of

PROBE = ["probe", "health"]


@dataclass
class Conducted:
    """A run that has ended."""

    run_dir: Path
    verdict: RunVerdict
    history: History
    printed: list[str]

    def kinds(self) -> list[str]:
        return [event.kind for event in self.history.events]

    def oracle(self, name: str) -> Verdict:
        (verdict,) = [result.verdict for result in self.verdict.results if result.oracle == name]
        return verdict


def conduct(folder: Path, content: object, workers: int = 1) -> Conducted:
    bench = Bench(folder)
    text = io.StringIO()
    (row,) = run_all([bench.request(content, workers)], bench.workspace(), Console(file=text, width=200))
    done = Conducted(row.run_dir, row.verdict, read_history(row.run_dir), text.getvalue().splitlines())
    assert_nothing_is_left(bench, done.history)
    return done


def assert_nothing_is_left(bench: Bench, history: History) -> None:
    pids = {started.data.pid for started in history.events_of(ServerStart)}
    assert pids
    assert members({pid for pid in pids if isinstance(pid, int)}) == set()
    assert not Path(history.plan.environment["TMPDIR"]).exists()
    assert list(bench.state_folder.iterdir()) == []


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Conducted:
    """A run in which nothing goes wrong, with two load processes."""
    return conduct(tmp_path_factory.mktemp("good"), scenario(), workers=2)


def test_good_run_records_its_steps_in_order(good: Conducted) -> None:
    phases = 3 * ["phase_start", "phase_end", *PROBE]
    begin = ["server_start", "server_ready", *PROBE]
    assert good.kinds() == [*begin, *phases, *PROBE, "drained", "leak_probe", "server_stop", "evidence"]
    started = [event.data.phase for event in good.history.events_of(PhaseStart)]
    assert started == ["golden", "load", "fresh"]
    wheres = [event.data.where for event in good.history.events_of(ProbeSent)]
    assert wheres == ["ready", "after golden", "after load", "after fresh", "final"]
    times = [event.t_ns for event in good.history.events]
    assert times == sorted(times)


def test_good_run_passes_every_oracle(good: Conducted) -> None:
    assert good.verdict.outcome == "as expected"
    assert {result.oracle: result.verdict for result in good.verdict.results} == {
        result.oracle: Verdict.PASS for result in good.verdict.results
    }


def test_a_good_run_is_sealed(good: Conducted) -> None:
    assert check(good.run_dir).state == "sealed"


def test_good_run_records_every_load_and_conductor_request_once(good: Conducted) -> None:
    by_phase = {
        phase: sorted(record.id for record in good.history.requests if record.phase == phase)
        for phase in ("golden", "load", "fresh", "probe")
    }
    assert by_phase == {
        "golden": sorted(f"golden-{number}" for number in range(4)),
        "load": sorted(f"load-{number}" for number in range(4, 16)),
        "fresh": sorted(f"fresh-{number}" for number in range(3)),
        "probe": sorted(f"probe-{number}" for number in range(5)),
    }
    assert {record.worker for record in good.history.requests} == {0, 1}


def test_each_phase_is_between_two_scrapes_of_an_idle_server(good: Conducted) -> None:
    log = good.history.metrics
    generated = []
    for phase in good.history.phases():
        assert phase.first_scrape is not None
        assert phase.last_scrape is not None
        for scrape in (phase.first_scrape, phase.last_scrape):
            assert log.total(scrape, "vllm:num_requests_running") == 0
        generated.append(log.increase(phase.first_scrape, phase.last_scrape, "vllm:generation_tokens_total"))
    assert generated == [
        sum(len(record.token_ids) for record in good.history.requests if record.phase == phase)
        for phase in ("golden", "load", "fresh")
    ]


def test_server_resources_are_sampled_at_each_quiet_moment(good: Conducted) -> None:
    (started,) = good.history.events_of(ServerStart)
    quiet = [*good.history.events_of(PhaseEnd), *good.history.events_of(Drained)]
    for event in quiet:
        sampled = max(record.t_ns for record in good.history.resources if record.t_ns <= event.t_ns)
        ended = [end_ns(record) for record in good.history.requests if end_ns(record) <= event.t_ns]
        assert sampled >= max(ended)
    for record in good.history.resources:
        # The leader and the process that it forks, each with a thread; and the leader listens.
        assert (record.leader, record.processes) == (started.data.pid, 2)
        assert record.threads >= 2
        assert record.sockets >= 1
        assert 0 < record.anonymous_bytes < record.resident_bytes


def test_plan_of_a_good_run_matches_what_ran(good: Conducted) -> None:
    plan = read_plan(good.run_dir)
    (started,) = good.history.events_of(ServerStart)
    assert plan.base_url == f"http://127.0.0.1:{started.data.port}"
    assert plan.command[0].endswith("/servers/fake/python")
    assert (plan.seed, plan.workers, plan.scenario.name) == (3, 2, "small")
    assert plan.run_id == good.run_dir.name


def test_good_run_prints_plain_lines_and_a_table(good: Conducted) -> None:
    assert all(line.startswith("small: ") for line in good.printed[:4])
    for phase in ("golden", "load", "fresh"):
        assert any(f" {phase}" in line for line in good.printed)
    assert any("as expected" in line for line in good.printed)


def test_verdict_is_reproducible_from_the_run_directory(
    good: Conducted, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [good.run_dir / name for name in (layout.VERDICT, layout.JUNIT, layout.SUMMARY)]
    first = [path.read_bytes() for path in files]
    for path in files:
        path.unlink()
    assert command_line(["judge", str(good.run_dir)]) == 0
    assert [path.read_bytes() for path in files] == first
    assert verdict_of(good.run_dir) == good.verdict
    assert "as expected" in capsys.readouterr().out


def test_a_journal_of_the_server_that_cannot_be_read_ends_the_run_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(arms: FaultController) -> None:
        raise UnreadableRun("faults-worker-1.jsonl:1: truncated")

    monkeypatch.setattr(FaultController, "check_server", unreadable)
    bench = Bench(tmp_path)
    with pytest.raises(UsageError, match=r"^faults-worker-1\.jsonl:1: truncated$"):
        run_all([bench.request(scenario())], bench.workspace(), Console(file=io.StringIO()))
    (failed,) = read_history(bench.run_dir()).events_of(RunFailed)
    assert failed.data.reason == "faults-worker-1.jsonl:1: truncated"


def test_a_server_that_dies_ends_the_load_and_gets_its_verdict(tmp_path: Path) -> None:
    content = scenario("--fake-die-at", "10", "--fake-token-s", "0.02", load=2000)
    died = conduct(tmp_path, content)
    (exit_event,) = died.history.events_of(ServerExit)
    (started,) = died.history.events_of(ServerStart)
    assert exit_event.data == ServerExit(code=CRASH_CODE, pid=started.data.pid)
    ended = died.history.events_of(PhaseEnd)
    assert [event.data.reason for event in ended] == ["done", "server-dead"]
    assert ended[-1].data.phase == "load"
    assert sum(record.phase == "load" for record in died.history.requests) == ended[-1].data.sent
    assert sum(record.phase == "load" for record in died.history.requests) < 2000
    assert "server_stop" not in died.kinds()
    assert died.oracle("server-alive") is Verdict.FAIL
    assert died.verdict.outcome == "not as expected"
    assert any("exit code 7" in reason for reason in died.verdict.reasons)


def test_server_exit_between_load_and_stop_is_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = FaultController.close

    def close_and_kill(self: FaultController) -> None:
        close(self)
        (events,) = tmp_path.rglob(layout.EVENTS)
        (started,) = (line for line in events.read_text().splitlines() if '"server_start"' in line)
        pid = json.loads(started)["data"]["pid"]
        os.kill(pid, signal.SIGKILL)
        while (process := read_process(pid)) is not None and process.runs:
            time.sleep(0.01)

    monkeypatch.setattr(FaultController, "close", close_and_kill)
    done = conduct(tmp_path, scenario())
    assert [event.data.code for event in done.history.events_of(ServerExit)] == [-signal.SIGKILL]
    assert done.verdict.outcome == "not as expected"
    assert done.oracle("server-alive") is Verdict.FAIL


def test_a_server_that_stalls_for_ever_ends_the_load_and_gets_its_verdict(tmp_path: Path) -> None:
    limits = {"stall_s": 3.0, "probe_s": 1.0, "drain_s": 0.5}
    stalled = conduct(tmp_path, scenario("--fake-stall-at", "10", limits=limits))
    (stall,) = stalled.history.events_of(ServerStalled)
    assert stall.data.running == 4.0
    assert isinstance(stall.data.seconds, float)
    assert stall.data.seconds > 3.0
    ended = stalled.history.events_of(PhaseEnd)
    assert [event.data.reason for event in ended] == ["done", "stalled"]
    given_up = [record for record in stalled.history.requests if record.outcome == "aborted"]
    (*_, cut) = stalled.history.phases()
    assert cut.last_scrape is not None
    assert stalled.history.metrics.times_ns[cut.last_scrape] >= max(map(end_ns, given_up))
    assert len(given_up) == 4
    assert stalled.oracle("progress") is Verdict.FAIL
    assert stalled.oracle("server-alive") is Verdict.FAIL
    assert stalled.oracle("drained") is Verdict.FAIL
    assert stalled.verdict.outcome == "not as expected"
    assert stalled.kinds()[-2:] == ["server_stop", "evidence"]


@pytest.mark.parametrize(
    ("manners", "ready_s", "message"),
    [
        (
            ("--fake-exit", "4"),
            30.0,
            rf"code 4\).*{FATAL_LINE}",
        ),
        (("--fake-mute",), 4.0, r"4 s.*loading"),
        (("--fake-stall-at", "1"), 5.0, r" request"),
    ],
    ids=["dies", "hangs", "is deaf"],
)
def test_a_server_that_never_gets_ready_is_one_line_and_no_verdict(
    tmp_path: Path, manners: tuple[str, ...], ready_s: float, message: str
) -> None:
    bench = Bench(tmp_path)
    request = bench.request(scenario(*manners, limits={"ready_s": ready_s}))
    with pytest.raises(UsageError, match=message) as caught:
        run_all([request], bench.workspace(), Console(file=io.StringIO()))
    assert "\n" not in str(caught.value)
    assert str(bench.run_dir() / layout.SERVER_LOG) in str(caught.value)
    history = read_history(bench.run_dir())
    assert_nothing_is_left(bench, history)
    (failed,) = history.events_of(RunFailed)
    assert failed.data.reason == str(caught.value)
    assert not (bench.run_dir() / layout.VERDICT).exists()
    # Whoever asks for a verdict all the same is told that there is none to be had.
    assert command_line(["judge", str(bench.run_dir())]) == 2
    assert verdict_of(bench.run_dir()).outcome == "unknown"


def with_faults(*kinds: str, lacking: str) -> dict[str, object]:
    """A scenario whose load phase has these faults, on a server that has no place for one kind."""
    content = scenario("--fake-lacks", lacking)
    content["server"] |= {"offload": True, "chaos": True}
    content["phases"][1]["role"] = "chaos"
    content["faults"] = [{"id": f"f-{kind}", "kind": kind, "trigger": {"every": 1}} for kind in kinds]
    return content


def test_fault_without_an_injection_point_ends_the_run_before_any_load(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    request = bench.request(with_faults("bit_flip", "lookup_retry", lacking="lookup_retry"))
    with pytest.raises(UsageError, match="f-lookup_retry") as caught:
        run_all([request], bench.workspace(), Console(file=io.StringIO()))
    assert "\n" not in str(caught.value)
    history = read_history(bench.run_dir())
    assert_nothing_is_left(bench, history)
    assert history.events_of(PhaseStart) == []
    assert [record.phase for record in history.requests] == []
    (failed,) = history.events_of(RunFailed)
    assert failed.data.reason == str(caught.value)


def test_faults_with_injection_points_are_armed_and_healed(tmp_path: Path) -> None:
    done = conduct(tmp_path, with_faults("lookup_miss", "bit_flip", lacking="lookup_retry"))
    (armed,) = done.history.events_of(FaultsArmed)
    (healed,) = done.history.events_of(FaultsHealed)
    assert armed.data.faults == ["f-lookup_miss", "f-bit_flip"]
    assert (healed.data.confirmed, healed.data.by) == (True, "journal")


def test_failed_lease_renewal_makes_the_run_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine lets the lease run out: then the load met no fault, and what it shows is no proof."""
    monkeypatch.setattr("kvchaos.conductor.fault_controller.LEASE_S", 0.0)
    bench = Bench(tmp_path)
    request = bench.request(with_faults("lookup_miss", lacking="lookup_retry"))
    with pytest.raises(LeaseLost):
        run_all([request], bench.workspace(), Console(file=io.StringIO()))
    assert_nothing_is_left(bench, read_history(bench.run_dir()))
    assert command_line(["judge", str(bench.run_dir())]) == 2


def with_a_pause(nth: int, **params: float | str) -> dict[str, object]:
    """A scenario whose load phase is paused at an arrival."""
    content = scenario("--fake-token-s", "0.05", load=24)
    content["phases"][1]["role"] = "chaos"
    content["faults"] = [{"id": "frozen", "kind": "pause", "trigger": {"nth": [nth]}, "params": params}]
    return content


def test_pause_strikes_is_effective_and_is_reverted(tmp_path: Path) -> None:
    done = conduct(tmp_path, with_a_pause(4, duration_s=4.0))
    journal = [(line.event, line.role, line.fault) for line in done.history.faults]
    assert journal == [(event, "outside", "frozen") for event in ("armed", "fired", "note", "healed")]
    _, fired, undone, _ = done.history.faults
    (started,) = done.history.events_of(ServerStart)
    paused = fired.firing
    assert isinstance(paused, Paused)
    assert (started.data.pid in paused.pids, len(paused.pids)) == (True, 2)
    assert 3.0 < (undone.t_ns - fired.t_ns) / 1e9 < 8.0
    assert done.verdict.outcome == "as expected"
    (fired_by,) = [result.figures for result in done.verdict.results if result.oracle == "faults-fired"]
    assert fired_by == {"planned": 1, "fired": 1}


def test_a_pause_is_over_when_its_phase_ends(tmp_path: Path) -> None:
    """The last answer of the phase is the arrival: nobody would notice, and the next phase must be served."""
    done = conduct(tmp_path, with_a_pause(23, duration_s=10.0))
    (healed,) = done.history.events_of(FaultsHealed)
    assert (healed.data.confirmed, healed.data.by) == (True, "journal")
    assert done.oracle("outcomes") is Verdict.PASS
    assert done.oracle("faults-fired") is Verdict.UNKNOWN


def test_pause_that_never_fires_makes_the_run_unknown(tmp_path: Path) -> None:
    done = conduct(tmp_path, with_a_pause(1000))
    assert done.oracle("faults-fired") is Verdict.UNKNOWN
    gaps = [gap.kind for result in done.verdict.results for gap in result.gaps]
    assert gaps == ["faults-fired/never-fired"]


def with_an_ending(kind: str, *manners: str, **params: float) -> dict[str, object]:
    """A scenario whose load phase meets the end of the server at its fifth answer, and a phase afterwards."""
    content = scenario("--fake-token-s", "0.05", *manners, load=24)
    content["phases"][1]["role"] = "chaos"
    content["phases"].append({**content["phases"][1], "name": "healed", "role": "healed", "first": 28})
    content["faults"] = [{"id": "gone", "kind": kind, "trigger": {"nth": [4]}, "params": params}]
    return content


@pytest.mark.parametrize("kind", ["kill", "stop", "engine_kill"])
def test_server_ended_by_a_fault_is_restarted_and_the_run_continues(tmp_path: Path, kind: str) -> None:
    done = conduct(tmp_path, with_an_ending(kind))
    kinds = [kind for kind in done.kinds() if kind not in PROBE]
    struck = ["armed", "server_exit", "server_start", "server_ready", "healed"]
    assert [kind for kind in kinds if kind in struck] == ["server_start", "server_ready", *struck]
    first, second = done.history.events_of(ServerStart)
    (ended,) = done.history.events_of(ServerExit)
    assert ended.data.pid == first.data.pid != second.data.pid
    assert len(set(done.history.metrics.incarnations)) == 2
    assert done.verdict.outcome == "as expected", done.verdict.reasons


def test_failed_restart_ends_the_run_with_a_verdict(tmp_path: Path) -> None:
    done = conduct(tmp_path, with_an_ending("kill", "--fake-once", str(tmp_path / "lived")))
    _, second = done.history.events_of(ServerExit)
    assert second.data.code == CRASH_CODE
    (healed,) = done.history.events_of(FaultsHealed)
    assert healed.data.confirmed is False
    assert done.history.events_of(ServerNotReady)
    assert [event.data.reason for event in done.history.events_of(PhaseEnd)] == ["done", "server-dead"]
    assert done.oracle("server-alive") is Verdict.FAIL
    assert done.verdict.outcome == "not as expected"


def test_server_crash_after_a_restart_is_a_violation(tmp_path: Path) -> None:
    done = conduct(tmp_path, with_an_ending("kill", "--fake-die-at", "26"))
    assert [event.data.code for event in done.history.events_of(ServerExit)] == [-9, CRASH_CODE]
    assert done.oracle("server-alive") is Verdict.FAIL
