"""Did the GPUs stay healthy, and did the server give back device memory and pinned memory?

The accounts of driver and kernel decide, not the server's. Memory is compared between quiet moments of the
server's first and last incarnation.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import median

from history.reader import History, per_history
from history.records import GpuRecord
from history.verdict import SERVER, Gap, OracleResult, phase
from oracles.findings import EVENTS, GPU, RESOURCES, Findings, Oracle, Rule
from oracles.views.quiet_moments import FRESH_NS, quiet_moments

NAME = "gpu"
MIB = 1 << 20
GIB = 1 << 30
ROOM_MIB = 512
"""Workspaces of kernels that a phase uses first. Not yet measured on a GPU."""
SLOWED = {"thermal", "hardware", "power-brake"}
"""Reasons for which a GPU is slower than it should be. A power cap is how many cards always run."""


def _rule(name: str, law: str) -> Rule:
    return Rule(f"{NAME}/{name}", law, "operating system", (GPU,), "no GPU was sampled")


XID = _rule("xid", "The driver reports no critical error (XID) of a GPU.")
LOST = _rule("lost", "The driver can read every GPU at every sample.")
UNCORRECTED = _rule("uncorrected-error", "No memory error of a GPU stays uncorrected during the run.")
MEMORY = Rule(
    f"{NAME}/memory",
    f"The device memory in use grows by at most {ROOM_MIB} MiB between the first quiet moment and the end.",
    "operating system",
    (GPU, RESOURCES, EVENTS),
    "there are fewer than two quiet moments",
)
PINNED_MIB = 512
"""Staging buffers that a phase uses first. Not yet measured on a GPU."""
PINNED = Rule(
    f"{NAME}/pinned-memory",
    f"Pinned host memory grows by at most {PINNED_MIB} MiB between the first quiet moment and the end.",
    "operating system",
    (GPU, RESOURCES, EVENTS),
    "there are fewer than two quiet moments, or the kernel does not report pinned memory",
)
RULES = (XID, LOST, UNCORRECTED, MEMORY, PINNED)


def judge(history: History) -> OracleResult:
    """Judge each GPU by itself."""
    found = Findings(NAME)
    if not history.gpus:
        found.gap("not-sampled", "no GPU was sampled: NVML found no driver")
        return found.result("")
    cards = _by_card(history.gpus)
    for samples in cards.values():
        _errors(samples, found)
        _memory(history, samples, found)
    # Each card's samples have the same account of the machine.
    _pinned(history, next(iter(cards.values())), found)
    return found.result("; ".join(map(_text, cards.values())), gpus=len(cards))


@per_history
def slowed(history: History) -> Gap | None:
    """The first load phase in which a GPU was slowed, for its heat or its power supply; None without one."""
    for window in history.phases():
        for sample in history.gpus:
            reasons = SLOWED.intersection(sample.slowdowns)
            if reasons and window.start_ns <= sample.t_ns <= window.end_ns:
                text = (
                    f"phase {window.spec.name}: GPU {sample.index} was slowed: {', '.join(sorted(reasons))}"
                )
                return Gap(kind=f"{NAME}/slowed", subject=phase(window.spec.name), text=text)
    return None


def _by_card(samples: Sequence[GpuRecord]) -> dict[int, list[GpuRecord]]:
    cards: dict[int, list[GpuRecord]] = defaultdict(list)
    for sample in samples:
        cards[sample.index].append(sample)
    return cards


def _errors(samples: Sequence[GpuRecord], found: Findings) -> None:
    found.checked += len(samples)
    first = next((each.uncorrected_errors for each in samples if each.uncorrected_errors is not None), 0)
    for sample in samples:
        card = f"GPU {sample.index} ({sample.name})"
        for xid in sample.xids:
            figures = {"xid": xid, "gpu": sample.index}
            found.violation(XID, SERVER, f"{card}: XID {xid}", figures=figures, t_ns=sample.t_ns)
        if sample.error is not None:
            found.violation(LOST, SERVER, f"{card}: {sample.error}", t_ns=sample.t_ns)
    last = samples[-1]
    more = (last.uncorrected_errors or 0) - first
    if more > 0:
        text = f"GPU {last.index} ({last.name}): {more} memory errors stayed uncorrected"
        found.violation(UNCORRECTED, SERVER, text, figures={"errors": more}, t_ns=last.t_ns)


def _memory(history: History, samples: Sequence[GpuRecord], found: Findings) -> None:
    quiet = [each for each in _quiet(history, samples) if each.used_bytes is not None]
    if len(quiet) < 2:
        found.gap("no-quiet-moment", f"GPU {samples[0].index}: fewer than two quiet moments were sampled")
        return
    found.checked += 1
    first, last = quiet[0], quiet[-1]
    grown = ((last.used_bytes or 0) - (first.used_bytes or 0)) / MIB
    if grown > ROOM_MIB:
        text = f"GPU {last.index}: device memory in use grew by {grown:.0f} MiB, bound {ROOM_MIB} MiB"
        figures = {"mib": grown, "allowed": ROOM_MIB, "gpu": last.index}
        points = [(each.t_ns, float(each.used_bytes or 0)) for each in quiet]
        found.violation(MEMORY, SERVER, text, figures=figures, samples=points, t_ns=last.t_ns)


def _pinned(history: History, samples: Sequence[GpuRecord], found: Findings) -> None:
    quiet = [
        (each.t_ns, each.host_pinned_bytes)
        for each in _quiet(history, samples)
        if each.host_pinned_bytes is not None
    ]
    if len(quiet) < 2:
        found.gap("pinned-not-sampled", "pinned host memory was sampled at fewer than two quiet moments")
        return
    found.checked += 1
    (_, first), (end_ns, last) = quiet[0], quiet[-1]
    grown = (last - first) / MIB
    if grown > PINNED_MIB:
        text = f"pinned host memory grew by {grown:.0f} MiB, bound {PINNED_MIB} MiB"
        figures = {"mib": grown, "allowed": PINNED_MIB}
        points = [(t_ns, float(pinned)) for t_ns, pinned in quiet]
        found.violation(PINNED, SERVER, text, figures=figures, samples=points, t_ns=end_ns)


def _quiet(history: History, samples: Sequence[GpuRecord]) -> Iterator[GpuRecord]:
    """A card's sample of each quiet moment."""
    times = [sample.t_ns for sample in samples]
    for moment in quiet_moments(history):
        # A later sample may be of the next load.
        at = bisect_right(times, moment.usage.t_ns) - 1
        if at >= 0 and moment.usage.t_ns - times[at] <= FRESH_NS:
            yield samples[at]


def _text(samples: Sequence[GpuRecord]) -> str:
    """What a card did, in one line."""
    last = samples[-1]
    parts = [f"GPU {last.index} {last.name}"]
    if last.used_bytes is not None and last.total_bytes is not None:
        parts.append(f"{last.used_bytes / GIB:.1f} of {last.total_bytes / GIB:.1f} GiB in use")
    busy = [each.busy_percent for each in samples if each.busy_percent is not None]
    if busy:
        parts.append(f"busy {median(busy):.0f} % (median)")
    watts = [each.power_mw / 1e3 for each in samples if each.power_mw is not None]
    if watts:
        parts.append(f"at most {max(watts):.0f} W")
    return ", ".join(parts)


ORACLE = Oracle(
    NAME, "no GPU fails, and device and pinned memory do not leak", (GPU, RESOURCES, EVENTS), judge, RULES
)
