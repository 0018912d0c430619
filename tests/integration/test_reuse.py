"""A server serves the next run of a campaign only when it was proved clean; each run stands by itself.

They test our conducting only, against a fake server with real ledgers. What is clean in vLLM is tested there.
"""

from __future__ import annotations

import io
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from history import layout
from history.events import CleanState, ServerStart, ServerStop
from history.reader import History, read_history
from history.seals import check
from history.verdict import Outcome, RunVerdict
from kvchaos.campaign import campaign
from kvchaos.campaign.campaign import CampaignContext, run_all, run_one
from kvchaos.campaign.server_pool import (
    CHANGED,
    FIRST_RUN,
    GRAFANA_STAYS,
    OTHER_SETTINGS,
    SCENARIO_NEEDS,
    ServerPool,
    obstacle_between,
)
from kvchaos.planning.run_plan import RunRequest
from kvchaos.stacks.stack import ServerStartFailed
from oracles import transfer_invariants
from oracles.views.windows import run_window
from tests.fakes.vllm_server import FATAL_LINE
from tests.support.fake_server_runs import Bench, members, register_fake, scenario

BOOKS = ("--fake-resident", "0")


def offloading(*manners: str, **server: object) -> dict[str, Any]:
    """A small scenario for a server with ledgers."""
    content = scenario(*BOOKS, *manners)
    content["server"] |= {"offload": True, "chaos": True, **server}
    return content


class Campaign:
    """Runs one after the other; no verdict on any, since the fake never offloads a block."""

    def __init__(self, bench: Bench, servers: ServerPool) -> None:
        self._bench = bench
        self.servers = servers

    def request(self, content: object) -> RunRequest:
        return self._bench.request(content)

    def run(self, request: RunRequest, following: RunRequest | None) -> History:
        part = CampaignContext(None, self.servers, following)
        run_dir, _ = run_one(request, self._bench.workspace(), Console(file=io.StringIO()), None, part)
        return read_history(run_dir)

    def pair(self, first: object, second: object) -> tuple[History, History]:
        one, two = self.request(first), self.request(second)
        return self.run(one, two), self.run(two, None)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def made(bench: Bench) -> Iterator[Campaign]:
    with ServerPool(bench.workspace(), reuse=True) as servers:
        yield Campaign(bench, servers)
    assert list(bench.state_folder.iterdir()) == []


def pid_of(history: History) -> object:
    (started,) = history.events_of(ServerStart)
    return started.data.pid


def why_fresh(history: History) -> str:
    assert history.plan.preceded_by == ()
    assert history.plan.fresh_because is not None
    return history.plan.fresh_because


def assert_gone(history: History) -> None:
    pid = pid_of(history)
    assert isinstance(pid, int)
    assert members({pid}) == set()
    assert not Path(history.plan.environment["TMPDIR"]).exists()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[History, History]:
    """Two equal runs on one server."""
    bench = Bench(tmp_path_factory.mktemp("pair"))
    with ServerPool(bench.workspace(), reuse=True) as servers:
        return Campaign(bench, servers).pair(offloading(), offloading())


def test_clean_server_is_reused_by_the_next_run(pair: tuple[History, History]) -> None:
    one, two = pair
    assert pid_of(one) == pid_of(two)
    assert one.plan.preceded_by == ()
    assert one.plan.fresh_because == FIRST_RUN
    assert two.plan.preceded_by == (one.plan.run_id,)
    assert two.plan.fresh_because is None
    assert_gone(two)


def test_history_records_how_a_run_got_and_left_its_server(pair: tuple[History, History]) -> None:
    one, two = pair
    assert one.events_of(ServerStart)[0].data.kept is False
    assert two.events_of(ServerStart)[0].data.kept is True
    (state,) = one.events_of(CleanState)
    assert state.data == CleanState(clean=True, objections=[])
    assert one.events_of(ServerStop) == []
    assert len(two.events_of(ServerStop)) == 1
    assert two.events_of(CleanState) == []


def test_counts_start_at_the_run_on_a_reused_server(pair: tuple[History, History]) -> None:
    """The server's counters go on from the run before; its own requests are what the laws hold for."""
    one, two = pair
    metric = "vllm:generation_tokens_total"
    first, second = (run_window(history).growth(metric) for history in (one, two))
    assert first == second == sum(len(record.token_ids) for record in one.requests)
    assert two.metrics.total(len(two.metrics) - 1, metric) == 2 * (first or 0.0)


def test_run_on_a_reused_server_has_separate_log_and_audit_log(pair: tuple[History, History]) -> None:
    one, two = pair
    assert "ready" in one.log
    assert "ready" not in two.log
    assert {record.role for record in two.ledger} == {"scheduler", "worker"}
    assert [record.event for record in two.faults] == ["loaded", "loaded"]
    assert transfer_invariants.judge(two).verdict == transfer_invariants.judge(one).verdict


def test_each_run_of_a_shared_server_is_sealed(pair: tuple[History, History]) -> None:
    assert [check(history.run_dir).state for history in pair] == ["sealed", "sealed"]


def test_run_directory_is_self_contained(pair: tuple[History, History], tmp_path: Path) -> None:
    _, two = pair
    moved = tmp_path / two.run_dir.name
    shutil.copytree(two.run_dir, moved, symlinks=True)
    assert read_history(moved).changed == ()
    assert all(path.exists() for path in moved.rglob("*"))
    outside = [path for path in moved.rglob("*") if not path.resolve().is_relative_to(moved)]
    assert outside == []


def test_changed_server_settings_start_a_new_server(made: Campaign) -> None:
    one, two = made.pair(offloading(), offloading(gpu_blocks=60))
    assert pid_of(one) != pid_of(two)
    assert why_fresh(two) == OTHER_SETTINGS


def test_scenario_may_require_a_fresh_server(made: Campaign) -> None:
    content = offloading()
    one, two = made.request(content), made.request({**content, "fresh": "it counts from 0"})
    first, second = made.run(one, one), made.run(two, None)
    assert pid_of(first) != pid_of(second)
    assert why_fresh(second).startswith(SCENARIO_NEEDS)
    assert why_fresh(second).endswith(two.scenario.fresh or "nothing")
    assert_gone(first)


def test_leaked_tier_block_prevents_server_reuse(made: Campaign) -> None:
    one, two = made.pair(offloading("--fake-resident", "3"), offloading("--fake-resident", "3"))
    assert pid_of(one) != pid_of(two)
    why = "did not leave its server clean: blocks in the offload tier by the ledger: 3"
    assert why_fresh(two) == f"{one.plan.run_id} {why}"
    assert one.events_of(ServerStop) != []


def test_open_connection_prevents_server_reuse(made: Campaign) -> None:
    request = made.request(offloading())
    first = made.run(request, request)
    port = first.events_of(ServerStart)[0].data.port
    assert isinstance(port, int)
    with closing(socket.create_connection(("127.0.0.1", port))):
        second = made.run(request, request)
        third = made.run(request, None)
    assert second.plan.preceded_by == (first.plan.run_id,)
    assert "open sockets" in why_fresh(third)


def test_counter_growth_between_runs_prevents_server_reuse(made: Campaign) -> None:
    request = made.request(offloading())
    first = made.run(request, request)
    pid, port = pid_of(first), first.events_of(ServerStart)[0].data.port
    send_request(int(str(port)))
    second = made.run(request, None)
    assert pid_of(second) != pid
    assert why_fresh(second).startswith(f"{CHANGED} vllm:")


def test_server_that_exits_between_runs_is_not_reused(made: Campaign) -> None:
    request = made.request(offloading())
    first = made.run(request, request)
    pid = pid_of(first)
    assert isinstance(pid, int)
    send_request(int(str(first.events_of(ServerStart)[0].data.port)), b"GET /die HTTP/1.1\r\n\r\n")
    second = made.run(request, None)
    assert why_fresh(second).startswith(CHANGED)


def test_run_not_as_expected_prevents_server_reuse(made: Campaign) -> None:
    request = made.request(offloading())
    first = made.run(request, request)
    made.servers.judged(first.plan.run_id, "unknown")
    assert_gone(first)
    second = made.run(request, None)
    assert why_fresh(second) == f"{first.plan.run_id} is unknown"


@pytest.mark.parametrize("server", [{"chaos": False}, {"offload": False, "chaos": False}])
def test_server_without_audit_log_is_never_reused(made: Campaign, server: dict[str, bool]) -> None:
    content = scenario()
    content["server"] |= server
    one, two = made.pair(content, content)
    assert pid_of(one) != pid_of(two)


def test_release_without_tier_reset_is_never_reused(bench: Bench, made: Campaign) -> None:
    request = replace(made.request(offloading()), server=register_fake(bench.cache, "old", "0.21.0"))
    assert pid_of(made.run(request, request)) != pid_of(made.run(request, None))


def test_containers_kept_for_grafana_serve_one_run(bench: Bench) -> None:
    request = replace(bench.request(offloading()), stack="compose-cpu")
    assert obstacle_between(request, request) is None
    watched = replace(request, grafana=True)
    assert obstacle_between(watched, watched) == GRAFANA_STAYS


def test_without_reuse_every_run_starts_a_server(bench: Bench) -> None:
    with ServerPool(bench.workspace(), reuse=False) as servers:
        one, two = Campaign(bench, servers).pair(offloading(), offloading())
    assert pid_of(one) != pid_of(two)
    assert (one.plan.fresh_because, two.plan.fresh_because) == (None, None)


def test_a_server_that_never_gets_ready_names_the_log_in_the_run_directory(bench: Bench) -> None:
    with ServerPool(bench.workspace(), reuse=True) as servers:
        made, request = Campaign(bench, servers), bench.request(offloading("--fake-exit", "4"))
        with pytest.raises(ServerStartFailed) as caught:
            made.run(request, request)
    (run_dir,) = bench.runs.iterdir()
    assert str(run_dir / layout.SERVER_LOG) in str(caught.value)
    assert (run_dir / layout.SERVER_LOG).read_text() == f"{FATAL_LINE}\n"


class Judge:
    """Gives outcomes in turn, whatever the history is."""

    def __init__(self, *outcomes: Outcome) -> None:
        self._outcomes = list(outcomes)

    def __call__(self, run_dir: Path) -> RunVerdict:
        return RunVerdict(
            run_id=run_dir.name,
            scenario="small",
            server="fake",
            seed=3,
            outcome=self._outcomes.pop(0),
            reasons=["made up"],
            expected_failures=[],
            issue=None,
            results=[],
        )


def test_failed_run_on_a_reused_server_is_repeated_on_a_fresh_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign, "_judge", Judge("as expected", "not as expected", "as expected"))
    text, request = io.StringIO(), bench.request(offloading())
    rows = run_all([request, request], bench.workspace(), Console(file=text, width=200), reuse=True)
    assert [row.verdict.outcome for row in rows] == ["as expected", "not as expected"]
    again = rows[1].again
    assert again is not None
    assert again.verdict.outcome == "as expected"
    first, second, third = (
        read_history(folder) for folder in (rows[0].run_dir, rows[1].run_dir, again.run_dir)
    )
    assert second.plan.preceded_by == again.earlier == (first.plan.run_id,)
    assert third.plan.repeats == second.plan.run_id
    assert third.plan.preceded_by == ()
    assert any(
        third.plan.run_id in line and first.plan.run_id in line for line in text.getvalue().splitlines()
    )


def test_failed_run_on_a_fresh_server_is_not_repeated(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaign, "_judge", Judge("not as expected", "as expected"))
    request = bench.request(offloading())
    rows = run_all([request, request], bench.workspace(), Console(file=io.StringIO()), reuse=True)
    assert [row.again for row in rows] == [None, None]
    assert len(list(bench.runs.iterdir())) == 2


def send_request(port: int, request: bytes | None = None) -> None:
    """One request of nobody's, by default for an answer."""
    body = b'{"prompt": [1], "max_tokens": 1}'
    whole = b"POST /v1/completions HTTP/1.1\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (
        len(body),
        body,
    )
    with closing(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.sendall(request or whole)
        while connection.recv(4096):
            pass
