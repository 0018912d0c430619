"""What people write, read strictly: plain YAML in bounded time and memory.

Values are built from the stream of the parser's events, so a file is refused at the first forbidden
construct, before any value exists. Forbidden are tags, merge keys, duplicate keys, a second document, and
numbers that JSON or a 64-bit integer cannot hold. Anchors and aliases are forbidden too: a few bytes of them
can expand to gigabytes, or to a value that contains itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    ScalarEvent,
)

from history.jsonl import open_plain

MAX_BYTES = 8 << 20
MAX_VALUES = 500_000
"""Values and keys. The longest plan lists the invocations of faults to replay, some ten thousand."""
MAX_DEPTH = 32
MAX_QUOTED = 40
"""Characters of the file that a message repeats."""

Value = None | bool | int | float | str | list["Value"] | dict[str, "Value"]

_PARSER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_resolve: Callable[[type[yaml.ScalarNode], str, tuple[bool, bool]], str] = yaml.resolver.Resolver().resolve
"""The tag of a scalar: what it is, by its look and its quotes."""
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?[0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|[-+]?\.[0-9][0-9_]*([eE][-+][0-9]+)?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_TRUE = frozenset({"yes", "true", "on"})
_TAG = "tag:yaml.org,2002:"


class _PlainDumper(yaml.SafeDumper):
    """Writes out again what occurs twice, where the library would write an alias."""

    def ignore_aliases(self, data: object) -> bool:
        return True


class BadYaml(Exception):
    """A file that is not read; the message is one line with file, line, problem, and what to do."""


def load_yaml(path: Path) -> Value:
    """Read a file: null, bool, int, float, str, list, or dict with str keys. Raises BadYaml, OSError."""
    with open_plain(path) as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise BadYaml(f"{path}: is larger than {MAX_BYTES >> 20} MiB; give a smaller file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise BadYaml(f"{path}:{line}: is not UTF-8 text; save the file as UTF-8") from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, name: str) -> Value:
    """Read a text; `name` stands for the file in messages. Raises BadYaml."""
    builder = _Builder(name)
    for event in _events(text, name):
        builder.take(event)
    return builder.result


def dump_yaml(value: object) -> str:
    """Plain values as a text that `parse_yaml` reads. Raises YAMLError for what is not plain."""
    return yaml.dump(value, Dumper=_PlainDumper, sort_keys=False)


def _events(text: str, name: str) -> Iterator[Event]:
    try:
        yield from yaml.parse(text, Loader=_PARSER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        problem = _one_line(error.problem or error.context or "it cannot be parsed")
        raise BadYaml(f"{name}{line}: is not YAML: {problem}; correct it there or just above") from error
    except yaml.reader.ReaderError as error:
        number = text.encode().count(b"\n", 0, error.position) + 1
        raise BadYaml(f"{name}:{number}: is not YAML: a control character; remove it") from error


class _Builder:
    """Makes the value of a document from the parser's events, without recursion."""

    def __init__(self, name: str) -> None:
        self.result: Value = None
        self._name = name
        self._open: list[_Sequence | _Mapping] = []
        self._documents = 0
        self._values = 0

    def take(self, event: Event) -> None:
        match event:
            case AliasEvent():
                self._refuse(event, f"alias *{_quoted(event.anchor)}", "write the value out")
            case ScalarEvent():
                self._begin(event)
                self._scalar(event)
            case CollectionStartEvent():
                self._begin(event)
                self._collection(event)
            case CollectionEndEvent():
                self._put(event, self._open.pop().value)
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._refuse(event, "a second document", "keep one document in a file")
            case _:
                pass

    def _begin(self, event: ScalarEvent | CollectionStartEvent) -> None:
        """Refuse what no value may have."""
        self._values += 1
        if self._values > MAX_VALUES:
            self._refuse(event, f"more than {MAX_VALUES} values", "give a smaller file")
        if event.anchor is not None:
            self._refuse(event, f"anchor &{_quoted(event.anchor)}", "write values out where they are used")
        if event.tag is not None:
            self._refuse(event, f"tag {_quoted(event.tag)}", "write a plain value")

    def _collection(self, event: CollectionStartEvent) -> None:
        if self._open and self._open[-1].needs_key:
            self._refuse(event, "a list or a mapping as a key", "use text as the key")
        if len(self._open) >= MAX_DEPTH:
            self._refuse(event, f"more than {MAX_DEPTH} levels of nesting", "nest less")
        self._open.append(_Mapping() if isinstance(event, MappingStartEvent) else _Sequence())

    def _scalar(self, event: ScalarEvent) -> None:
        if _SURROGATE.search(event.value):
            self._refuse(event, "half of a character (\\ud800 to \\udfff)", "write the whole character")
        holder = self._open[-1] if self._open else None
        if isinstance(holder, _Mapping) and holder.needs_key:
            self._key(event, holder)
        else:
            self._put(event, self._value(event))

    def _key(self, event: ScalarEvent, holder: _Mapping) -> None:
        """Keys are text, whatever they look like."""
        key = event.value
        if event.implicit[0] and key == "<<":
            self._refuse(event, "merge key <<", "write the keys out")
        if key in holder.value:
            self._refuse(event, f"key {_quoted(key)} twice", "remove one of them")
        holder.key = key

    def _put(self, event: Event, value: Value) -> None:
        if self._open:
            self._open[-1].add(value)
        else:
            self.result = value

    def _value(self, event: ScalarEvent) -> Value:
        tag = _resolve(yaml.ScalarNode, event.value, event.implicit).removeprefix(_TAG)
        match tag:
            case "null":
                return None
            case "bool":
                return event.value.lower() in _TRUE
            case "int":
                return self._int(event)
            case "float":
                return self._float(event)
            case _:
                return event.value

    def _int(self, event: ScalarEvent) -> int:
        if not _DECIMAL.fullmatch(event.value):
            self._refuse(event, f"number {_quoted(event.value)}", "write it in decimal, or in quotes as text")
        # 19 digits are the most that 64 bits hold.
        number = int(event.value) if len(event.value) < 64 else 2**63
        if not -(2**63) <= number < 2**63:
            self._refuse(event, f"number {_quoted(event.value)}", "give one of at most 64 bits")
        return number

    def _float(self, event: ScalarEvent) -> float:
        if not _FLOAT.fullmatch(event.value):
            self._refuse(event, f"number {_quoted(event.value)}", "write a finite decimal number")
        number = float(event.value.replace("_", ""))
        if not math.isfinite(number):
            self._refuse(event, f"number {_quoted(event.value)}", "write a finite decimal number")
        return number

    def _refuse(self, event: Event, what: str, what_to_do: str) -> NoReturn:
        assert event.start_mark is not None
        raise BadYaml(f"{self._name}:{event.start_mark.line + 1}: {what} is not allowed; {what_to_do}")


class _Sequence:
    """A list whose end has not come yet."""

    needs_key = False

    def __init__(self) -> None:
        self.value: list[Value] = []

    def add(self, value: Value) -> None:
        self.value.append(value)


class _Mapping:
    """A mapping whose end has not come yet; `key` waits for its value."""

    def __init__(self) -> None:
        self.value: dict[str, Value] = {}
        self.key: str | None = None

    @property
    def needs_key(self) -> bool:
        return self.key is None

    def add(self, value: Value) -> None:
        assert self.key is not None
        self.value[self.key] = value
        self.key = None


def _quoted(text: str | None) -> str:
    """A piece of the file for a message: short, and on one line."""
    text = text or ""
    shown = text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}..."
    return shown if shown.isprintable() else ascii(shown)


def _one_line(text: str) -> str:
    return " ".join(text.split())
