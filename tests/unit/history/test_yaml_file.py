"""A YAML file is plain values or one line with its name and line; a few bytes of it never take gigabytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from history import strict_yaml
from history.strict_yaml import MAX_DEPTH, BadYaml, dump_yaml, load_yaml, parse_yaml
from kvchaos.planning.scenario_file import scenario_files

LAUGHS = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: &d [*c, *c]\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("a: 1\nb: [x, null, ~, true, off]\n", {"a": 1, "b": ["x", None, None, True, False]}),
        ("{a: {b: []}, c: {}}", {"a": {"b": []}, "c": {}}),
        ("[1_000, -0, 9223372036854775807, -9223372036854775808]", [1000, 0, 2**63 - 1, -(2**63)]),
        ("[1.5, .5e+3, -2.0, 1_0.5]", [1.5, 500.0, -2.0, 10.5]),
        ("a: '1'\nb: \"true\"\nc: 'null'", {"a": "1", "b": "true", "c": "null"}),
        ("a: |\n  two\n  lines\n", {"a": "two\nlines\n"}),
        ("true: a\n1: b\n", {"true": "a", "1": "b"}),
        ("a: 2026-13-45", {"a": "2026-13-45"}),
        ("'<<': a", {"<<": "a"}),
        ("\ufeffa: b", {"a": "b"}),
    ],
)
def test_plain_values_are_read(text: str, value: object) -> None:
    assert parse_yaml(text, "f") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]", "f:1: anchor &a is not allowed; "),
        (LAUGHS, "f:1: anchor &a is not allowed; "),
        ("a: 1\nb: *a", "f:2: alias \\*a is not allowed; "),
        ("<<: {a: b}", "f:1: merge key << is not allowed; "),
        ("a: !!binary x", "f:1: tag .* is not allowed; "),
        ("a: ! x", "f:1: tag ! is not allowed; "),
        ("a: 1\na: 2", "f:2: key a twice is not allowed; "),
        ("a: 1\n'a': 2", "f:2: key a twice is not allowed; "),
        ("? [a]\n: b", "f:1: a list or a mapping as a key is not allowed; "),
        ("a\n---\nb", "f:2: a second document is not allowed; "),
        ("a: 010", "f:1: number 010 is not allowed; .*decimal"),
        ("a: 1:30", "f:1: number 1:30 is not allowed; .*quotes"),
        ("a: .nan", "f:1: number .nan is not allowed; .*finite"),
        ("a: -.inf", "f:1: number -.inf is not allowed; .*finite"),
        ("a: 1.0e+999", "f:1: number 1.0e\\+999 is not allowed; .*finite"),
        ("a: 9223372036854775808", "f:1: number 9223372036854775808 is not allowed; .*64 bits"),
        (f"a: {'9' * 10_000}", "f:1: number 9{40}\\.\\.\\. is not allowed; .*64 bits"),
        ("[" * (MAX_DEPTH + 1), f"f:1: more than {MAX_DEPTH} levels of nesting is not allowed; "),
        ("- " * (MAX_DEPTH + 1), f"f:1: more than {MAX_DEPTH} levels of nesting is not allowed; "),
        ("a: [", "f:[12]: is not YAML: .*; correct it"),
        ("a: b\nc: d: e", "f:2: is not YAML: .*; correct it"),
        ("a: b\nc: \x07", "f:2: is not YAML: a control character; remove it"),
        ("&a\u2028b c", "f:1: "),
    ],
)
def test_yaml_beyond_plain_values_is_refused_with_file_and_line(text: str, message: str) -> None:
    with pytest.raises(BadYaml, match=f"^{message}") as caught:
        parse_yaml(text, "f")
    assert len(str(caught.value).splitlines()) == 1


def test_repeated_value_is_written_without_alias() -> None:
    shared = {"b": [1.5, "yes", None]}
    value = {"z": shared, "a": [shared, shared], "c": "1:30"}
    assert parse_yaml(dump_yaml(value), "f") == value


def test_half_a_character_is_refused_by_either_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of PyYAML's two parsers only the one in C refuses it itself."""
    for parser in (yaml.SafeLoader, yaml.CSafeLoader):
        monkeypatch.setattr(strict_yaml, "_PARSER", parser)
        with pytest.raises(BadYaml, match=r"^f:1: "):
            parse_yaml('a: "\\ud800"', "f")


def test_every_scenario_is_plain_yaml(tmp_path: Path) -> None:
    assert all(isinstance(load_yaml(path), dict) for path in scenario_files())
