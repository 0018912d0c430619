"""Kinds for each family of metrics: it vanishes, stands still, jumps, steps back, or is out of range."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import inf

from tests.alterations.draft import Draft, Scrape
from tests.alterations.families import COUNTERS, GAUGES, HISTOGRAMS, STAY_AT_ZERO, UNNOTICEABLE
from tests.alterations.kind import UNKNOWN, Kind, NotApplicable

RULES = ("counters", "accounting", "metrics-crosscheck", "drained", "offload-used", "progress")
"""Oracles that judge metrics."""
MANY = 1000.0
ABSENT = ("vanish", "never")
"""Without a metric what it proves is unknown."""
GROWN = ("freeze", "back")
"""What has not grown neither stands still nor steps back."""
Select = Callable[[str], bool]


def _family(family: str, suffixes: tuple[str, ...], series: str) -> bool:
    metric = series.partition("{")[0]
    return any(metric == family + suffix for suffix in suffixes)


def _good(draft: Draft) -> list[Scrape]:
    return [scrape for scrape in draft.scrapes if scrape.line["error"] is None]


def _series(draft: Draft, select: Select) -> list[str]:
    """Those that are there at the end."""
    names = [series for series in _good(draft)[-1].values if select(series)]
    if not names:
        raise NotApplicable
    return names


def _number(scrape: Scrape, series: str) -> float:
    value = scrape.values.get(series, 0.0)
    return float(value)


def _later(draft: Draft) -> list[Scrape]:
    """The last third of the scrapes of the server's last life."""
    good = _good(draft)
    return good[-max(len(good) // 3, 1) :]


def _vanish(select: Select, draft: Draft) -> None:
    for series in _series(draft, select):
        for scrape in _later(draft):
            scrape.values.pop(series, None)


def _never(select: Select, draft: Draft) -> None:
    for series in _series(draft, select):
        for scrape in draft.scrapes:
            scrape.values.pop(series, None)


def _freeze(select: Select, draft: Draft) -> None:
    """Freeze in the last third of the run what grew there.

    The transfer audit of a server that dies is never balanced.
    """
    if draft.events("server_exit"):
        raise NotApplicable
    later = _later(draft)
    moved = False
    for series in _series(draft, select):
        still = later[0].values.get(series, 0.0)
        for scrape in later:
            moved |= scrape.values.get(series, 0.0) != still
            scrape.values[series] = still
    if not moved:
        raise NotApplicable


def _jump(select: Select, draft: Draft) -> None:
    series = _series(draft, select)[0]
    for scrape in _later(draft):
        scrape.values[series] = _number(scrape, series) + MANY


def _back(select: Select, draft: Draft) -> None:
    last = _good(draft)[-1]
    grown = [series for series in _series(draft, select) if 0 < _number(last, series) < inf]
    if not grown:
        raise NotApplicable
    last.values[grown[-1]] = _number(last, grown[-1]) / 2


def _nan(select: Select, draft: Draft) -> None:
    series = _series(draft, select)[0]
    _later(draft)[0].values[series] = "NaN"


def _set(value: float | str, select: Select, draft: Draft) -> None:
    series = _series(draft, select)[0]
    _later(draft)[0].values[series] = value


MODES: dict[str, tuple[str, Callable[[Select, Draft], None]]] = {
    "vanish": ("is no longer exported in the last third of the run", _vanish),
    "never": ("is not exported at all", _never),
    "freeze": ("stands still in the last third of the run", _freeze),
    "jump": (f"is {MANY:.0f} more in the last third of the run", _jump),
    "back": ("is half at the last scrape", _back),
    "nan": ("is no number at one scrape", _nan),
}
GAUGE_MODES: dict[str, tuple[str, Callable[[Select, Draft], None]]] = {
    "vanish": MODES["vanish"],
    "never": MODES["never"],
    "nan": MODES["nan"],
    "infinite": ("is infinite at one scrape", partial(_set, "+Inf")),
    "negative": ("is -1 at one scrape", partial(_set, -1.0)),
    "out-of-range": ("is 1.7e9 at one scrape", partial(_set, 1.7e9)),
}
HISTOGRAM_PARTS = {
    "": ("_bucket", "_count", "_sum"),
    "count": ("_count",),
    "sum": ("_sum",),
    "bucket": ("_bucket",),
}
HISTOGRAM_MODES = {
    "": ("vanish", "never", "freeze"),
    "count": ("jump",),
    "sum": ("back", "nan"),
    "bucket": ("jump",),
}


def _kind(family: str, part: str, mode: str, what: str, alter: Callable[[Draft], None]) -> Kind:
    name = f"metrics/{family.removeprefix('vllm:')}/{f'{part}-' if part else ''}{mode}"
    reason = UNNOTICEABLE.get(f"{family}/{mode}") or UNNOTICEABLE.get(family)
    if mode == "nan" or (mode == "back" and not reason):
        reason = None  # A counter that is no number or shrinks is wrong whatever it counts.
    expects = (*RULES, UNKNOWN) if mode in ABSENT else RULES
    return Kind(name, f"{family}{f'_{part}' if part else ''} {what}", expects, alter, unnoticeable=reason)


def _kinds() -> Iterator[Kind]:
    for family in COUNTERS:
        for mode, (what, alter) in MODES.items():
            if family in STAY_AT_ZERO and mode in GROWN:
                continue
            yield _kind(family, "", mode, what, partial(alter, partial(_family, family, ("",))))
    for family in GAUGES:
        for mode, (what, alter) in GAUGE_MODES.items():
            yield _kind(family, "", mode, what, partial(alter, partial(_family, family, ("",))))
    for family in HISTOGRAMS:
        for part, modes in HISTOGRAM_MODES.items():
            for mode in modes:
                what, alter = MODES[mode]
                select = partial(_family, family, HISTOGRAM_PARTS[part])
                yield _kind(family, part, mode, what, partial(alter, select))


KINDS = tuple(_kinds())
