"""Kinds that alter the server's log."""

from __future__ import annotations

from collections.abc import Callable

from tests.alterations.draft import Draft
from tests.alterations.kind import UNKNOWN, NotApplicable, Table


def _line(text: str, at: float = 0.6) -> Callable[[Draft], None]:
    """One more line in the log, long before the server is stopped."""

    def alter(draft: Draft) -> None:
        index = int(len(draft.log) * at)
        draft.log.insert(index, text)
        for stop in draft.events("server_stop"):
            stop["data"]["log_line"] += 1

    return alter


def _log_lost(draft: Draft) -> None:
    draft.log[:] = []


def _log_cut(draft: Draft) -> None:
    if not draft.events("server_stop"):
        raise NotApplicable  # Of a server that is left up the log goes on, and nobody counts its lines.
    draft.log[len(draft.log) // 2 :] = [""]


CORE = "(EngineCore pid=99) ERROR 11-29 06:12:33 [core.py:1063] "
LOG: Table = (
    ("lost", "the log is empty", (UNKNOWN,), _log_lost),
    ("cut", "the log ends in the middle", (UNKNOWN,), _log_cut),
    *(
        (name, f"the log has: {text}", ("logs",), _line(text))
        for name, text in (
            ("traceback", f"{CORE}Traceback (most recent call last):"),
            ("exception", f"{CORE}RuntimeError: it broke"),
            ("assertion", f"{CORE}AssertionError: block is not free"),
            ("decrement", "ValueError: Counters can only be incremented by non-negative amounts."),
            ("engine-dead", "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue."),
            ("segfault", "Fatal Python error: Segmentation fault"),
            ("segfault-native", "!!!!!!! Segfault encountered !!!!!!!"),
            ("bus-error", "Fatal Python error: Bus error"),
            ("bus-error-shell", "Bus error (core dumped)"),
            ("stack-smashing", "*** stack smashing detected ***: terminated"),
            ("malloc", "malloc(): corrupted top size"),
            ("double-free", "free(): double free detected in tcache 2"),
            ("munmap", "munmap_chunk(): invalid pointer"),
            ("abort", "terminate called after throwing an instance of 'std::runtime_error'"),
            ("oom", f"{CORE}torch.OutOfMemoryError: CUDA out of memory."),
            ("oom-kill", "Out of memory: Killed process 4242 (VLLM::EngineCor)"),
            ("memory-error", f"{CORE}MemoryError"),
            ("cuda", f"{CORE}torch.AcceleratorError: CUDA error: an illegal memory access was encountered"),
            ("nccl", f"{CORE}ncclInternalError: Internal check failed."),
            ("tcmalloc", "src/tcmalloc.cc:302] Attempt to free invalid pointer 0x55d0"),
            ("illegal-instruction", "Fatal Python error: Illegal instruction"),
            ("undefined-symbol", "python: symbol lookup error: libtorch.so: undefined symbol: _Z1fv"),
        )
    ),
)
