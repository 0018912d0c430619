"""Does the server leak processes, threads, open files, sockets, shared memory or memory?

The oracle compares quiet moments of one incarnation: the end of each phase at which no request was in
flight, and the end of the run. What a server allocates at its first load and keeps is no leak, so the first
quiet moment, after the golden answers, is the reference.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import median

from history.reader import History
from history.records import ResourceRecord
from history.verdict import SERVER, Figures, OracleResult
from oracles.findings import CLIENT, EVENTS, METRICS, RESOURCES, Findings, Oracle, Rule
from oracles.views.quiet_moments import END, QuietMoment, quiet_moments

NAME = "resources"
MIB = 1 << 20

POOL_THREADS = 32
"""The most that asyncio's pool for blocking calls has. It fills as it is needed: by the first chat, say."""
MORE_SHM = MIB
"""Buffers take pages as they are used."""
MORE_SOCKETS = 8
"""Sockets allowed in addition to those that the load processes keep open."""
MORE_ZOMBIES = 1
"""One may end at that moment, and be collected in the next."""
MORE_MEMORY_MIB = 64
ROOM_MIB = 512
"""Buffers, pools and code that a phase uses first. Servers of a tiny model grew by up to 156 MiB."""
ROUNDS = 8
"""Quiet moments from which a growth of memory can be distinguished from noise."""


def _rule(name: str, law: str, *more: str, inconclusive: str = "the server was not quiet at the end") -> Rule:
    return Rule(f"{NAME}/{name}", law, "operating system", (RESOURCES, EVENTS, METRICS, *more), inconclusive)


MEMORY = _rule(
    "memory",
    f"The server's memory does not grow by more than {MORE_MEMORY_MIB} MiB between quiet moments.",
    inconclusive=f"there are fewer than {ROUNDS} quiet moments",
)
MEMORY_AT_END = Rule(
    "resources/memory-at-end",
    f"The server has at most {ROOM_MIB} MiB more memory at the end than when it was first quiet, "
    "besides its KV caches.",
    "operating system",
    (RESOURCES, EVENTS, METRICS),
    "the server was not quiet at the end, or the bytes of a token are not known",
)
RULE_OF = {
    "processes": _rule(
        "processes", "The server has no more processes at the end than when it was first quiet."
    ),
    "threads": _rule(
        "threads",
        f"The server has at most {POOL_THREADS} more threads at the end than when it was first quiet.",
    ),
    "open files": _rule("open-files", "The server has at most 8 more open files at the end."),
    "bytes under /dev/shm": _rule(
        "shared-memory", "The server has at most 1 MiB more shared memory at the end."
    ),
    "uncollected children": _rule(
        "zombies",
        f"At the end, the server has at most {MORE_ZOMBIES} more ended child that it did not collect.",
    ),
    "open sockets": _rule(
        "sockets", "The server has no more sockets at the end than its clients may have left open.", CLIENT
    ),
}
"""Rules by what is counted."""
GONE = _rule("process-gone", "The server has no fewer processes at the end than when it was first quiet.")
RULES = (*RULE_OF.values(), GONE, MEMORY, MEMORY_AT_END)


@dataclass(frozen=True, slots=True)
class BoundedCount:
    """A resource that is counted, and how much more of it the server may have at the end."""

    what: str
    of: Callable[[ResourceRecord], int]
    more: int


COUNTS = (
    BoundedCount("processes", lambda usage: usage.processes, 0),
    BoundedCount("threads", lambda usage: usage.threads, POOL_THREADS),
    BoundedCount("open files", lambda usage: usage.files, 8),
    BoundedCount("bytes under /dev/shm", lambda usage: usage.shm_bytes, MORE_SHM),
    BoundedCount("uncollected children", lambda usage: usage.zombies or 0, MORE_ZOMBIES),
)


def judge(history: History) -> OracleResult:
    """Judge usage at the end against the first quiet moment of each incarnation, with small bounds.

    Memory is judged by its slope where there are enough quiet moments.
    """
    found = Findings(NAME)
    if not history.resources:
        found.gap("not-sampled", "no resources were sampled")
        return found.result("")
    incarnations = _by_incarnation(history)
    last = incarnations.get(_life(history.resources[-1]), [])
    if not last or last[-1].name != END:
        found.gap("no-quiet-end", "the server was not quiet at the end")
    elif len(last) < 2:
        found.gap("no-quiet-moment", "there was no quiet moment before the end to compare with")
    for moments in incarnations.values():
        if len(moments) > 1:
            _counts(history, moments, found)
            _memory(moments, found)
            _memory_at_end(history, moments, found)
    passed = "; ".join(_growth_text(moments) for moments in incarnations.values() if len(moments) > 1)
    return found.result(passed, **_figures(last))


def _by_incarnation(history: History) -> dict[tuple[int, int], list[QuietMoment]]:
    incarnations: dict[tuple[int, int], list[QuietMoment]] = defaultdict(list)
    for moment in quiet_moments(history):
        incarnations[_life(moment.usage)].append(moment)
    return incarnations


def _life(record: ResourceRecord) -> tuple[int, int]:
    return record.leader, record.started


def _counts(history: History, moments: Sequence[QuietMoment], found: Findings) -> None:
    first, last = moments[0], moments[-1]
    for count in (*COUNTS, *_sockets(history)):
        before, after = count.of(first.usage), count.of(last.usage)
        found.checked += 1
        if after > before + count.more:
            text = (
                f"the server had {before} {count.what} after {first.name} and {after} at {last.name}; "
                f"{count.more} more are allowed"
            )
            figures = {"before": before, "after": after, "allowed": count.more}
            _violation(found, RULE_OF[count.what], text, figures, count.of, [first, last])
    _fewer(first, last, found)


def _fewer(first: QuietMoment, last: QuietMoment, found: Findings) -> None:
    """A process that is gone may have crashed and logged nothing."""
    before, after = first.usage.processes, last.usage.processes
    if after < before:
        text = f"the server had {before} processes after {first.name} and only {after} at {last.name}"
        figures = {"before": before, "after": after}
        _violation(found, GONE, text, figures, lambda usage: usage.processes, [first, last])


def _sockets(history: History) -> Iterator[BoundedCount]:
    """Clients may be connected still; how many can be, the load processes say themselves."""
    most: dict[int, int] = {}
    for record in history.client:
        most[record.worker] = max(record.connections, most.get(record.worker, 0))
    if most:
        yield BoundedCount("open sockets", lambda usage: usage.sockets, sum(most.values()) + MORE_SOCKETS)


def _memory(moments: Sequence[QuietMoment], found: Findings) -> None:
    if len(moments) < ROUNDS:
        return
    found.checked += 1
    grown = _growth([moment.usage.anonymous_bytes for moment in moments]) / MIB
    if grown > MORE_MEMORY_MIB:
        text = (
            f"memory grew by {grown:.0f} MiB over {len(moments)} quiet moments, bound {MORE_MEMORY_MIB} MiB"
        )
        figures = {"mib": grown, "moments": len(moments), "allowed": MORE_MEMORY_MIB}
        _violation(found, MEMORY, text, figures, lambda usage: usage.anonymous_bytes, moments)


def _memory_at_end(history: History, moments: Sequence[QuietMoment], found: Findings) -> None:
    """Where the moments are too few for a slope."""
    allowed = _allowed_mib(history)
    if len(moments) >= ROUNDS or allowed is None:
        return
    first, last = moments[0], moments[-1]
    grown = (last.usage.anonymous_bytes - first.usage.anonymous_bytes) / MIB
    if grown > allowed:
        text = f"memory grew by {grown:.0f} MiB from {first.name} to {last.name}, bound {allowed:.0f} MiB"
        figures = {"mib": grown, "allowed": allowed}
        _violation(found, MEMORY_AT_END, text, figures, lambda usage: usage.anonymous_bytes, [first, last])


def _growth(usage: Sequence[int]) -> float:
    """Growth from the first to the last moment, by the median of the slopes between any two.

    The largest step between neighbours is left out: it is a pool that fills, and no growth.
    """
    steps = [max(0, after - before) for before, after in pairwise(usage)]
    filled = steps.index(max(steps)) + 1
    level = [value - max(steps) * (index >= filled) for index, value in enumerate(usage)]
    slopes = [
        (level[late] - level[soon]) / (late - soon) for soon, late in combinations(range(len(usage)), 2)
    ]
    return median(slopes) * (len(usage) - 1)


def _violation(
    found: Findings,
    rule: Rule,
    text: str,
    figures: Mapping[str, int | float],
    of: Callable[[ResourceRecord], int],
    moments: Sequence[QuietMoment],
) -> None:
    samples = [(moment.usage.t_ns, float(of(moment.usage))) for moment in moments]
    found.violation(rule, SERVER, text, figures=figures, samples=samples, t_ns=samples[-1][0])


def _figures(moments: Sequence[QuietMoment]) -> Figures:
    """Resources of the last incarnation at its last quiet moment, and the number of quiet moments."""
    if not moments:
        return {}
    usage = moments[-1].usage
    return {
        "moments": len(moments),
        "processes": usage.processes,
        "threads": usage.threads,
        "files": usage.files,
        "sockets": usage.sockets,
        "shm_bytes": usage.shm_bytes,
        **({} if usage.zombies is None else {"zombies": usage.zombies}),
        "anonymous_bytes": usage.anonymous_bytes,
    }


def _growth_text(moments: Sequence[QuietMoment]) -> str:
    """Resources at the first and at the last of the moments."""
    first, last = moments[0].usage, moments[-1].usage
    few = f"; {ROUNDS} moments are needed to judge the slope of memory" if len(moments) < ROUNDS else ""
    counts = ", ".join(
        (
            f"{first.processes} -> {last.processes} processes",
            f"{first.threads} -> {last.threads} threads",
            f"{first.files} -> {last.files} files",
            f"{first.sockets} -> {last.sockets} sockets",
            f"{first.shm_bytes / MIB:.1f} -> {last.shm_bytes / MIB:.1f} MiB of shared memory",
        )
    )
    memory = f"{first.anonymous_bytes // MIB} -> {last.anonymous_bytes // MIB} MiB of memory"
    return f"first to last of {len(moments)} quiet moments: {counts}, {memory}{few}"


def _allowed_mib(history: History) -> float | None:
    """How much memory may grow where there are too few quiet moments for a slope.

    Pages of the tier, and of a KV cache in host memory, count once they are written. None where
    the size of the caches is not known.
    """
    server, token_bytes = history.plan.scenario.server, history.plan.kv_token_bytes
    if not history.plan.starts_server or token_bytes is None:
        return None
    tier_mib = server.cpu_offload_mib if server.offload else 0
    return ROOM_MIB + tier_mib + server.gpu_blocks * server.block_size * token_bytes / MIB


READS = (RESOURCES, EVENTS, METRICS, CLIENT)
ORACLE = Oracle(NAME, "no process, thread, file, socket or memory leaks", READS, judge, RULES)
