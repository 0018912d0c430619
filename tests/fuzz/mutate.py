"""Damage to bytes, lines and trees of values, chosen by a random number generator that a seed replays."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random

ODD_BYTES = (
    b"\xff",
    b"\0",
    b"\n",
    b"{",
    b"}",
    b"[",
    b'"',
    b"9",
    b"-",
    b"e9",
    b"\xe2\x80\xa8",
    b"\r",
    b"\\",
    b":",
)
ODD_INTS = (
    *(0, 1, -1, 2, 7, 63, 64, 1000, 10**6, -(10**6), 10**12, 10**15, 10**19, 10**40, -(10**40), 10**400),
    *(2**31, 2**32, 2**63 - 1, 2**63, -(2**63), 2**64 - 1, 2**64),
)
ODD_FLOATS = (0.0, -0.0, -0.5, 0.5, 1e-320, 1e15, 1e308, -1e308, float("nan"), float("inf"), -float("inf"))
ODD_TEXTS = (
    "",
    "x",
    "NaN",
    "+Inf",
    "final",
    "golden",
    "ok",
    "\0",
    "\u2028",
    "a\nb",
    "a" * 300,
    "é",
    ".",
    "/dev/zero",
)
ODD_VALUES: tuple[object, ...] = (
    *(None, True, False, [], [0], [None], ["x"], {}, {"a": 1}, {"a\nb": 1}),
    *(*ODD_INTS, *ODD_FLOATS, *ODD_TEXTS),
)
OF_TYPE: dict[type, tuple[object, ...]] = {int: ODD_INTS, float: ODD_FLOATS, str: ODD_TEXTS}

Slot = tuple[dict[str, object] | list[object], str | int]


def damaged_bytes(content: bytes, chance: Random) -> bytes:
    """A bit flipped, or bytes inserted, deleted, repeated or cut off."""
    at = chance.randrange(len(content) + 1)
    until = min(len(content), at + chance.choice((1, 1, 2, 8, 40, 400)))
    match chance.choice(("flip", "flip", "insert", "delete", "repeat", "cut")):
        case "flip" if at < len(content):
            return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
        case "delete":
            return content[:at] + content[until:]
        case "repeat":
            return content[:until] + content[at:until] * chance.choice((1, 2, 100)) + content[until:]
        case "cut":
            return content[:at]
        case _:
            return content[:at] + chance.choice(ODD_BYTES) * chance.choice((1, 1, 3)) + content[at:]


def damaged_lines(content: bytes, chance: Random) -> bytes:
    """A line dropped, repeated, moved, or indented otherwise."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.choice(("drop", "repeat", "swap", "indent", "outdent")):
        case "drop":
            del lines[at]
        case "repeat":
            lines.insert(other, lines[at])
        case "swap":
            lines[at], lines[other] = lines[other], lines[at]
        case "indent":
            lines[at] = b"  " + lines[at]
        case _:
            lines[at] = lines[at].lstrip(b" ")
    return b"".join(lines)


def damage_tree(tree: object, chance: Random) -> None:
    """One value replaced, removed or repeated in place, or one added under a new name."""
    slots = _slots(tree)
    if not slots:
        return
    holder, key = chance.choice(slots)
    match chance.choice(("alter", "alter", "alter", "change", "move", "add", "remove")):
        case "alter":
            _set(holder, key, lambda old: chance.choice(OF_TYPE.get(type(old), ODD_VALUES)))
        case "change":
            _set(holder, key, lambda _: chance.choice(ODD_VALUES))
        case "move":
            other, other_key = chance.choice(slots)
            value = copy.deepcopy(_get(other, other_key))  # It may contain the slot that it goes to.
            _set(holder, key, lambda _: value)
        case "add" if isinstance(holder, dict):
            holder[chance.choice(("odd", "id", "kind", "a\nb"))] = chance.choice(ODD_VALUES)
        case "add" if isinstance(holder, list):
            holder.append(_get(holder, key))
        case _:
            _remove(holder, key)


def _slots(tree: object) -> list[Slot]:
    """Every place in a tree that holds a value."""
    slots: list[Slot] = []
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            slots += [(value, key) for key in value]
            waiting += value.values()
        elif isinstance(value, list):
            slots += [(value, index) for index in range(len(value))]
            waiting += value
    return slots


def _get(holder: dict[str, object] | list[object], key: str | int) -> object:
    return holder[str(key)] if isinstance(holder, dict) else holder[int(key)]


def _set(
    holder: dict[str, object] | list[object], key: str | int, change: Callable[[object], object]
) -> None:
    if isinstance(holder, dict):
        holder[str(key)] = change(holder[str(key)])
    else:
        holder[int(key)] = change(holder[int(key)])


def _remove(holder: dict[str, object] | list[object], key: str | int) -> None:
    if isinstance(holder, dict):
        del holder[str(key)]
    else:
        del holder[int(key)]
