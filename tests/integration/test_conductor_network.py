"""Whole runs against a fake server whose line is struck: the load feels it, and nothing else does.

They test our conducting only; nothing here speaks of vLLM.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from history.events import FaultsHealed
from history.protocol.outside import AbortStorm, NetworkCut, WrongRequestsSent
from history.reader import read_plan
from history.records import FaultRecord
from history.verdict import Verdict
from tests.integration.test_conductor_run import Conducted, conduct
from tests.support.fake_server_runs import scenario

SLOW = "--fake-token-s=0.03"


def struck(kind: str, **params: Any) -> dict[str, Any]:
    """The small scenario with a fault in its load, some 30 requests long."""
    content = scenario(SLOW, load=32)
    (load,) = (phase for phase in content["phases"] if phase["name"] == "load")
    load["role"] = "chaos"
    trigger = {"nth": [4]}
    content["faults"] = [
        {"id": "line", "kind": kind, "trigger": trigger, "params": {"trigger_on": "sent", **params}}
    ]
    return content


def journal(done: Conducted, event: str) -> list[FaultRecord]:
    return [line for line in done.history.faults if line.event == event]


def test_network_cut_affects_load_requests_only(tmp_path: Path) -> None:
    done = conduct(tmp_path, struck("network_cut", duration_s=0.2))
    (fired,) = journal(done, "fired")
    assert isinstance(fired.firing, NetworkCut)
    cut = fired.firing.requests
    failed = {record.id for record in done.history.requests if record.outcome == "error"}
    assert cut
    assert set(cut) <= failed
    assert done.oracle("outcomes") is Verdict.PASS
    assert done.oracle("server-alive") is Verdict.PASS
    assert done.oracle("counters") is Verdict.PASS
    (healed,) = done.history.events_of(FaultsHealed)
    assert healed.data.confirmed is True
    plan = read_plan(done.run_dir)
    assert plan.load_url not in (None, plan.base_url)


def test_load_without_network_faults_bypasses_the_proxy(tmp_path: Path) -> None:
    done = conduct(tmp_path, scenario())
    assert read_plan(done.run_dir).load_url is None
    assert not (done.run_dir / "network.jsonl").exists()


def test_a_stall_is_waited_out(tmp_path: Path) -> None:
    done = conduct(tmp_path, struck("network_stall", duration_s=0.8))
    assert {record.outcome for record in done.history.requests} == {"ok"}
    assert done.oracle("faults-fired") is Verdict.PASS
    assert done.oracle("progress") is Verdict.PASS


def test_crowd_runs_beside_the_load_and_aborts(tmp_path: Path) -> None:
    few = {"clients": 5, "prompt_tokens": 32, "max_tokens": 100, "duration_s": 0.5}
    done = conduct(tmp_path, struck("abort_storm", **few))
    (fired,) = journal(done, "fired")
    storm = fired.firing
    assert isinstance(storm, AbortStorm)
    assert (storm.sent, storm.answered) == (5, 0)
    crowd = [record for record in done.history.requests if record.phase == "crowd"]
    assert [record.id for record in crowd] == storm.requests
    assert {record.outcome for record in crowd} == {"aborted"}
    assert done.oracle("outcomes") is Verdict.PASS
    # Nobody is there who would tell whom the server gave up.
    assert done.oracle("faults-fired") is Verdict.UNKNOWN
    # The fake never counts who has left, as the real one does not.
    assert done.oracle("accounting") is Verdict.FAIL


def test_malformed_requests_are_sent_beside_the_load_and_recorded(tmp_path: Path) -> None:
    done = conduct(tmp_path, struck("malformed_request", form="no_path"))
    (fired,) = journal(done, "fired")
    assert isinstance(fired.firing, WrongRequestsSent)
    assert (fired.firing.forms, fired.firing.statuses) == (["no_path"], [404])
    assert done.oracle("faults-fired") is Verdict.PASS
    assert {record.outcome for record in done.history.requests} == {"ok"}
