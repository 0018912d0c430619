"""The two sides of a comparison, as the user names them: a server, settings of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from history.scenario import ServerSettings
from history.strict_yaml import BadYaml, parse_yaml
from kvchaos.bench.bench_scenarios import Settings
from kvchaos.errors import UsageError

SERVER, URL = "server", "url"
KNOWN_NAMES = (SERVER, URL, *ServerSettings.model_fields)


@dataclass(frozen=True, slots=True)
class Side:
    """What differs on this side."""

    server: str | None
    """Name of its environment; None: the one that both have."""
    url: str | None
    """Where it is, if it is there already."""
    settings: Settings
    label: str


def side_of(assignments: Sequence[str]) -> Side:
    """Parse `name=value` arguments. Raises UsageError."""
    settings: Settings = {}
    servers: dict[str, str] = {}
    for assignment in assignments:
        name, found, text = assignment.partition("=")
        if not found or name not in KNOWN_NAMES:
            raise UsageError(f"{assignment!r}: write name=value, with a name of {', '.join(KNOWN_NAMES)}")
        if name in settings or name in servers:
            raise UsageError(f"{assignment!r}: {name} was given before")
        if name in (SERVER, URL):
            servers[name] = text
        else:
            settings[name] = _value(assignment, text)
    if URL in servers and (settings or SERVER in servers):
        raise UsageError(
            f"{' '.join(assignments)!r}: a server that is there already stays as it is; give its url alone"
        )
    return Side(servers.get(SERVER), servers.get(URL), settings, " ".join(assignments))


def _value(assignment: str, text: str) -> bool | int | float | str | list[bool | int | float | str]:
    """As YAML has it, as in a scenario file: `off`, `40`, `[--flag, "1"]`."""
    try:
        value = parse_yaml(text, "value")
    except BadYaml as error:
        raise UsageError(f"{assignment!r}: is no value: {error}") from error
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        items = [one for one in value if isinstance(one, bool | int | float | str)]
        if len(items) == len(value):
            return items
    raise UsageError(f"{assignment!r}: is no value")
