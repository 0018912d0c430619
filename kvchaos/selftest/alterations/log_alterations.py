"""One more line in the server's log."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from history.reader import History
from kvchaos.selftest.alterations.alteration import Alteration
from oracles import counters, logs

PREFIX = "(EngineCore pid=1) ERROR "
LINES = {
    "counter-decrement": f"ValueError: {counters.REFUSAL} by non-negative amounts.",
    "engine-not-started": "EngineCore failed to start.",
    "engine-dead": "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.",
    "output-handler-died": "AsyncLLM output_handler failed.",
    "worker-died": "WorkerProc hit an exception.",
    "process-vanished": "Worker proc VllmWorker-0 died unexpectedly, shutting down executor.",
    "assertion": "AssertionError",
    "interpreter-crash": "Fatal Python error: Aborted",
    "segmentation-fault": "Segmentation fault (core dumped)",
    "out-of-memory": "MemoryError",
    "device-error": "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
    "native-abort": "double free or corruption (out)",
    "request-exception": "Exception in ASGI application",
    "exception": "Traceback (most recent call last):",
}
"""By the name of the rule."""


def _logged(line: str, history: History) -> History:
    return replace(history, log=[f"{PREFIX}{line}", *history.log])


def _alterations() -> tuple[Alteration, ...]:
    rules = {rule.id.removeprefix(f"{logs.NAME}/"): rule for rule in logs.RULES}
    return tuple(
        Alteration(rules[name], f"the log says: {line}", partial(_logged, line))
        for name, line in LINES.items()
    )


ALTERATIONS = (
    *_alterations(),
    Alteration(
        counters.DECREMENT,
        "the log says that a counter was to be lowered",
        partial(_logged, LINES["counter-decrement"]),
    ),
)
