"""A load process that does not notice its own pauses reports them as the server's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from history.phase_spec import Constant
from history.records import ClientRecord
from oracles.load_client import limited
from tests.fakes.openai_server import Behaviour, FakeServer
from tests.support.histories import clean_run
from tests.support.load_processes import PATIENCE_S, loaders, phase, records, wait_for, write_plan
from tests.support.synthetic_records import latency_plan

PAUSE_S = 3.0
ROOT = Path(__file__).parents[2]


def client_records(run_dir: Path) -> list[ClientRecord]:
    lines = (run_dir / "client.jsonl").read_bytes().splitlines()
    return [msgspec.json.decode(line, type=ClientRecord) for line in lines]


def test_every_worker_reports_its_health_for_every_phase(tmp_path: Path) -> None:
    with FakeServer() as server, loaders(tmp_path, write_plan(tmp_path, server.url), workers=2) as load:
        assert load.wait_ready(PATIENCE_S)
        for name in ("golden", "load"):
            load.start_phase(phase(name, requests=4, concurrency=2))
            assert load.wait_done(PATIENCE_S)
    found = client_records(tmp_path)
    assert {(one.phase, one.worker) for one in found} == {
        (name, worker) for name in ("golden", "load") for worker in (0, 1)
    }
    assert all(one.wall_us > 0 and one.cpu_us > 0 for one in found)


def test_long_phase_is_reported_once_a_second(tmp_path: Path) -> None:
    with (
        FakeServer(Behaviour(token_s=0.3)) as server,
        loaders(tmp_path, write_plan(tmp_path, server.url)) as load,
    ):
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=2, concurrency=2))
        assert load.wait_done(PATIENCE_S)
    found = client_records(tmp_path)
    assert len(found) >= 2
    assert sum(one.wall_us for one in found) > 8 * 300_000
    # Sampled all the time, and connected while answers come.
    assert all(one.event_loop_lag_us for one in found[:-1])
    assert found[0].connections >= 2


def test_stopped_client_process_is_reported_as_the_limit(tmp_path: Path) -> None:
    arrivals = Constant(kind="constant", rate=50)
    with FakeServer() as server, loaders(tmp_path, write_plan(tmp_path, server.url)) as load:
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase("golden", requests=200, concurrency=200, arrivals=arrivals))
        wait_for(lambda: len(server.received) >= 5)
        for _ in range(3):
            os.kill(load.pids[0], signal.SIGSTOP)
            time.sleep(PAUSE_S / 3)
            os.kill(load.pids[0], signal.SIGCONT)
            time.sleep(0.05)
        assert load.wait_done(PATIENCE_S)
    run = clean_run(latency_plan())
    run.client = client_records(tmp_path)
    run.requests = records(tmp_path)
    assert max(lag for one in run.client for lag in one.event_loop_lag_us) > 0.9e6 * PAUSE_S / 3
    limit = limited(run.history())
    assert limit is not None
    assert limit.subject.name == "golden"


def test_unwritable_client_records_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "client.jsonl").symlink_to("/dev/full")
    with FakeServer() as server, loaders(tmp_path, write_plan(tmp_path, server.url)) as load:
        assert load.wait_ready(PATIENCE_S)
        load.start_phase(phase(requests=4, concurrency=2))
        wait_for(lambda: bool(load.failures()))
        (line,) = load.failures()
    assert "client.jsonl" in line


SERVE = """
import gc, sys
from pathlib import Path
from gevent.queue import Queue
from locust.env import Environment
from history.reader import read_plan
from loadtests.messages import Quit
from loadtests.load_worker import PhaseWorker, WorkerSlot
from loadtests.user import CompletionUser

class Nowhere:
    def send(self, report):
        pass

inbox = Queue()
inbox.put(Quit())
runner = Environment(user_classes=[CompletionUser]).create_local_runner()
worker = PhaseWorker(read_plan(Path(sys.argv[1])), WorkerSlot(0, 1, runner, print))
worker.serve(inbox, Nowhere())
worker.close()
print(gc.get_freeze_count(), len(gc.get_objects()))
"""


def test_garbage_collector_skips_objects_from_worker_start(tmp_path: Path) -> None:
    """However it was started: the collector does not go through it again."""
    write_plan(tmp_path, "http://127.0.0.1:1")
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    frozen, watched = map(int, done.stdout.split())
    assert frozen > 10 * watched
