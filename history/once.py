"""What several judges and the report ask of a history is worked out once."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

from history.reader import History

Answer = TypeVar("Answer")


def once(function: Callable[[History], Answer]) -> Callable[[History], Answer]:
    """Keep what a pure function says of a history for as long as the history lives.

    It must not hold the history itself, and nobody may change what it says.
    """
    known: WeakKeyDictionary[History, Answer] = WeakKeyDictionary()

    @wraps(function)
    def memoised(history: History) -> Answer:
        if history not in known:
            known[history] = function(history)
        return known[history]

    return memoised
