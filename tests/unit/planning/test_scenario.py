"""A slip in a scenario file must be one clear line, never a run of something else than was meant."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from history.expected_findings import Expectation
from history.scenario import StackName
from kvchaos.bugs.bug_catalogue import expectation_for, known_bugs
from kvchaos.errors import UsageError
from kvchaos.planning.scenario_file import check_stack, find_scenario, load_scenario
from tests.support.fake_server_runs import write_scenario
from tests.unit.planning.test_messages_scenario import assert_one_line

GOOD: dict[str, Any] = {
    "name": "good",
    "summary": "A scenario without a fault in it.",
    "server": {"gpu_blocks": 40},
    "workloads": {"w": {"kind": "unique", "params": {"prompt_tokens": 64, "max_output": 32}}},
    "phases": [
        {"name": "golden", "role": "golden", "workload": "w", "requests": 4, "concurrency": 1},
        {"name": "chaos", "role": "chaos", "workload": "w", "requests": 8, "concurrency": 4},
    ],
    "faults": [
        {"id": "slow", "kind": "copy_delay", "trigger": {"every": 2}, "params": {"min_ms": 1, "max_ms": 5}}
    ],
    "expect": [{"releases": ">=0.16,<0.19", "fail": ["counters"], "issue": "vllm#36533"}],
}

Change = Callable[[dict[str, Any]], None]


def pause(trigger: dict[str, object], **params: object) -> dict[str, object]:
    return {"id": "f", "kind": "pause", "trigger": trigger, "params": params}


def put(*keys: str | int, value: object) -> Change:
    """Set one value of the good scenario."""

    def change(content: dict[str, Any]) -> None:
        at: Any = content
        for step in keys[:-1]:
            at = at[step]
        at[keys[-1]] = value

    return change


def drop(*keys: str | int) -> Change:
    def change(content: dict[str, Any]) -> None:
        at: Any = content
        for step in keys[:-1]:
            at = at[step]
        del at[keys[-1]]

    return change


def bounds(phase: str, **given: object) -> Change:
    """Give bounds on the speed of a phase, and those on the client that go with them."""

    def change(content: dict[str, Any]) -> None:
        content["performance"] = {phase: given}
        content["limits"] = {"client": {"event_loop_lag_ms": 50.0, "schedule_lag_ms": 50.0}}

    return change


def again(role: str, **given: object) -> Change:
    """The load of the second phase once more, with bounds on its speed."""

    def change(content: dict[str, Any]) -> None:
        content["phases"].append({**content["phases"][1], "name": "again", "role": role})
        bounds("again", **given)(content)

    return change


BAD: dict[str, tuple[Change, str]] = {
    "unknown key at the top": (put("sumary", value="x"), r"sumary: unknown key; did you mean summary\?"),
    "unknown key below": (
        put("server", "gpu_block", value=1),
        r"server\.gpu_block: unknown key; did you mean gpu_blocks\?",
    ),
    "unknown key in a list": (put("phases", 1, "rate", value=1), r"phases\.1\.rate: unknown key"),
    "unknown arrivals": (
        put("phases", 0, "arrivals", value={"kind": "poison"}),
        r"arrivals: .*poison",
    ),
    "a phase that ends within a conversation": (
        put("workloads", "w", value={"kind": "chat", "params": {"turns": 3}}),
        r"phases\.golden: a conversation of w is 3 requests",
    ),
    "unknown key of arrivals": (
        put("phases", 0, "arrivals", value={"kind": "constant", "rate": 2, "size": 1}),
        r"phases\.0\.arrivals\.constant\.size: unknown key; known are kind, rate",
    ),
    "unknown limit": (
        put("limits", value={"drain": 1}),
        r"limits\.drain: unknown key; did you mean drain_s\?",
    ),
    "string for int": (put("server", "gpu_blocks", value="40"), r"server\.gpu_blocks: .*integer"),
    "bool for int": (put("server", "gpu_blocks", value=True), r"server\.gpu_blocks: .*integer"),
    "float for int": (put("phases", 0, "requests", value=4.0), r"phases\.0\.requests: .*integer"),
    "int for bool": (put("server", "offload", value=1), r"server\.offload: .*boolean"),
    "number for string": (put("summary", value=5), r"summary: .*string"),
    "list for mapping": (put("server", value=[]), r"server: must be keys with values"),
    "no value": (put("server", "gpu_blocks", value=None), r"server\.gpu_blocks: .*integer"),
    "not a number": (put("limits", value={"stall_s": float("nan")}), r":\d+: number \.nan is not allowed"),
    "missing key": (drop("server", "gpu_blocks"), r"server\.gpu_blocks: is required and missing"),
    "missing part": (drop("workloads"), r"workloads: is required and missing"),
    "impossible name": (put("name", value="Good One"), r"name: .*pattern"),
    "unknown role": (put("phases", 0, "role", value="gold"), r"phases\.0\.role: .*'golden'"),
    "no phase": (put("phases", value=[]), r"phases: .*at least 1"),
    "phase without its workload": (
        put("phases", 0, "workload", value="v"),
        r"phase golden: no workload named v",
    ),
    "two phases of a name": (put("phases", 1, "name", value="golden"), r"two phases have the same name"),
    "a phase of the suite's own name": (put("phases", 1, "name", value="crowd"), r"of kvchaos itself"),
    "faults and no phase for them": (put("phases", 1, "role", value="load"), r"the role chaos"),
    "faults without the chaos module": (put("server", "chaos", value=False), r"offload and chaos on"),
    "faults without offloading": (put("server", "offload", value=False), r"offload and chaos on"),
    "loads within a step without the chaos module": (
        put("server", value={"gpu_blocks": 40, "chaos": False, "sync_loads": True}),
        r"server\.sync_loads needs offload and chaos on",
    ),
    "audit mode without a ledger": (
        put("server", value={"gpu_blocks": 40, "ledger": False, "audit": True}),
        r"server\.ledger is off, but faults and audit mode need it",
    ),
    "two faults of an id": (
        put("faults", value=[*GOOD["faults"], *GOOD["faults"]]),
        r"two faults have the same id",
    ),
    "unknown workload kind": (
        put("workloads", "w", "kind", value="poisson"),
        r"workloads\.w: .*no kind 'poisson'; known are .*unique",
    ),
    "unknown workload parameter": (
        put("workloads", "w", "params", "prompt_token", value=5),
        r"workloads\.w: .*prompt_token",
    ),
    "workload parameter of a wrong type": (
        put("workloads", "w", "params", "prompt_tokens", value="64"),
        r"workloads\.w: .*prompt_tokens: .*integer",
    ),
    "workload parameter out of bounds": (
        put("workloads", "w", "params", "prompt_tokens", value=0),
        r"workloads\.w: .*prompt_tokens: .*greater",
    ),
    "workload parameters that contradict": (
        put("workloads", "w", "params", "min_output", value=33),
        r"workloads\.w: .*min_output is larger than max_output",
    ),
    "a request longer than the context": (
        put("workloads", "w", "params", "prompt_tokens", value=737),
        r"workloads\.w: .*up to 769 tokens, server\.max_model_len is 768",
    ),
    "unknown fault kind": (
        put("faults", 0, "kind", value="meteor"),
        r"faults\.slow: unknown fault meteor; known are .*bit_flip",
    ),
    "a pause as long as a stall": (
        put("faults", 0, value=pause({"nth": [1]}, duration_s=15.0)),
        r"faults\.f: duration_s must be below limits\.stall_s \(15\)",
    ),
    "a pause that goes by blocks": (
        put("faults", 0, value=pause({"key_share": 0.5})),
        r"faults\.f: pause has no block keys",
    ),
    "a pause that counts what nobody counts": (
        put("faults", 0, value=pause({"nth": [1]}, trigger_on="day")),
        r"faults\.f: pause: trigger_on must be one of sent, answered, second",
    ),
    "unknown fault parameter": (
        put("faults", 0, "params", "ms", value=5),
        r"faults\.slow: copy_delay has no parameter ms; known are .*min_ms",
    ),
    "fault parameter out of bounds": (
        put("faults", 0, "params", "max_ms", value=60_001),
        r"faults\.slow: copy_delay: max_ms must lie in 0 to 60000",
    ),
    "fault parameter of a wrong type": (
        put("faults", 0, "params", "max_ms", value="5"),
        r"faults\.slow: copy_delay: max_ms must be a number",
    ),
    "bounds on a phase that is not there": (
        bounds("calm", ttft_p99_ms=500.0),
        r"performance\.calm: no such phase",
    ),
    "no bound": (bounds("chaos"), r"performance\.chaos: .*at least one bound"),
    "unknown bound": (bounds("chaos", ttft_ms=5.0), r"performance\.chaos\.ttft_ms: unknown key"),
    "bound of nothing": (bounds("chaos", ttft_p99_ms=0.0), r"performance\.chaos\.ttft_p99_ms: .*greater"),
    "comparison with nothing": (bounds("chaos", tokens_ratio=0.8), r"tokens_ratio and recover_s need like"),
    "like for nothing": (
        bounds("chaos", like="golden", ttft_p99_ms=5.0),
        r"like goes with ttft_ratio, tokens_ratio or recover_s",
    ),
    "like a later phase": (
        bounds("golden", like="chaos", tokens_ratio=0.8),
        r"performance\.golden: no phase named chaos comes before it",
    ),
    "like another load": (
        bounds("chaos", like="golden", tokens_ratio=0.8),
        r"performance\.chaos: golden differs in workload, requests, concurrency or arrivals",
    ),
    "recovery before healing": (
        again("load", like="chaos", recover_s=5.0),
        r"performance\.again: recover_s is for phases with the role healed",
    ),
    "bounds on speed and none on the client": (
        put("performance", value={"chaos": {"ttft_p99_ms": 500.0}}),
        r"performance needs limits\.client\.event_loop_lag_ms and schedule_lag_ms",
    ),
    "a requirement on a phase that is not there": (
        put("requires", value=[{"phase": "calm", "preemptions": 1}]),
        r"requires: no phase named calm",
    ),
    "a requirement of nothing": (
        put("requires", value=[{"phase": "chaos"}]),
        r"requires\.0: .*give preemptions, tier_hits, or both",
    ),
    "a requirement of an unknown count": (
        put("requires", value=[{"phase": "chaos", "loads": 1}]),
        r"requires\.0\.loads: unknown key",
    ),
    "an allowed line without a reason": (
        put("allowed_log_lines", value=[{"pattern": "AssertionError"}]),
        r"allowed_log_lines\.0\.why: is required and missing",
    ),
    "an allowed line that is no pattern": (
        put("allowed_log_lines", value=[{"pattern": "(", "why": "x"}]),
        r"allowed_log_lines\.0\.pattern: .*no regular expression",
    ),
    "an allowance for every line": (
        put("allowed_log_lines", value=[{"pattern": ".*", "why": "x"}]),
        r"allowed_log_lines\.0\.pattern: .*allows every line",
    ),
    "two triggers at once": (
        put("faults", 0, "trigger", "probability", value=0.5),
        r"faults\.0\.trigger: .*exactly one of probability, nth, every",
    ),
    "a firing beyond the numbers of a journal": (
        put("faults", 0, "trigger", value={"nth": [2**63 - 1, -1]}),
        r"faults\.0\.trigger\.nth\.1: .*greater than or equal to 0",
    ),
    "a schedule with a number that no journal holds": (
        put("faults", value=f"nth {2**63} miss"),
        r"faults: nth\.0: .*less than 9223372036854775808$",
    ),
    "no trigger": (put("faults", 0, "trigger", value={"limit": 3}), r"faults\.0\.trigger: .*exactly one"),
    "offset without its partner": (
        put("faults", 0, "trigger", value={"nth": [1], "offset": 2}),
        r"faults\.0\.trigger: .*offset goes with every",
    ),
    "a probability above one": (
        put("faults", 0, "trigger", value={"probability": 1.5}),
        r"faults\.0\.trigger\.probability: .*less than or equal to 1",
    ),
    "a state that no request has": (
        put("faults", 0, "trigger", value={"every": 1, "states": ["sleeping"]}),
        r"faults\.0\.trigger\.states\.0: .*'queued', 'loading'",
    ),
    "no state at all": (
        put("faults", 0, "trigger", value={"every": 1, "states": []}),
        r"faults\.0\.trigger\.states: .*at least 1",
    ),
    "a state twice": (
        put("faults", 0, "trigger", value={"every": 1, "states": ["decode", "decode"]}),
        r"faults\.0\.trigger: .*states has a state twice",
    ),
    "states alone": (
        put("faults", 0, "trigger", value={"states": ["decode"]}),
        r"faults\.0\.trigger: .*exactly one of",
    ),
    "states of several requests at once": (
        put(
            "faults",
            0,
            value={
                "id": "order",
                "kind": "completion_reorder",
                "trigger": {"every": 1, "states": ["loading"]},
            },
        ),
        r"faults\.order: completion_reorder concerns several requests; states do not go with it",
    ),
    "blocks that no long request fits into": (
        put("server", "gpu_blocks", value=24),
        r"server\.gpu_blocks 24: .*can never fit; use 25 or more",
    ),
    "a block size the CPU has not": (put("server", "block_size", value=48), r"server\.block_size 48"),
    "a flag that is a setting": (
        put("server", "extra_args", value=["--port", "1"]),
        r"server\.extra_args: --port",
    ),
    "an oracle that is none": (put("expect", 0, "fail", value=["counter"]), r"no oracle named counter"),
    "a rule that is none": (
        put("expect", 0, "fail", value=["counters/decresed"]),
        r"no rule named counters/decresed; see: kvchaos oracles --rules",
    ),
    "a collateral oracle that is none": (
        put("expect", 0, "collateral", value=["log"]),
        r"no oracle named log",
    ),
    "a version range that is none": (
        put("expect", 0, "releases", value="0.16 to 0.18"),
        r"expect: releases '0\.16 to 0\.18' is not a version range",
    ),
    "an expected failure without its issue": (drop("expect", 0, "issue"), r"expect\.0: .*names its issue"),
    "collateral of nothing": (
        put("expect", 0, value={"releases": ">=0", "collateral": ["logs"]}),
        r"expect\.0: .*collateral goes with fail",
    ),
}


@pytest.mark.parametrize(("change", "problem"), BAD.values(), ids=BAD)
def test_scenario_error_is_one_line_with_file_key_and_problem(
    tmp_path: Path, change: Change, problem: str
) -> None:
    content = copy.deepcopy(GOOD)
    change(content)
    path = write_scenario(tmp_path / "slip.yaml", content)
    with pytest.raises(UsageError, match=problem) as caught:
        load_scenario(path)
    assert_one_line(caught.value, path)


def test_base_scenario_of_the_error_cases_is_valid(tmp_path: Path) -> None:
    assert load_scenario(write_scenario(tmp_path / "good.yaml", GOOD)).name == "good"


def test_bounds_on_a_phase_may_compare_it_with_an_earlier_one_of_the_same_load(tmp_path: Path) -> None:
    content = copy.deepcopy(GOOD)
    again("healed", ttft_p99_ms=500.0, like="chaos", tokens_ratio=0.8, recover_s=5.0)(content)
    scenario = load_scenario(write_scenario(tmp_path / "good.yaml", content))
    assert scenario.performance["again"].tokens_ratio == 0.8


def test_first_scenario_error_counts_the_others(tmp_path: Path) -> None:
    content = {**GOOD, "sumary": "x", "fault": []}
    with pytest.raises(UsageError, match=r" 1 more\)$"):
        load_scenario(write_scenario(tmp_path / "slips.yaml", content))


def test_scenario_path_is_used_unchanged() -> None:
    assert find_scenario("own/mine.yaml") == Path("own/mine.yaml")


def expectations(tmp_path: Path, *entries: dict[str, Any]) -> Callable[[str], Expectation]:
    scenario = load_scenario(write_scenario(tmp_path / "expecting.yaml", {**GOOD, "expect": list(entries)}))
    return lambda release: expectation_for(scenario, Version(release), known_bugs())


SEED_BUG = {"releases": ">=0.16,<0.19", "fail": ["counters"], "issue": "vllm#36533"}
LATER = {"releases": ">=0.18", "fail": ["logs"], "issue": "later"}


@pytest.mark.parametrize(
    ("release", "fails"),
    [
        ("0.15.1", ()),
        ("0.16.0", ("counters",)),
        ("0.18.0", ("counters",)),  # both speak of it: the first counts
        ("0.18.1.post1", ("counters",)),
        ("0.18.0rc1", ("counters",)),
        ("0.19.0", ("logs",)),
        ("0.19.0rc1", ("logs",)),
        ("0.33.0.dev5", ("logs",)),
    ],
)
def test_first_expectation_that_matches_the_release_applies(
    tmp_path: Path, release: str, fails: tuple[str, ...]
) -> None:
    assert expectations(tmp_path, SEED_BUG, LATER)(release).fail == fails


def test_without_an_expectation_every_oracle_has_to_pass(tmp_path: Path) -> None:
    assert expectations(tmp_path)("0.32.0.post1") == Expectation(releases="==0.32.0.post1")


def test_faults_from_outside_go_with_any_server(tmp_path: Path) -> None:
    content = copy.deepcopy(GOOD)
    content["server"] |= {"offload": False, "chaos": False}
    content["faults"] = [pause({"nth": [1]})]
    load_scenario(write_scenario(tmp_path / "s.yaml", content))


@pytest.mark.parametrize("stack", ["local", "compose-cpu"])
def test_chats_are_sent_to_the_tiny_model_wherever_it_runs(stack: StackName) -> None:
    check_stack(load_scenario(find_scenario("chat-completions")), stack)
    assert stack in load_scenario(find_scenario("chat-completions")).stacks
