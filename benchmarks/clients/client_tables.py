"""Rounds of runs as the tables of docs/performance.md. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.clients.client_figures import ClientFigures
from history.latency import Quantiles
from kvchaos.report.text_tables import markdown_table

OURS = ("kvchaos openai", "kvchaos lean")
MIN_SPEED_RATIO = {"kvchaos openai": 4.0, "kvchaos lean": 15.0}
"""Times the events per CPU-second of the better of those compared with."""
COMPARED = ("guidellm", "aiperf")
MAX_TTFT_ERROR_MS = 5.0
"""Error of the TTFT, 99th percentile."""
SATURATED = 0.9
"""Share of a processor from which a mock server may have been the limit."""
HEADINGS = (
    *("client", "requests/s", "events/s", "CPUs", "events per CPU-second", "memory MiB"),
    *("TTFT error ms, median", "p99", "ITL error ms, median", "p99"),
)
Round = Sequence[ClientFigures]


@dataclass(frozen=True, slots=True)
class SpeedRatio:
    """How many times the events per CPU-second of the better of guidellm and aiperf, over the rounds."""

    client: str
    load: str
    rounds: tuple[float, ...]

    @property
    def met(self) -> bool:
        """Whether the median over the rounds reaches the bound for this client."""
        return median(self.rounds) >= MIN_SPEED_RATIO[self.client]


def table(rounds: Sequence[Round], load: str) -> str:
    """Median over the rounds and, in brackets, the least and the most."""
    return markdown_table(HEADINGS, (_row(rounds, load, client) for client in _clients(rounds, load)))


def _row(rounds: Sequence[Round], load: str, client: str) -> tuple[str, ...]:
    own = _of(rounds, load, client)
    return (
        client,
        *(_spread(own, value, digits) for value, digits in FIGURES),
        *_pair(own, lambda one: one.ttft_error_ms),
        *_pair(own, lambda one: one.itl_error_ms),
    )


FIGURES: tuple[tuple[Callable[[ClientFigures], float], int], ...] = (
    (lambda one: one.requests_per_s, 1),
    (lambda one: one.events_per_s, 0),
    (lambda one: one.cpu, 2),
    (lambda one: one.events_per_cpu_s, 0),
    (lambda one: one.memory_mib, 0),
)


def _pair(own: Sequence[ClientFigures], spread: Callable[[ClientFigures], Quantiles]) -> Iterator[str]:
    yield _spread(own, lambda one: spread(one).median, 2)
    yield _spread(own, lambda one: spread(one).p99, 2)


def _spread(own: Sequence[ClientFigures], value: Callable[[ClientFigures], float | None], digits: int) -> str:
    values = [found for one in own if (found := value(one)) is not None]
    if not values:
        return "-"
    middle, low, high = (f"{number:,.{digits}f}" for number in (median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def speed_ratios(rounds: Sequence[Round], load: str) -> Iterator[SpeedRatio]:
    """Ratios of each of our clients that was measured together with the tools of others."""
    for client in OURS:
        ratios = tuple(ratio for one in rounds if (ratio := _ratio(one, load, client)) is not None)
        if ratios:
            yield SpeedRatio(client, load, ratios)


def _ratio(one: Round, load: str, client: str) -> float | None:
    by_name = {figures.client: figures.events_per_cpu_s for figures in one if figures.load == load}
    better = max((value for name, value in by_name.items() if name.startswith(COMPARED)), default=None)
    return by_name[client] / better if client in by_name and better else None


def speed_lines(found: Iterable[SpeedRatio]) -> Iterator[str]:
    """A line of Markdown for each ratio, with its bound and whether it is met."""
    for one in found:
        ratio = f"{median(one.rounds):.1f} ({min(one.rounds):.1f} to {max(one.rounds):.1f})"
        verdict = "yes" if one.met else "no"
        yield (
            f"- {one.client}, {one.load}: {ratio} times the events per CPU-second of the better of "
            f"{' and '.join(COMPARED)}; at least {MIN_SPEED_RATIO[one.client]:g}: {verdict}\n"
        )


def accuracy_line(rounds: Sequence[Round], load: str, client: str) -> str:
    """Whether a client's TTFT is true at a rate, and truer than that of the others."""
    own = _p99(rounds, load, client)
    others = [
        (name, _p99(rounds, load, name)) for name in _clients(rounds, load) if name.startswith(COMPARED)
    ]
    compared = ", ".join(f"{name} {p99:.2f}" for name, p99 in others) or "no other was measured"
    low = "yes" if own <= MAX_TTFT_ERROR_MS else "no"
    below = "yes" if others and own < min(p99 for _, p99 in others) else "no" if others else "not measured"
    return (
        f"- {client}, {load}: TTFT error, 99th percentile, {own:.2f} ms; "
        f"{MAX_TTFT_ERROR_MS:g} ms or less: {low}; below the others' ({compared}): {below}\n"
    )


def failure_lines(failures: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Who could not be measured at a load, in one round at least."""
    for (client, load), why in failures.items():
        yield f"- {client}, {load}: could not be measured: {why}\n"


def headroom(rounds: Sequence[Round]) -> str:
    """Whether the mock servers were the limit anywhere."""
    busiest = max((one for each in rounds for one in each), key=lambda one: one.mock_cpu)
    limit = " It may have been the limit." if busiest.mock_cpu >= SATURATED else ""
    return (
        f"The busiest mock server used {busiest.mock_cpu:.2f} of a processor "
        f"({busiest.client}, {busiest.load}) and sent {busiest.mock_late_ms} ms late (median / p99).{limit}\n"
    )


def _p99(rounds: Sequence[Round], load: str, client: str) -> float:
    return median(one.ttft_error_ms.p99 or 0.0 for one in _of(rounds, load, client))


def _of(rounds: Sequence[Round], load: str, client: str) -> list[ClientFigures]:
    return [one for each in rounds for one in each if (one.load, one.client) == (load, client)]


def _clients(rounds: Sequence[Round], load: str) -> list[str]:
    return list(dict.fromkeys(one.client for each in rounds for one in each if one.load == load))
