"""A comparison of clients is worth what its figures are: of the right stretch and the right requests."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from benchmarks.clients import __main__ as bench
from benchmarks.clients import client_tables
from benchmarks.clients.__main__ import ClientComparison
from benchmarks.clients.client_figures import ClientFigures, ClientRunFailed, ClientRunRecords, client_figures
from benchmarks.clients.client_load import TOKENS, ClientLoad, ClientObservation, write_prompts
from benchmarks.clients.client_run import MeasuredClient
from benchmarks.clients.other_tools import TOOLS, LoadTool, ToolCall
from benchmarks.process_watch import ProcessWatch, UsageSample, used_s
from history.latency import Quantiles
from kvchaos.paths import LogFolder
from loadtests.mock.mock_process import MockServer, SentRecord, Settings

S, MS = 1_000_000_000, 1_000_000
WARM_S = 2.0


def sent(number: int, *, left: bool = False) -> SentRecord:
    """One a second, from second 1 on: three events, 10 ms apart, the first one after 10 ms, a little late."""
    received = (number + 1) * S
    due = [received + (index + 1) * 10 * MS for index in range(3)]
    return SentRecord(
        id=f"r-{number}",
        connection=0,
        prompt_tokens=1,
        received_ns=received,
        due_ns=due,
        sent_ns=[at + MS // 10 for at in due],
        event_tokens=[1, 1, 1],
        end="whole",
        end_ns=due[-1] + MS,
        left=left,
        blocked=0,
    )


def observation(record: SentRecord, late_ms: float = 2.0, gap_ms: float = 11.0) -> ClientObservation:
    return ClientObservation(record.id, record.sent_ns[0] + late_ms * MS, (gap_ms, 10.0))


def sample(second: float, *cpu: float) -> UsageSample:
    return UsageSample(round(second * S), dict(enumerate(cpu)), 100 << 20)


RECORDS = [sent(number) for number in range(10)]
TAKEN = ClientRunRecords(
    observed=[observation(record) for record in RECORDS],
    sent={record.id: record for record in RECORDS},
    samples=[sample(at / 2, at * 0.5, 1.0) for at in range(30)],
    mock_samples=[[sample(at / 2, at * 0.1) for at in range(30)], [sample(at / 2, 0.0) for at in range(30)]],
)


def test_figures_exclude_warm_up_and_ramp_down() -> None:
    found = client_figures("c", "l", TAKEN, WARM_S)
    assert found.window_s == 7.0
    assert found.requests_per_s == pytest.approx(1.0)
    assert found.events_per_s == pytest.approx(3.0)
    assert found.cpu == pytest.approx(1.0)
    assert found.events_per_cpu_s == pytest.approx(3.0)
    assert found.mock_cpu == pytest.approx(0.2)
    assert found.memory_mib == 100
    assert found.mock_late_ms.median == pytest.approx(0.1)


def test_client_errors_are_relative_to_server_times() -> None:
    found = client_figures("c", "l", TAKEN, WARM_S)
    assert found.ttft_error_ms.median == pytest.approx(2.0)
    assert found.itl_error_ms.median == pytest.approx(0.0)
    assert found.itl_error_ms.p99 == pytest.approx(1.0)


def test_client_with_mean_itl_is_compared_by_the_mean() -> None:
    means = [replace(one, gaps_ms=(), mean_gap_ms=10.5) for one in TAKEN.observed]
    assert client_figures(
        "c", "l", replace(TAKEN, observed=means), WARM_S
    ).itl_error_ms.median == pytest.approx(0.5)


def test_client_with_missing_answers_gives_no_figures() -> None:
    with pytest.raises(ClientRunFailed, match=r"7 .* 6 "):
        client_figures("c", "l", replace(TAKEN, observed=list(TAKEN.observed)[:-2]), WARM_S)


def test_client_with_a_lost_event_gives_no_figures() -> None:
    short = [replace(one, gaps_ms=one.gaps_ms[:1]) for one in TAKEN.observed]
    with pytest.raises(ClientRunFailed, match=r"2 .* 1$"):
        client_figures("c", "l", replace(TAKEN, observed=short), WARM_S)


def test_aborted_answer_may_be_missing_from_client_figures() -> None:
    broken = {record.id: record for record in [*RECORDS[:-3], sent(7, left=True), *RECORDS[-2:]]}
    observed = [one for one in TAKEN.observed if one.id != "r-7"]
    assert (
        client_figures("c", "l", replace(TAKEN, observed=observed, sent=broken), WARM_S).requests_per_s < 1.0
    )


@pytest.mark.parametrize("records", [RECORDS[:3], []])
def test_load_without_a_steady_interval_gives_no_figures(records: list[SentRecord]) -> None:
    with pytest.raises(ClientRunFailed):
        client_figures("c", "l", replace(TAKEN, sent={record.id: record for record in records}), WARM_S)


def test_cpu_of_short_lived_processes_is_counted() -> None:
    samples = [
        UsageSample(0, {1: 5.0, 2: 1.0}, 0),
        UsageSample(1, {1: 6.0, 2: 3.0, 3: 0.5}, 0),
        UsageSample(2, {1: 7.0, 2: 0.0, 3: 2.0}, 0),
    ]
    assert used_s(samples) == 2.0 + 2.0 + 2.0


def test_client_cpu_includes_its_child_processes() -> None:
    spin = "import time\nwhile time.process_time() < 0.7: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {spin!r}])"
    with subprocess.Popen([sys.executable, "-c", parent]) as process, ProcessWatch(process.pid) as watch:
        process.wait()
    assert max(len(one.cpu_s) for one in watch.samples) == 2
    assert used_s(watch.samples) > 0.1


def test_mock_servers_on_one_port_give_unique_request_ids(tmp_path: Path) -> None:
    with (
        MockServer(Settings(), tmp_path / "a.jsonl", shared_port=0) as one,
        MockServer(Settings(), tmp_path / "b.jsonl", shared_port=one.port) as other,
    ):
        assert one.url == other.url
        body = json.dumps({"prompt": "x", "max_tokens": 1})
        for _ in range(20):
            command = "import sys, urllib.request as u; u.urlopen(sys.argv[1], sys.argv[2].encode()).read()"
            subprocess.run([sys.executable, "-c", command, f"{one.url}/v1/completions", body], check=True)
        wait_s = time.monotonic() + 10
        while len(one.sent()) + len(other.sent()) < 20 and time.monotonic() < wait_s:
            time.sleep(0.05)
        assert len(one.sent() | other.sent()) == 20


LOAD = ClientLoad("l", gap_ms=10.0, at_once=4, seconds=3.0, requests=12)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name.split()[0])
@pytest.mark.parametrize("rate", [None, 7.5])
def test_tool_command_has_load_server_and_tokenizer(
    tool: LoadTool, rate: float | None, tmp_path: Path
) -> None:
    call = ToolCall(replace(LOAD, rate=rate), "http://127.0.0.1:9", Path("/e/bin/python"), tmp_path, tmp_path)
    command = " ".join(map(str, tool.command(call)))
    assert all(argument in command for argument in ("http://127.0.0.1:9", str(tmp_path), "4"))
    assert ("7.5" in command) == (rate is not None)
    prompts = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    assert all(TOKENS in prompt.values() for prompt in prompts)


def test_prompt_file_has_no_duplicates(tmp_path: Path) -> None:
    lines = write_prompts(tmp_path / "p.jsonl", "prompt", "tokens").read_text().splitlines()
    assert len(set(lines)) == len(lines)


def read(name: str, folder: Path) -> list[ClientObservation]:
    (tool,) = [tool for tool in TOOLS if tool.name.startswith(name)]
    return list(tool.read(folder))


def near(seconds: float) -> object:
    return pytest.approx(seconds * S, abs=50 * MS)


def test_times_of_guidellm_are_read_as_of_the_monotonic_clock(tmp_path: Path) -> None:
    now, mono = time.time(), time.monotonic()
    times = {"first_token_iteration": now, "last_token_iteration": now + 1.27, "token_iterations": 128}
    request = {"response_id": "cmpl-mock-1-2", "info": {"timings": times}}
    result = {"benchmarks": [{"requests": {"successful": [request]}}]}
    (tmp_path / "result.json").write_text(json.dumps(result))
    (one,) = read("guidellm", tmp_path)
    assert (one.id, one.first_ns) == ("mock-1-2", near(mono))
    assert one.mean_gap_ms == pytest.approx(10.0)


def test_times_of_aiperf_are_read_and_cancelled_requests_passed_over(tmp_path: Path) -> None:
    now_ns, mono = time.time_ns(), time.monotonic()
    metrics = {"time_to_first_token": {"value": 500.0}, "inter_chunk_latency": {"value": [10.0] * TOKENS}}
    about = {"x_request_id": "a", "request_start_ns": now_ns, "was_cancelled": False}
    lines = [
        {"metadata": about, "metrics": metrics},
        {"metadata": about | {"x_request_id": "b", "was_cancelled": True}, "metrics": metrics},
    ]
    (tmp_path / "profile_export.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (one,) = read("aiperf", tmp_path)
    assert (one.id, one.first_ns, one.gaps_ms) == ("a", near(mono + 0.5), (10.0,) * (TOKENS - 1))


def test_times_of_vllm_are_read_and_failed_requests_passed_over(tmp_path: Path) -> None:
    result = {
        "start_times": [100.0, 101.0],
        "ttfts": [0.5, 0.0],
        "itls": [[0.01] * 127, []],
        "errors": ["", "refused"],
    }
    (tmp_path / "result.json").write_text(json.dumps(result))
    (one,) = read("vllm", tmp_path)
    assert one.id == "bench-0"
    assert one.first_ns == pytest.approx(100.5 * S)
    assert one.gaps_ms == pytest.approx((10.0,) * 127)


def found(client: str, events_per_cpu_s: float, p99: float = 1.0, load: str = "paced") -> ClientFigures:
    spread = Quantiles(0.5, p99)
    return ClientFigures(
        client=client,
        load=load,
        window_s=5.0,
        requests_per_s=50.0,
        events_per_s=6400.0,
        events_per_cpu_s=events_per_cpu_s,
        cpu=1.0,
        memory_mib=100.0,
        ttft_error_ms=spread,
        itl_error_ms=spread,
        mock_cpu=0.3,
        mock_late_ms=spread,
    )


def a_round(openai: float, lean: float, p99: float = 1.0) -> Sequence[ClientFigures]:
    return [
        found("guidellm 1", 4000, p99=8.0),
        found("aiperf 1", 5000, p99=9.0),
        found("vllm bench serve 1", 50_000),
        found("kvchaos openai", openai, p99),
        found("kvchaos lean", lean, p99),
    ]


def test_speed_ratio_is_against_the_faster_competitor() -> None:
    openai, lean = client_tables.speed_ratios(
        [a_round(20_500, 70_000), a_round(19_000, 80_000), a_round(21_000, 60_000)], "paced"
    )
    assert (openai.rounds, openai.met) == ((4.1, 3.8, 4.2), True)
    assert (lean.rounds, lean.met) == ((14.0, 16.0, 12.0), False)
    text = "".join(client_tables.speed_lines([openai, lean]))
    assert "4.1 (3.8 to 4.2) times" in text
    assert "4: yes\n" in text
    assert "15: no\n" in text


@pytest.mark.parametrize(
    ("p99", "verdict"),
    [
        (4.0, ": yes; "),
        (6.0, ": no; "),
        (8.5, "8.00, aiperf 1 9.00): no\n"),
    ],
)
def test_accuracy_verdict_has_a_bound_and_a_comparison(p99: float, verdict: str) -> None:
    assert verdict in client_tables.accuracy_line([a_round(1, 1, p99)], "paced", "kvchaos openai")


def bench_of(failing: str, monkeypatch: pytest.MonkeyPatch, logs: Path) -> ClientComparison:
    def run(client: MeasuredClient, load: ClientLoad, folder: Path) -> ClientFigures:
        if client.name == failing:
            raise ClientRunFailed("it tells of 3 of 5")
        return found(client.name, 4000, load=load.name)

    monkeypatch.setattr(bench, "run", run)
    clients = [MeasuredClient(one.client, lambda *_: (), lambda _: (), {}) for one in a_round(1, 1)]
    return ClientComparison(clients, Console(quiet=True), LogFolder(logs))


RATE = ClientLoad("184 requests/s", gap_ms=10.0, at_once=64, seconds=8.0, rate=184.0)


def test_overloaded_competitor_is_reported_and_others_are_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    all_but_one = bench_of("guidellm 1", monkeypatch, tmp_path)
    measured = list(all_but_one.round([(RATE, ["guidellm 1", "aiperf 1", "kvchaos lean"])]))
    assert [one.client for one in measured] == ["aiperf 1", "kvchaos lean"]
    (line,) = client_tables.failure_lines(all_but_one.failures)
    assert line.startswith("- guidellm 1, 184 requests/s: ")
    assert "3 of 5" in line


def test_failure_of_an_own_client_ends_the_measurement(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ours = bench_of("kvchaos lean", monkeypatch, tmp_path)
    with pytest.raises(ClientRunFailed):
        list(ours.round([(RATE, ["aiperf 1", "kvchaos lean"])]))


def test_the_table_has_a_row_for_each_client_with_its_spread() -> None:
    rows = client_tables.table([a_round(20_000, 70_000), a_round(22_000, 80_000)], "paced").splitlines()
    assert len(rows) == 2 + 5
    assert "| kvchaos openai | 50.0 (50.0 to 50.0) |" in rows[5]
    assert "21,000 (20,000 to 22,000)" in rows[5]


def test_figures_round_trip() -> None:
    one = found("c", 1.0)
    assert msgspec.json.decode(msgspec.json.encode(one), type=ClientFigures) == one
