"""A trace that is misread replays something that never happened."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from history.phase_spec import Poisson, Recorded
from history.scenario import Param, WorkloadSpec
from kvchaos.planning.scenario_file import load_scenario
from loadtests.arrival_schedule import due_times
from loadtests.traces.synthetic import WRITERS, entries
from loadtests.traces.trace_formats import FORMATS, Entry
from loadtests.workloads import build
from loadtests.workloads.trace import PIECE, Trace, TraceFile, TraceSection
from tests.support.conversations import fingerprint, only
from tests.support.fake_server_runs import write_scenario

ROOT = Path(__file__).parents[3]
SAMPLES = ROOT / "scenarios" / "traces"
MS = 1_000_000
SECOND = 1_000_000_000

MOONCAKE = """\
{"timestamp": 0, "input_length": 1030, "output_length": 20, "hash_ids": [7, 8, 9]}
{"timestamp": 1500, "input_length": 1400, "output_length": 30, "hash_ids": [7, 8, 10]}
"""
BURSTGPT = """\
Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
5,1,2.5,ChatGPT,472,18,490,Conversation log
45.5,2,1.0,GPT-4,1087,0,1087,API log
"""
AZURE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,110,27
"""
AZURE_WITH_ZONE = """\
TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 01:00:00.010000+01:00,2399,6
"""
OWN = """\
{"at_s": 0.25, "prompt_tokens": 40, "output_tokens": 5, "blocks": ["a", 2]}
{"at_s": 0.5, "prompt_tokens": 8, "output_tokens": 1}
"""


def file(folder: Path, text: str, kind: str, cut: TraceSection | None = None) -> TraceFile:
    return TraceFile(Path(file_of(folder, text)), FORMATS[kind], cut or TraceSection())


def file_of(folder: Path, text: str) -> str:
    path = folder / "trace"
    path.write_text(text)
    return str(path)


def trace(folder: Path, text: str, kind: str, seed: int = 1, **params: Param) -> Trace:
    given: dict[str, Param] = {"path": file_of(folder, text), "format": kind, **params}
    made = build(WorkloadSpec(kind="trace", params=given), "w", seed)
    assert isinstance(made, Trace)
    return made


def mooncake(count: int, seed: int = 3) -> str:
    return "".join(f"{line}\n" for line in WRITERS["mooncake"](entries(count, seed)))


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        (MOONCAKE, "mooncake", [Entry(0, 1030, 20, (7, 8, 9)), Entry(1500 * MS, 1400, 30, (7, 8, 10))]),
        (BURSTGPT, "burstgpt", [Entry(5 * SECOND, 472, 18), Entry(45_500 * MS, 1087, 0)]),
        (OWN, "own", [Entry(250 * MS, 40, 5, ("a", 2)), Entry(500 * MS, 8, 1)]),
    ],
)
def test_each_trace_format_round_trips(tmp_path: Path, text: str, kind: str, expected: list[Entry]) -> None:
    found = file(tmp_path, text, kind)
    assert [found.entry(index) for index in range(len(found))] == expected


@pytest.mark.parametrize(("text", "gap_us"), [(AZURE, 52_000), (AZURE_WITH_ZONE, 70)])
def test_azures_times_are_dates_with_or_without_a_zone(tmp_path: Path, text: str, gap_us: int) -> None:
    found = file(tmp_path, text, "azure")
    one, other = found.entry(0), found.entry(1)
    assert other.at_ns - one.at_ns == gap_us * 1000
    assert (one.prompt_tokens, one.output_tokens) in [(4808, 10), (2162, 5)]


@pytest.mark.parametrize(
    ("text", "kind", "reason"),
    [
        (MOONCAKE + '{"timestamp": 2000, "input_length"\n', "mooncake", ":3: Input data was truncated"),
        (MOONCAKE.replace("1030", '"1030"'), "mooncake", r":1: Expected `int`, got `str` - at `\$.input_l"),
        (MOONCAKE.replace("1500", "-1"), "mooncake", ":2: earlier than the line before"),
        (MOONCAKE.replace("1400", "0"), "mooncake", ":2: a prompt of 0 tokens"),
        (
            BURSTGPT.replace("Response", "Answer"),
            "burstgpt",
            ":1: no column 'Response tokens'; there are Tim",
        ),
        (BURSTGPT.replace("1087,0", "many,0"), "burstgpt", ":3: Request tokens 'many' is not a number"),
        (BURSTGPT.replace("1087,0", "10.5,0"), "burstgpt", ":3: Request tokens '10.5' is not a whole number"),
        (BURSTGPT.replace("45.5", "nan"), "burstgpt", ":3: Timestamp 'nan' is not a time"),
        (BURSTGPT + "46\n", "burstgpt", ":4: 1 columns"),
        (BURSTGPT + '46,"\n', "burstgpt", ":4: is not CSV"),
        (AZURE.replace("16 18:17:04", "16 18:77:04"), "azure", ":3: TIMESTAMP .* is not a date and time"),
        (OWN.replace("blocks", "block"), "own", ":1: Object contains unknown field `block`"),
        (OWN + "\n", "own", ":3: Input data was truncated"),
        ("", "own", ": no entry in the part"),
        ("", "azure", ":1: no column 'TIMESTAMP'"),
    ],
)
def test_malformed_trace_line_is_named_with_number_and_reason(
    tmp_path: Path, text: str, kind: str, reason: str
) -> None:
    with pytest.raises(ValueError, match=f"trace{reason}"):
        file(tmp_path, text, kind)


def test_trace_entries_are_read_in_any_order(tmp_path: Path) -> None:
    count = 5 * PIECE + 7
    expected = list(entries(count, seed=3))
    found = file(tmp_path, mooncake(count), "mooncake")
    assert [found.entry(index) for index in range(count)] == expected
    order = random.Random(1).sample(range(count), count)
    assert [found.entry(index) for index in order] == [expected[index] for index in order]
    with pytest.raises(IndexError):
        found.entry(count)


def test_worker_reads_its_shard_of_the_trace(tmp_path: Path) -> None:
    expected = list(entries(200, seed=3))
    found = file(tmp_path, mooncake(200), "mooncake")
    assert [found.entry(index) for index in range(1, 200, 3)] == expected[1::3]


def test_trace_section_is_selected_by_time_and_count(tmp_path: Path) -> None:
    made = list(entries(200, seed=3))
    wanted = [entry for entry in made if 20 * SECOND <= entry.at_ns < 50 * SECOND]
    found = file(tmp_path, mooncake(200), "mooncake", TraceSection(from_s=20, to_s=50))
    assert [found.entry(index) for index in range(len(found))] == wanted
    assert len(file(tmp_path, mooncake(200), "mooncake", TraceSection(from_s=20, entries=5))) == 5
    with pytest.raises(ValueError, match="entry"):
        file(tmp_path, mooncake(200), "mooncake", TraceSection(from_s=1e6))


def test_trace_speed_scales_from_the_section_start(tmp_path: Path) -> None:
    workload = trace(tmp_path, BURSTGPT, "burstgpt", speed=100.0)
    assert [workload.offset_ns(number) for number in range(2)] == [0, 405 * MS]


def test_recorded_arrivals_begin_with_the_first_request_of_the_phase(tmp_path: Path) -> None:
    workload = trace(tmp_path, mooncake(50), "mooncake", speed=10.0)
    made = [entry.at_ns for entry in entries(50, seed=3)]
    due = due_times(Recorded(kind="trace"), workload, range(10, 50), 1, "load")
    assert due is not None
    assert [due(index) for index in range(40)] == [round((at - made[10]) / 10) for at in made[10:]]


def test_trace_may_use_a_different_arrival_process(tmp_path: Path) -> None:
    workload = trace(tmp_path, MOONCAKE, "mooncake")
    due = due_times(Poisson(kind="poisson", rate=10), workload, range(2), 1, "load")
    assert due is not None
    assert 0 < due(0) < due(1)


def test_equal_hash_ids_give_equal_blocks_only(tmp_path: Path) -> None:
    workload = trace(tmp_path, MOONCAKE, "mooncake", scale=1 / 16)
    one, other = (only(workload, index).token_ids for index in range(2))
    assert (len(one), len(other)) == (64, 88)
    assert one[:64] == other[:64]
    third = trace(tmp_path, MOONCAKE.replace("[7, 8, 10]", "[7, 5, 10]"), "mooncake", scale=1 / 16)
    assert only(third, 1).token_ids[:32] == one[:32]
    assert only(third, 1).token_ids[32:64] != one[32:64]


def test_prompts_without_hash_ids_share_no_prefix(tmp_path: Path) -> None:
    workload = trace(tmp_path, AZURE, "azure", max_prompt_tokens=100)
    one, other = (only(workload, index) for index in range(2))
    assert (len(one.token_ids), len(other.token_ids)) == (100, 100)
    assert one.token_ids[:8] != other.token_ids[:8]
    assert (one.max_tokens, other.max_tokens) == (10, 27)


def test_tokens_behind_the_hashed_blocks_are_unique_per_request(tmp_path: Path) -> None:
    text = '{"at_s": 0, "prompt_tokens": 40, "output_tokens": 5, "blocks": ["a"]}\n' * 2
    workload = trace(tmp_path, text, "own", block_tokens=16)
    one, other = (only(workload, index).token_ids for index in range(2))
    assert one[:16] == other[:16]
    assert one[16:] != other[16:]
    assert len(one) == len(other) == 40


def test_failed_trace_request_is_replayed_with_one_token(tmp_path: Path) -> None:
    assert only(trace(tmp_path, BURSTGPT, "burstgpt"), 1).max_tokens == 1


def test_lengths_stay_within_the_bounds(tmp_path: Path) -> None:
    workload = trace(tmp_path, mooncake(200), "mooncake", max_prompt_tokens=300, max_output_tokens=50)
    for index in range(200):
        prompt = only(workload, index)
        assert 1 <= len(prompt.token_ids) <= 300
        assert 1 <= prompt.max_tokens <= 50
    assert workload.longest == 350


def test_prompts_depend_on_the_seed_and_not_on_path_or_speed(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    here = trace(tmp_path, mooncake(60), "mooncake")
    there = trace(tmp_path / "other", mooncake(60), "mooncake", speed=9.0)
    assert fingerprint(here) == fingerprint(there)
    assert fingerprint(here) != fingerprint(trace(tmp_path, mooncake(60), "mooncake", seed=2))


@pytest.mark.parametrize("kind", sorted(FORMATS))
def test_trace_samples_are_generated_by_this_project(kind: str) -> None:
    (path,) = SAMPLES.glob(f"{kind}-sample.*")
    made = [f"{line}\n" for line in WRITERS[kind](entries(200, seed=1))]
    assert path.read_text() == "".join(made)
    assert len(TraceFile(path, FORMATS[kind], TraceSection())) == 200


def phase(**changes: object) -> dict[str, object]:
    return {"name": "load", "role": "load", "workload": "w", "requests": 2, "concurrency": 2, **changes}


def test_trace_path_is_relative_to_the_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = scenario(tmp_path, phase(arrivals={"kind": "trace"}))
    monkeypatch.chdir("/")
    spec = load_scenario(path).workloads["w"]
    assert spec.params["path"] == str(tmp_path / "some.jsonl")


def scenario(folder: Path, only_phase: dict[str, object]) -> Path:
    (folder / "some.jsonl").write_text(MOONCAKE)
    params = {"path": "some.jsonl", "format": "mooncake", "scale": 1 / 16}
    return write_scenario(
        folder / "replay.yaml",
        {
            "name": "replay",
            "summary": "A trace.",
            "server": {"gpu_blocks": 40},
            "workloads": {
                "w": {"kind": "trace", "params": params},
                "u": {"kind": "unique", "params": {"prompt_tokens": 16}},
            },
            "phases": [only_phase],
        },
    )
