"""Synthetic histories in which a fault ends the server in mid-load, and a further life of it follows."""

from __future__ import annotations

from msgspec.structs import replace

from history.records import Evidence
from tests.support.histories import FIRST_LEADER, Run, clean_run
from tests.support.synthetic_records import MS, SECOND, failure, fault, good_request, make_plan

FATAL_LINE = "RuntimeError: EngineCore encountered a fatal error"
"""What the pretended server writes as it ends."""
CODES = {"kill": -9, "stop": 0, "engine_kill": 1}


def killed_run(kind: str = "kill") -> Run:
    """A fault of the plan ends the server while the third request of the chaos phase is on its way.

    The next life answers the fourth, and everything after it.
    """
    return clean_run(make_plan(faults=(fault(kind),)), midst=lambda run: end_and_revive(run, kind))


def end_and_revive(run: Run, kind: str) -> None:
    """Let a fault end the server, and start its next incarnation."""
    victim = good_request(f"chaos-{len(run.requests)}", "prompt-2", "chaos", run.now_ns)
    run.pass_time(30 * MS)
    struck_ns, lines, code = run.now_ns, len(run.log), CODES[kind]
    run.pass_time(10 * MS)
    run.requests.append(replace(victim, **failure("ReadError", "connection reset", None), end_us=40_000))
    evidence: Evidence = {"pid": run.leader, "code": code, "log_line": lines}
    evidence |= {"begun_ns": struck_ns, "struck_ns": struck_ns}
    run.fire_at(run.now_ns, "f1", kind, **evidence)
    run.faults[-1] = replace(run.faults[-1], role="outside", pid=5, site="answered")
    run.log.append(FATAL_LINE)
    run.event("server_exit", code=code, pid=run.leader)
    run.leader = FIRST_LEADER + 1
    run.event("server_start", pid=run.leader, port=8123, log_line=len(run.log))
    run.load_module()
    run.log += ["INFO starting", "INFO ready"]
    run.pass_time(30 * SECOND)
    run.event("server_ready", seconds=30.0)
    run.server = dict.fromkeys(run.server, 0.0)
    run.sent_prompts = set()
    run.incarnation += 31
    run.scrape()
