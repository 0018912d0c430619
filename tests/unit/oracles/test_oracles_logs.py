"""logs must see a crash in the server's log, and must not cry at the server's usual noise."""

from __future__ import annotations

import pytest

from history.expected_findings import AllowedLine
from history.verdict import Verdict
from oracles.logs import judge
from tests.support.histories import Run, clean_run

FATAL_LINES = [
    "ValueError: Counters can only be incremented by non-negative amounts.",
    "(EngineCore pid=7) ERROR [core.py:1512] EngineCore encountered a fatal error.",
    "(EngineCore pid=7) ERROR [core.py:1510] EngineCore failed to start.",
    "RuntimeError: Engine core initialization failed. See root cause above.",
    "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.",
    "(APIServer pid=6) ERROR [async_llm.py:906] AsyncLLM output_handler failed.",
    "(Worker pid=8) ERROR [multiproc_executor.py:1063] WorkerProc hit an exception.",
    "Worker proc VllmWorker-0 died unexpectedly, shutting down executor.",
    "(EngineCore pid=7) ERROR [core.py:1512] AssertionError",
    "Fatal Python error: Segmentation fault",
    "Segmentation fault (core dumped)",
    "torch.OutOfMemoryError: CUDA out of memory.",
    "MemoryError",
    "Bus error (core dumped)",
    "Fatal signal SIGBUS",
    "*** stack smashing detected ***: terminated",
    "malloc(): invalid size (unsorted)",
    "munmap_chunk(): invalid pointer",
    "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
    "[rank0]: torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:94",
    "ncclUnhandledCudaError: Call to CUDA function failed.",
    "kernel: Out of memory: Killed process 4711 (VLLM::EngineCor)",
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)",
    "\x1b[31mAssertionError\x1b[0m",
    "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate: Cannot allocate memory",
    "terminate called after throwing an instance of 'std::bad_alloc'",
    "double free or corruption (!prev)",
    "ERROR:    Exception in ASGI application",
    "Traceback (most recent call last):",
]
HARMLESS_LINES = [
    "(EngineCore pid=7) INFO [cuda.py:415] Using FLASH_ATTN attention backend, NCCL version 2.27.5",
    "(APIServer pid=6) WARNING [system_utils.py:255] Found ulimit of 20000 and failed to automatically "
    "increase with error current limit exceeds maximum limit. This can cause fd limit errors like "
    "`OSError: [Errno 24] Too many open files`. Consider increasing with ulimit -n",
    "INFO [importing.py:44] Triton is installed but 0 active driver(s) found (expected 1). Disabling "
    "Triton to prevent runtime errors.",
    "[W1124 utils.cpp:68] Warning: NUMA binding: Using MEMBIND policy for memory allocation on the NUMA "
    "nodes (0). Memory allocations will be strictly bound to these NUMA nodes.",
    "(EngineCore pid=7) WARNING [scheduler.py:1739] Request cmpl-1: cannot store chunks",
    "(EngineCore pid=7) WARNING [scheduler.py:3426] Recovered from KV load failure: 1 request(s) "
    "rescheduled (64 tokens affected).",
    "(EngineCore pid=7) ERROR [scheduler.py:3417] Failing 1 request(s) due to KV load failure "
    "(failure_policy=fail, 64 tokens affected). Request IDs: {'cmpl-1'}",
    'INFO:     127.0.0.1:60614 - "POST /v1/completions HTTP/1.1" 500 Internal Server Error',
]


def with_lines(lines: list[str]) -> Run:
    run = clean_run()
    run.log = ["INFO starting", *lines, "INFO serving"]
    run.change_event("server_stop", log_line=len(run.log))
    return run


@pytest.mark.parametrize("line", FATAL_LINES)
def test_a_fatal_line_fails_and_is_named_by_number(line: str) -> None:
    result = judge(with_lines([line]).history())
    assert result.verdict is Verdict.FAIL
    assert result.violations == 1
    assert result.findings[0].log_line == 2


@pytest.mark.parametrize("line", HARMLESS_LINES)
def test_usual_log_lines_and_those_of_a_conforming_fault_pass(line: str) -> None:
    assert judge(with_lines([line]).history()).verdict is Verdict.PASS


def test_repeated_crashes_are_listed_once_and_all_counted() -> None:
    lines = ["Traceback (most recent call last):"] * 6 + ["AssertionError", "EngineDeadError"]
    result = judge(with_lines(lines).history())
    assert result.violations == 8
    assert [finding.log_line for finding in result.findings] == [2, 8, 9]


def test_shutdown_noise_after_the_stop_is_ignored() -> None:
    run = clean_run()
    run.log.append("vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.")
    assert judge(run.history()).verdict is Verdict.PASS


def test_log_lines_at_the_end_count_without_a_server_stop() -> None:
    run = clean_run()
    run.drop_events("server_stop")
    run.log.append("AssertionError")
    assert judge(run.history()).verdict is Verdict.FAIL


def test_an_empty_log_is_unknown() -> None:
    run = clean_run()
    run.log = []
    assert judge(run.history()).verdict is Verdict.UNKNOWN


def allowing(run: Run, *lines: AllowedLine) -> Run:
    scenario = run.plan.scenario.model_copy(update={"allowed_log_lines": lines})
    run.plan = run.plan.model_copy(update={"scenario": scenario})
    return run


LEAVES = AllowedLine(pattern="Exception in ASGI", why="the client leaves on purpose")


def test_allowed_log_line_is_no_violation_and_is_reported() -> None:
    run = allowing(with_lines(["ERROR:    Exception in ASGI application"] * 2), LEAVES)
    result = judge(run.history())
    assert result.verdict is Verdict.PASS
    assert result.figures == {"lines": 4, "allowed": 2}


def test_allowed_line_does_not_excuse_other_lines() -> None:
    run = with_lines(["ERROR:    Exception in ASGI application", "AssertionError"])
    result = judge(allowing(run, LEAVES).history())
    assert result.verdict is Verdict.FAIL
    assert [finding.log_line for finding in result.findings] == [3]


def test_an_allowance_that_nothing_used_is_no_error() -> None:
    result = judge(allowing(clean_run(), LEAVES).history())
    assert (result.verdict, result.figures) == (Verdict.PASS, {"lines": 3, "allowed": 0})
