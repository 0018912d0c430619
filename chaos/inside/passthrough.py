"""Bypasses a wrapper: then the methods that vLLM calls are vLLM's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Methods = Mapping[str, Callable[..., Any]]


class Passthrough:
    """Switches one wrapper. An attribute of an instance comes before a method of its class."""

    def __init__(
        self, wrapper: object, methods: Methods, settled: Callable[[], bool], forget: Callable[[], None]
    ) -> None:
        """`methods`: vLLM's own bound methods, by the names under which vLLM calls the wrapper.

        `settled` returns whether no work of a fault is left, such as a delayed copy. `forget` drops what the
        wrapper knows of requests and copies in flight, since their ends will not reach it.
        """
        self.wrapper = wrapper
        self._methods = dict(methods)
        self.settled = settled
        self._forget = forget

    def bypass(self) -> None:
        """From now on vLLM calls its own methods."""
        self._forget()
        vars(self.wrapper).update(self._methods)

    def intercept(self) -> None:
        """From now on vLLM calls the wrapper's methods. Any thread may call this."""
        for name in self._methods:
            vars(self.wrapper).pop(name, None)


def public_methods(inner: object) -> Methods:
    """All public methods of an object of vLLM's."""
    names = (name for name in dir(type(inner)) if not name.startswith("_"))
    return {name: getattr(inner, name) for name in names if callable(getattr(type(inner), name))}
