"""What is recorded of the server: the ledgers of the chaos module, resources of its processes, its log."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import msgspec

from history.events import Drained, PhaseEnd, stored
from history.protocol.audit_records import Label, Violation, stored_balance
from history.protocol.evidence import as_stored
from history.reader import History
from history.records import Event, GpuRecord, LedgerRecord, ResourceRecord
from kvchaos.selftest.alterations.alteration import with_server
from oracles import counters, gpu_health, logs, resources, transfer_invariants
from oracles.findings import Alteration, Rule
from oracles.resources import MIB, ROUNDS, RULE_OF


def _violated(name: str, history: History) -> History:
    last, where = history.ledger[-1], as_stored(Violation(key="00", job=1, block=1))
    line = msgspec.structs.replace(last, event="violation", rule=name, evidence=where)
    return replace(history, ledger=[*history.ledger, line])


def _never_ended(label: Label, history: History) -> History:
    """Something has been open in the last balances since long ago."""

    def opened(line: LedgerRecord) -> LedgerRecord:
        balance = line.balance
        if balance is None or label not in balance.accounts:
            return line
        account = msgspec.structs.replace(balance.accounts[label], open=1, since_ns=1, names=["x"])
        other = msgspec.structs.replace(balance, accounts={**balance.accounts, label: account})
        return msgspec.structs.replace(line, evidence=stored_balance(other))

    return replace(history, ledger=[opened(line) for line in history.ledger])


def _counted_only(history: History) -> History:
    """The last balances count a violation of which there is no line."""

    def counted(line: LedgerRecord) -> LedgerRecord:
        balance = line.balance
        if balance is None:
            return line
        other = msgspec.structs.replace(balance, violations=1)
        return msgspec.structs.replace(line, evidence=stored_balance(other))

    return replace(history, ledger=[counted(line) for line in history.ledger])


def _switched_off(history: History) -> History:
    return with_server(history, chaos=False, audit=False)


def _violations() -> tuple[Alteration, ...]:
    rules: dict[str, Rule] = {
        **transfer_invariants.RECORDED,
        "of-a-later-version": transfer_invariants.UNKNOWN_RULE,
    }
    return tuple(
        Alteration(rule, f"the ledger has a violation: {name}", partial(_violated, name))
        for name, rule in rules.items()
    )


_OF_LEDGERS = (
    *_violations(),
    *(
        Alteration(
            rule, f"one of the {transfer_invariants.ACCOUNTS[label]} never ends", partial(_never_ended, label)
        )
        for label, rule in transfer_invariants.NEVER_ENDED.items()
    ),
    Alteration(transfer_invariants.NOT_LISTED, "a violation is counted and not listed", _counted_only),
    Alteration(transfer_invariants.OFF, "a server without the chaos module has ledgers", _switched_off),
)


STEP_NS = 1_000_000


def _more(what: str, changes: Callable[[ResourceRecord], dict[str, int]]) -> Alteration:
    return Alteration(RULE_OF[what], f"there are more {what} at the end", partial(_at_end, changes))


def _at_end(changes: Callable[[ResourceRecord], dict[str, int]], history: History) -> History:
    *earlier, last = history.resources
    return replace(history, resources=[*earlier, msgspec.structs.replace(last, **changes(last))])


def _jumped(usage: ResourceRecord) -> dict[str, int]:
    return {"anonymous_bytes": usage.anonymous_bytes + 10_000 * MIB}


def _grows(history: History) -> History:
    """Further quiet moments, with 100 MiB more in each."""
    end = stored(history.events_of(PhaseEnd)[0])
    *earlier, last = history.resources
    moments: list[ResourceRecord] = []
    events: list[Event] = []
    for number in range(1, ROUNDS + 1):
        at_ns = last.t_ns + number * STEP_NS
        more = last.anonymous_bytes + number * 100 * MIB
        moments.append(msgspec.structs.replace(last, t_ns=at_ns, mono_ns=at_ns, anonymous_bytes=more))
        events.append(msgspec.structs.replace(end, t_ns=at_ns, mono_ns=at_ns))
    others = [event for event in history.events if event.kind != Drained.kind]
    drained = stored(replace(history.events_of(Drained)[-1], t_ns=moments[-1].t_ns + STEP_NS))
    return replace(history, resources=[*earlier, last, *moments], events=[*others, *events, drained])


_OF_RESOURCES = (
    _more("processes", lambda usage: {"processes": usage.processes + 1}),
    _more("threads", lambda usage: {"threads": usage.threads + 2 * resources.POOL_THREADS}),
    _more("open files", lambda usage: {"files": usage.files + 100}),
    _more("bytes under /dev/shm", lambda usage: {"shm_bytes": usage.shm_bytes + 10 * MIB}),
    _more("uncollected children", lambda usage: {"zombies": (usage.zombies or 0) + 5}),
    Alteration(resources.MEMORY_AT_END, "10,000 MiB more at the end", partial(_at_end, _jumped)),
    Alteration(
        resources.GONE,
        "a process is missing at the end",
        partial(_at_end, lambda usage: {"processes": usage.processes - 1}),
    ),
    Alteration(resources.MEMORY, "memory grows from phase to phase", _grows),
)


GPU_BYTES = 80 << 30
TIER_BYTES = 32 << 30
"""Of a tier that is pinned once, at the start of the server."""


def _with_gpu(changes: Mapping[str, object], history: History) -> History:
    """The samples of a GPU at the moments of the other resources, the last of them changed."""
    cards = [
        GpuRecord(
            t_ns=usage.t_ns,
            mono_ns=usage.mono_ns,
            index=0,
            name="NVIDIA H100",
            driver="580.1",
            used_bytes=GPU_BYTES // 2,
            total_bytes=GPU_BYTES,
            uncorrected_errors=0,
            host_pinned_bytes=TIER_BYTES,
        )
        for usage in history.resources
    ]
    *earlier, last = cards
    return replace(history, gpus=[*earlier, msgspec.structs.replace(last, **changes)])


_OF_GPUS = (
    Alteration(gpu_health.XID, "a GPU has XID 79", partial(_with_gpu, {"xids": (79,)})),
    Alteration(gpu_health.LOST, "a GPU is lost", partial(_with_gpu, {"error": "GPU is lost"})),
    Alteration(
        gpu_health.UNCORRECTED, "a GPU has an ECC error", partial(_with_gpu, {"uncorrected_errors": 1})
    ),
    Alteration(
        gpu_health.MEMORY,
        "1 GiB more of a GPU is in use",
        partial(_with_gpu, {"used_bytes": GPU_BYTES // 2 + (1 << 30)}),
    ),
    Alteration(
        gpu_health.PINNED,
        "1 GiB more of the host is pinned",
        partial(_with_gpu, {"host_pinned_bytes": TIER_BYTES + (1 << 30)}),
    ),
)


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
"""Rules by their name."""


def _logged(line: str, history: History) -> History:
    return replace(history, log=[f"{PREFIX}{line}", *history.log])


def _log_alterations() -> tuple[Alteration, ...]:
    rules = {rule.id.removeprefix(f"{logs.NAME}/"): rule for rule in logs.RULES}
    return tuple(
        Alteration(rules[name], f"the log says: {line}", partial(_logged, line))
        for name, line in LINES.items()
    )


_OF_LOGS = (
    *_log_alterations(),
    Alteration(
        counters.DECREMENT,
        "the log says that the server tried to lower a counter",
        partial(_logged, LINES["counter-decrement"]),
    ),
)


ALTERATIONS = (*_OF_LEDGERS, *_OF_RESOURCES, *_OF_GPUS, *_OF_LOGS)
