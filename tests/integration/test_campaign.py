"""However a campaign ends, nothing of it runs on: Ctrl-C, SIGTERM, SIGKILL, a full disk, late signals."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from history import layout
from history.reader import read_history
from kvchaos.campaign.campaign import run_all
from kvchaos.campaign.run_budget import RunBudget
from kvchaos.errors import UsageError
from kvchaos.judging.judge_run import judge_run_dir
from kvchaos.planning.run_plan import RunRequest
from kvchaos.stacks.orphans import end_and_remove, find_orphans
from tests.support.fake_server_runs import (
    ROOT,
    SERVER,
    Bench,
    finished,
    groups_of,
    load_worker,
    members,
    scenario,
    verdict_of,
    wait_for,
    write_scenario,
)
from tests.support.histories import clean_run
from tests.support.run_dirs import write_run

SLOW = scenario("--fake-token-s", "0.05", load=5000)
"""Its load lasts longer than any test."""


class Running(Bench):
    """A bench whose commands are ended with the test, whatever became of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.started: list[subprocess.Popen[str]] = []

    def command(self, *arguments: str) -> subprocess.Popen[str]:
        process = super().command(*arguments)
        self.started.append(process)
        return process

    def put_away(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()
        for leftover in find_orphans(self.state_folder):
            end_and_remove(leftover, grace_s=0)

    def in_mid_load(self) -> tuple[subprocess.Popen[str], set[int]]:
        """A conductor in the middle of its load, and the groups of its server and load process."""
        conductor = self.start(SLOW, "--repeat", "2")
        self.wait_for_event("phase_start", "load")
        answers = self.run_dir() / layout.requests_file(0)
        wait_for(lambda: b'"load-' in answers.read_bytes())
        groups = groups_of(conductor.pid)
        assert len(groups) == 2
        assert len(members(groups)) == 3  # the server has a second process
        return conductor, groups

    def killed_in_mid_load(self) -> set[int]:
        """What a conductor left that was killed in the middle of its load."""
        conductor, groups = self.in_mid_load()
        conductor.kill()
        conductor.communicate()
        return groups

    def servers(self) -> list[int]:
        """Process ids of the recorded servers."""
        return [group.leader for group in self.record().groups if group.what == "server"]

    def temp_folder(self) -> Path:
        (name,) = self.record().temp_folders
        return Path(name)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path)
    yield made
    made.put_away()


@pytest.fixture
def bystander(bench: Running) -> Iterator[subprocess.Popen[bytes]]:
    """A server with the very same program that no conductor of ours has started."""
    command = [str(bench.server.python), "-m", "x", "--port", "1", "--fake-mute"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_server_and_load_workers_are_recorded(bench: Running) -> None:
    conductor, groups = bench.in_mid_load()
    worker = load_worker(conductor.pid, 0)
    (server,) = groups - {worker}
    recorded = {group.leader: group.what for group in bench.record().groups}
    assert recorded == {worker: "load", server: "server"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_mid_load_ends_everything_and_the_verdict_is_unknown(
    bench: Running, number: signal.Signals
) -> None:
    conductor, groups = bench.in_mid_load()
    temp = bench.temp_folder()
    conductor.send_signal(number)
    code, out, err = finished(conductor)
    assert (code, err) == (2, "")
    assert number.name in out
    verdict = verdict_of(bench.run_dir())
    assert verdict.outcome == "unknown"
    assert verdict.cut is not None
    assert verdict.cut.kind == "run/interrupted"
    assert number.name in verdict.cut.text
    assert members(groups) == set()
    assert not temp.exists()
    assert list(bench.state_folder.iterdir()) == []
    history = read_history(bench.run_dir())
    assert [event.kind for event in history.events][-3:] == ["interrupted", "server_stop", "evidence"]
    assert {record.outcome for record in history.requests if record.phase == "load"} <= {"ok", "aborted"}


def test_signals_while_everything_is_being_ended_do_not_cut_that_short(bench: Running) -> None:
    content = scenario("--fake-slow-end", "1.5")
    content["phases"] = content["phases"][:1]
    conductor = bench.start(content)
    bench.wait_for_event("phase_start", "golden")
    (temp, groups) = (bench.temp_folder(), groups_of(conductor.pid))
    log = bench.run_dir() / layout.SERVER_LOG
    wait_for(lambda: "ending" in log.read_text())
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM):
        conductor.send_signal(number)
    _, _, err = finished(conductor)
    assert err == ""
    assert members(groups) == set()
    assert not temp.exists()
    assert list(bench.state_folder.iterdir()) == []
    assert [event.kind for event in read_history(bench.run_dir()).events][-2:] == ["server_stop", "evidence"]
    assert (bench.run_dir() / layout.VERDICT).exists()


def test_conductor_with_closed_output_leaves_an_unknown_run(bench: Running) -> None:
    conductor = bench.start(SLOW)
    bench.wait_for_event("phase_start", "golden")
    groups = groups_of(conductor.pid)
    assert conductor.stdout is not None
    conductor.stdout.close()
    wait_for(lambda: conductor.poll() is not None)
    assert members(groups) == set()
    verdict = judge_run_dir(bench.run_dir())
    assert verdict.outcome == "unknown"
    assert verdict.cut is not None
    assert verdict.cut.kind == "run/failed"


def test_a_run_whose_conductor_was_killed_is_unknown(bench: Running) -> None:
    bench.killed_in_mid_load()
    verdict = judge_run_dir(bench.run_dir())
    assert verdict.outcome == "unknown"
    assert verdict.cut is not None
    assert verdict.cut.kind == "run/broke-off"


def test_clean_after_a_conductor_kill_ends_exactly_its_processes(
    bench: Running, bystander: subprocess.Popen[bytes]
) -> None:
    conductor, groups = bench.in_mid_load()
    temp, run_id = bench.temp_folder(), bench.record().run_id
    (server,) = bench.servers()
    conductor.kill()
    conductor.communicate()
    assert server in members(groups)
    code, out, err = finished(bench.command("clean"))
    assert (code, err) == (0, "")
    assert run_id in out.splitlines()[0]
    assert f"server {server}" in out
    wait_for(lambda: members(groups) == set())
    assert not temp.exists()
    assert list(bench.state_folder.iterdir()) == []
    code, out, err = finished(bench.command("clean"))
    assert (code, len(out.splitlines()), err) == (0, 1, "")
    assert run_id not in out
    assert bystander.poll() is None


def test_after_a_kill_the_next_run_cleans_by_itself_before_it_starts(bench: Running) -> None:
    groups = bench.killed_in_mid_load()
    run_id = bench.record().run_id
    path = write_scenario(bench.folder / "next.yaml", scenario("--fake-exit", "4"))
    code, out, err = finished(bench.command("run", str(path), "--server", SERVER))
    assert code == 3
    assert len(err.splitlines()) == 1
    first, second, *_ = out.splitlines()
    assert run_id in first
    assert second.startswith("small: ")
    wait_for(lambda: members(groups) == set())
    assert list(bench.state_folder.iterdir()) == []


FULL_DISK = """\
import os, pathlib
opened = os.open
def open_full(path, *arguments, **others):
    if pathlib.PurePath(os.fsdecode(path)).name == {name!r}:
        return opened("/dev/full", os.O_WRONLY | os.O_CLOEXEC)
    return opened(path, *arguments, **others)
os.open = open_full
"""
"""Read by the interpreter at its start: one file of the run lies on a disk without room."""


def on_a_full_disk(bench: Running, name: str) -> tuple[int, str, str]:
    """The end of a run of which one file has no room; nothing of it may be left."""
    site = bench.folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(FULL_DISK.format(name=name))
    bench.environment["PYTHONPATH"] = f"{site}:{ROOT}"
    conductor = bench.start(SLOW)
    wait_for(lambda: any(bench.state_folder.glob("*.json")) and bool(bench.servers()))
    (server,) = bench.servers()
    code, out, err = finished(conductor)
    assert members({server}) == set()
    assert list(bench.state_folder.iterdir()) == []
    return code, out, err


@pytest.mark.parametrize("name", [layout.EVENTS, layout.METRICS])
def test_full_disk_is_one_line_and_leaves_no_process(bench: Running, name: str) -> None:
    code, _, err = on_a_full_disk(bench, name)
    assert code == 3
    (line,) = err.splitlines()
    assert line.startswith("kvchaos: ")
    assert os.strerror(errno.ENOSPC) in line


def test_full_disk_of_a_load_worker_makes_the_run_unknown_with_the_reason(bench: Running) -> None:
    """What the server and the others did up to then is kept and told."""
    code, out, err = on_a_full_disk(bench, layout.requests_file(0))
    assert (code, err) == (2, "")
    assert os.strerror(errno.ENOSPC) in " ".join(out.split())


def judged_after(bench: Running, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The complaint about a run that has left this directory."""
    monkeypatch.setattr("kvchaos.campaign.campaign.run_one", lambda *_: (run_dir, False))
    with pytest.raises(UsageError) as caught:
        run_all([bench.request(SLOW)], bench.workspace(), Console(file=io.StringIO()))
    return str(caught.value)


def test_a_verdict_that_cannot_be_written_is_one_line(
    bench: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = bench.folder / "run"
    write_run(clean_run(), run_dir)
    (run_dir / layout.VERDICT).symlink_to("/dev/full")
    message = judged_after(bench, run_dir, monkeypatch)
    assert message.startswith(f"{run_dir}: ")
    assert message.endswith(os.strerror(errno.ENOSPC))
    assert "\n" not in message


def test_a_run_that_cannot_be_judged_is_one_line(bench: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = bench.folder / "run"
    write_run(clean_run(), run_dir)
    (run_dir / layout.EVENTS).write_bytes(b"")
    message = judged_after(bench, run_dir, monkeypatch)
    assert message.startswith(f"{run_dir / layout.EVENTS}: ")
    assert "\n" not in message


@pytest.mark.parametrize("end", [UsageError("interrupted before the run began"), KeyboardInterrupt()])
def test_interrupted_campaign_shows_its_finished_verdicts(
    bench: Running, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    """Ctrl-C while the second server starts, or while a run is being judged, lost the verdicts before it."""
    run_dir = bench.runs / "first"
    write_run(clean_run(), run_dir)

    def run_one(request: RunRequest, *_: object) -> tuple[Path, bool]:
        if request.seed == 3:
            return run_dir, False
        raise end

    monkeypatch.setattr("kvchaos.campaign.campaign.run_one", run_one)
    first = bench.request(SLOW)
    text = io.StringIO()
    with pytest.raises(type(end)):
        run_all([first, replace(first, seed=4)], bench.workspace(), Console(file=text, width=80))
    lines = text.getvalue().splitlines()
    # One of the two was judged; its row and the folder of its evidence are shown.
    assert sum("as expected" in line for line in lines) >= 1
    assert lines[-1].endswith(str(bench.runs))


def test_campaign_ends_when_its_budget_has_no_time_for_another_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = bench.runs / "first"
    write_run(clean_run(), run_dir)
    monkeypatch.setattr("kvchaos.campaign.campaign.run_one", lambda *_: (run_dir, False))
    times = iter([0.0, 1.0, 2.0, 11.0])
    budget = RunBudget(10.0, clock=lambda: next(times))
    requests, text = [bench.request(SLOW)] * 3, io.StringIO()
    rows = run_all(requests, bench.workspace(), Console(file=text, width=80), budget=budget)
    assert len(rows) == 2
    assert text.getvalue().splitlines()[-2].endswith(requests[0].scenario.name)
