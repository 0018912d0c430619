"""The files for GitHub and GitLab as data, and the linters that read them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.source_tree import ROOT

WORKFLOW = ROOT / ".github/workflows/nightly.yml"
GRAFANA_WORKFLOW = WORKFLOW.with_name("grafana.yml")
WORKFLOWS = tuple(sorted(WORKFLOW.parent.glob("*.yml")))
ACTIONS = tuple(sorted((ROOT / ".github/actions").glob("*/action.yml")))
GITLAB = ROOT / "ci/gitlab/nightly.yml"
SCHEMAS = {"github-workflows": WORKFLOWS, "github-actions": ACTIONS, "gitlab-ci": (GITLAB,)}
"""Name of a schema that check-jsonschema contains, and its files."""
PROGRAMS = Path(sys.executable).parent
MAKE = re.compile(r"""make (--directory ("\$GITHUB_ACTION_PATH/\.\./\.\./\.\."|kvchaos) )?([a-z-]+)""")
"""A call of a target. The folder is that of kvchaos."""
SETUP = frozenset(
    {
        'git clone --quiet --no-checkout "$KVCHAOS_URL" kvchaos',
        'git -C kvchaos checkout --quiet --detach "$KVCHAOS_COMMIT"',
    }
)
"""Lines without which there would be no Makefile."""
Yaml = Mapping[Any, Any]
"""Keys are texts, but for `on`, which YAML 1.1 reads as true."""


def load(path: Path) -> Yaml:
    """The content of a file."""
    content: Yaml = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def schema_problem(schema: str, *paths: Path) -> str | None:
    """What check-jsonschema reports."""
    done = subprocess.run(
        [PROGRAMS / "check-jsonschema", "--builtin-schema", f"vendor.{schema}", *paths],
        capture_output=True,
        text=True,
        check=False,
    )
    return None if done.returncode == 0 else done.stdout + done.stderr


def security_findings(*paths: Path) -> list[str]:
    """The audits of zizmor that found something."""
    done = subprocess.run(
        [
            PROGRAMS / "zizmor",
            "--offline",
            "--no-config",
            "--persona",
            "pedantic",
            "--format",
            "json",
            *paths,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        return sorted(finding["ident"] for finding in json.loads(done.stdout))
    except json.JSONDecodeError as error:
        raise AssertionError(done.stderr) from error


def run_lines(content: Any) -> Iterator[str]:
    """Each line that a shell runs, of GitHub's `run` and of GitLab's scripts."""
    if isinstance(content, list):
        for each in content:
            yield from run_lines(each)
    elif isinstance(content, dict):
        for key, value in content.items():
            if key == "run" and isinstance(value, str):
                yield from value.splitlines()
            elif key in ("script", "before_script", "after_script"):
                yield from (line for each in value for line in each.splitlines())
            else:
                yield from run_lines(value)


def strange_lines(content: Yaml) -> list[str]:
    """Lines that are neither a target of the Makefile nor needed to reach it."""
    return [line for line in run_lines(content) if line not in SETUP and not MAKE.fullmatch(line)]


def targets(content: Yaml) -> set[str]:
    """Targets of the Makefile that the lines call."""
    return {found[3] for line in run_lines(content) if (found := MAKE.fullmatch(line))}


NAME = re.compile(r"\b(?:github|inputs|needs)\.[\w.-]+|!?\bcancelled\(\)|'[^']*'|&&|\|\||[=!]=")


def truth(expression: str, values: Mapping[str, object]) -> object:
    """The value of a GitHub expression with `&&`, `||`, `==` and `!=`; names that are missing are empty."""
    operators = {"&&": " and ", "||": " or "}

    def python(found: re.Match[str]) -> str:
        text = found[0]
        if text.startswith(("github.", "inputs.", "needs.")):
            return repr(values.get(text, ""))
        if text.endswith("cancelled()"):
            return str(text.startswith("!"))
        return operators.get(text, text)

    inner = expression.strip().removeprefix("${{").removesuffix("}}")
    return eval(" ".join(NAME.sub(python, inner).split()), {"__builtins__": {}})
