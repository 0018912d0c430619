"""Run the mutants against a real server: one run per session, each judged like any other run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console

from history.reader import read_history
from history.scenario import Scenario
from kvchaos.campaign.campaign import TrafficInterceptor, run_one
from kvchaos.judging.judge_run import judge_run_dir
from kvchaos.paths import Workspace
from kvchaos.planning.run_plan import RunRequest
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from kvchaos.selftest.kill_matrix import SessionScore, score_alterations, score_session
from kvchaos.selftest.mutants.mutant import Session
from kvchaos.selftest.mutants.sessions import UNTOUCHED
from kvchaos.selftest.mutating_proxy import LOAD, TrafficState, mutating_proxy
from kvchaos.servers.server_registry import ServerEnv

CONTRACT_VIOLATING = "lost-completion"
STALL_S = 5.0
SEED = 1
PROMPTS = 16


def session_scenario(session: Session) -> Scenario:
    """The scenario of a session: enough load that blocks come back from the tier, in a few seconds."""
    if session.contract_violating:
        return load_scenario(find_scenario(CONTRACT_VIOLATING))
    shape = {"prefixes": 8, "prefix_tokens": 320, "suffix_tokens": 20, "prompts": PROMPTS}
    content: dict[str, object] = {
        "name": f"sight-{session.name}",
        "summary": f"Can the oracles see? {', '.join(mutant.what for mutant in session.mutants)}".strip(),
        "server": {"gpu_blocks": 40, "reserve_full_prompt": False, "audit": True, **session.server},
        "workloads": {
            "shared": {"kind": "shared_prefix", "params": {**shape, "min_output": 12, "max_output": 32}}
        },
        "phases": [
            _phase("golden", "golden", PROMPTS, concurrency=2),
            _phase(LOAD, "chaos" if session.faults else "load", 3 * PROMPTS, concurrency=6),
            *([_phase("healed", "healed", PROMPTS, concurrency=6)] if session.faults else []),
        ],
        "faults": session.faults,
        "limits": {"stall_s": STALL_S, "drain_s": STALL_S, "client": session.client, **session.limits},
        "performance": {LOAD: session.load} if session.load else {},
    }
    return Scenario.model_validate(content, strict=False)


def _phase(name: str, role: str, requests: int, *, concurrency: int) -> dict[str, object]:
    return {
        "name": name,
        "role": role,
        "workload": "shared",
        "requests": requests,
        "concurrency": concurrency,
    }


def run_sessions(
    sessions: Sequence[Session], server: ServerEnv, workspace: Workspace, console: Console
) -> Iterator[SessionScore]:
    """Run and score each session; after the untouched one, the alterations of its history.

    Raises UsageError; ends early when a signal cut a run short.
    """
    for session in sessions:
        request = RunRequest(
            scenario=session_scenario(session),
            server=server,
            seed=SEED,
            workers=1,
            prometheus=session.prometheus,
        )
        run_dir, interrupted = run_one(
            request, workspace, console, None if session.contract_violating else _interceptor(session)
        )
        if interrupted:
            return
        yield score_session(session, judge_run_dir(run_dir))
        if session.name == UNTOUCHED:
            yield score_alterations(read_history(run_dir))


def _interceptor(session: Session) -> TrafficInterceptor:
    mutations = [mutation for mutant in session.mutants for mutation in mutant.mutations]
    return lambda launch, run_dir: mutating_proxy(mutations, TrafficState(run_dir, launch.port))
