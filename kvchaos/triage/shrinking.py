"""The search for the smallest state that still fails: delta debugging as generators. Pure.

A generator yields a smaller state and gets whether it still fails. Who drives it runs the server, repeats a
flaky failure, and ends the search when the budget is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Generic, Literal, TypeVar

State = TypeVar("State")
Choice = TypeVar("Choice")
Precision = Literal["coarse", "exact"]
COARSE = 8
"""A coarse search of a number ends at an eighth of it."""
Choices = Generator[Choice, bool, None]
States = Generator[State | None, bool, None]
"""None: not valid, and rejected without a run."""


@dataclass(frozen=True, slots=True)
class ShrinkStep(Generic[State]):
    """One part of a state that can become smaller."""

    name: str
    """The same in each round."""
    reductions: Callable[[Precision], States[State]]


@dataclass(frozen=True, slots=True)
class Reduction(Generic[State]):
    """A smaller state that has to be tried."""

    state: State
    step: str


StepsOf = Callable[[State], Iterable[ShrinkStep[State]]]
"""The steps of a state, in the order in which they are tried."""
Search = Generator[Reduction[State], bool, State]


def shrink(start: State, steps_of: StepsOf[State], precision: Precision) -> Search[State]:
    """Search until a whole round makes nothing smaller; returns the smallest state that was accepted.

    With the precision exact, no single step from the result to a smaller state is accepted.
    """
    current = start
    done: set[str] = set()
    progress = False
    while True:
        step = next((each for each in steps_of(current) if each.name not in done), None)
        if step is None:
            if not progress:
                return current
            done, progress = set(), False
            continue
        done.add(step.name)
        smaller = yield from _reduced(step, current, precision)
        if smaller is not current:
            current, progress = smaller, True


def _reduced(step: ShrinkStep[State], start: State, precision: Precision) -> Search[State]:
    """The state after one step."""
    current = start
    states = step.reductions(precision)
    try:
        state = next(states)
        while True:
            accepted = False
            if state is not None and state != current:
                accepted = yield Reduction(state, step.name)
                current = state if accepted else current
            state = states.send(accepted)
    except StopIteration:
        return current


def list_step(name: str, count: int, keep: Callable[[Sequence[int]], State | None]) -> ShrinkStep[State]:
    """Items of which some can be left out; `keep` gives the state with these of them."""
    return ShrinkStep(name, lambda precision: _mapped(smallest_subset(count), keep))


def number_step(
    name: str, value: int, least: int, set_to: Callable[[int], State | None]
) -> ShrinkStep[State]:
    """A number that can be smaller, down to `least`."""
    return ShrinkStep(name, lambda precision: _mapped(smallest_number(value, least, precision), set_to))


def single_step(name: str, reduce: Callable[[], State | None]) -> ShrinkStep[State]:
    """One change that is made or not."""
    return ShrinkStep(name, lambda precision: _once(reduce))


def _once(reduce: Callable[[], State | None]) -> States[State]:
    yield reduce()


def _mapped(choices: Choices[Choice], build: Callable[[Choice], State | None]) -> States[State]:
    """The states that choices make."""
    try:
        choice = next(choices)
        while True:
            accepted = yield build(choice)
            choice = choices.send(accepted)
    except StopIteration:
        return


def smallest_subset(count: int) -> Choices[tuple[int, ...]]:
    """Delta debugging (Zeller and Hildebrandt): ends where no single item can be left out."""
    kept = tuple(range(count))
    if not kept or (yield ()):
        return
    parts = 2
    while len(kept) > 1:
        for subset, finer in _subsets(kept, parts):
            if (yield subset):
                kept, parts = subset, finer
                break
        else:
            if parts >= len(kept):
                return
            parts = min(2 * parts, len(kept))


def _subsets(kept: tuple[int, ...], parts: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Each part alone, then all but each part; with the number of parts to go on with."""
    bounds = [len(kept) * number // parts for number in range(parts + 1)]
    pairs = list(pairwise(bounds))
    # What comes last is closest to the failure.
    pairs.reverse()
    alone = ((kept[low:high], 2) for low, high in pairs)
    others = ((kept[:low] + kept[high:], max(parts - 1, 2)) for low, high in pairs)
    # Of two parts, all but one is the other one.
    return chain(alone, others if parts > 2 else ())


def smallest_number(value: int, least: int, precision: Precision) -> Choices[int]:
    """Bisection between a number that was rejected and one that was accepted."""
    if value <= least or (yield least):
        return
    low, high = least, value
    while high - low > (max(high // COARSE, 1) if precision == "coarse" else 1):
        middle = (low + high) // 2
        if (yield middle):
            high = middle
        else:
            low = middle
