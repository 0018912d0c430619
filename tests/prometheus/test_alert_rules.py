"""An alert that does not fire hides a failure, and one without a runbook does not say what to do."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvchaos.bugs.bug_catalogue import known_bugs
from kvchaos.prometheus.program import RULES, SOURCE, ScrapeTargets, write_config
from tests.support.source_tree import ROOT

PAGE = ROOT / "docs" / "alerts.md"
CASES = Path(__file__).with_name("rules.test.yml")
RULE_FILES = (RULES, "production-alerts.yml")
RECORDING = "production-recording.yml"
ANNOTATIONS = {"summary", "description", "runbook_url", "dashboard_url"}
TARGETS = {"kvchaos-run": "run", "kvchaos-fleet": "instance"}
"""The label that says what an alert is about, by the dashboard to which the alert links."""
LINK = re.compile(r"/d/(?P<uid>[\w-]+)\?.*var-\w+=.*&from={{.*}}&to={{.*}}")
SEVERITIES = {"critical", "warning"}
SECTION = re.compile(r"^## (?P<alert>\w+)\n(?P<text>.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
PARTS = ("Meaning", "Confirm", "Do", "Known bugs that look like this")
QUERIES = re.compile(r"^```promql\n(.*?)^```", re.MULTILINE | re.DOTALL)
BUG = re.compile(r"`(vllm-(?:pr-)?\d+|unreported-[a-z-]+)`")


def all_rules() -> str:
    """The text of all rule files with alerts."""
    groups = [group for name in RULE_FILES for group in yaml.safe_load((SOURCE / name).read_text())["groups"]]
    return yaml.safe_dump({"groups": groups}, sort_keys=False, width=1000)


def rules_of(name: str) -> list[dict[str, Any]]:
    """The rules of a file."""
    return alerts((SOURCE / name).read_text())


def alerts(rules: str) -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(rules)["groups"] for rule in group["rules"]]


def problems(rules: str, page: str) -> list[str]:
    """What the operator of a run misses in the alerts and their runbook: alert and subject of each."""
    sections = {found["alert"]: found["text"] for found in SECTION.finditer(page)}
    given = {rule["alert"]: rule for rule in alerts(rules)}
    found = [f"{alert}: section" for alert in given.keys() - sections.keys()]
    found += [f"{alert}: stray" for alert in sections.keys() - given.keys()]
    for alert, rule in given.items():
        texts = rule.get("annotations", {})
        found += [f"{alert}: {key}" for key in ANNOTATIONS ^ texts.keys()]
        if rule["labels"]["severity"] not in SEVERITIES:
            found.append(f"{alert}: severity")
        linked = LINK.fullmatch(texts.get("dashboard_url", ""))
        if linked is None or linked["uid"] not in TARGETS:
            found.append(f"{alert}: dashboard")
            continue
        figures = {"$value", f"$labels.{TARGETS[linked['uid']]}"}
        if not figures <= set(re.findall(r"\$value|\$labels\.\w+", texts.get("description", ""))):
            found.append(f"{alert}: figures")
        if texts.get("runbook_url") != f"docs/alerts.md#{alert.lower()}":
            found.append(f"{alert}: link")
        if f"[{alert}](#{alert.lower()}) | {rule['labels']['severity']} |" not in page:
            found.append(f"{alert}: row")
    found += [
        f"{alert}: {part}" for alert, text in sections.items() for part in PARTS if f"**{part}.**" not in text
    ]
    return sorted(found)


def test_every_alert_has_its_annotations_and_its_runbook() -> None:
    assert problems(all_rules(), PAGE.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("      runbook_url: docs/alerts.md#deadlock\n", "", ["Deadlock: link", "Deadlock: runbook_url"]),
        ("docs/alerts.md#deadlock\n", "docs/alerts.md#livelock\n", ["Deadlock: link"]),
        ("{{ $value }} requests wait and", "requests wait and", ["Deadlock: figures"]),
        ("summary: Requests wait and none", "about: Requests", ["Deadlock: about", "Deadlock: summary"]),
        ("- alert: ServerDown\n", "- alert: ServerUp\n", ["ServerDown: stray", "ServerUp: section"]),
        (
            "&from={{ with query `(time() - 300)",
            "&since={{ with query `(time() - 300)",
            ["Deadlock: dashboard"],
        ),
        ("/d/kvchaos-fleet?", "/d/kvchaos-fleets?", ["VllmDeadlock: dashboard"]),
    ],
)
def test_alert_without_runbook_link_or_value_is_found(old: str, new: str, expected: list[str]) -> None:
    rules = all_rules()
    assert old in rules
    found = problems(rules.replace(old, new), PAGE.read_text())
    assert set(expected) <= set(found)


def test_runbook_names_known_bugs_and_documented_metrics_only() -> None:
    page = PAGE.read_text()
    assert set(BUG.findall(page)) <= {bug.id for bug in known_bugs()}
    documented = "".join((ROOT / "docs" / name).read_text() for name in ("oracles.md", "metrics.md"))
    queried = set(re.findall(r"\b(?:vllm:|kvchaos_)\w+", "".join(QUERIES.findall(page))))
    assert [name for name in queried if f"`{name.removesuffix('_bucket')}`" not in documented] == []


def test_runbook_and_alerts_query_recorded_series_only() -> None:
    recorded = {rule["record"] for rule in rules_of(RECORDING)}
    text = (SOURCE / RULE_FILES[1]).read_text() + "".join(QUERIES.findall(PAGE.read_text()))
    assert set(re.findall(r"\binstance:\w+(?::\w+)?", text)) <= recorded


def test_runbook_names_the_alert_of_each_law() -> None:
    laws = [rule["labels"]["law"] for rule in rules_of(RECORDING) if "labels" in rule]
    rows = re.findall(r"^\| \[(Vllm\w+)\].* `([\w-]+)` \|$", PAGE.read_text(), re.MULTILINE)
    assert sorted(laws) == sorted(law for _, law in rows)
    exprs = {rule["alert"]: rule["expr"] for rule in rules_of(RULE_FILES[1])}
    used = {alert: re.findall(r'law="([\w-]+)"', expr) for alert, expr in exprs.items()}
    assert all(used[alert] in ([], [law]) for alert, law in rows)


@pytest.mark.prometheus
def test_promtool_accepts_the_rules_and_the_queries_of_the_runbook(tmp_path: Path, promtool: Path) -> None:
    queries = [line for block in QUERIES.findall(PAGE.read_text()) for line in block.splitlines()]
    assert len(queries) >= len(alerts(all_rules()))
    rules = [{"record": f"runbook:{number}:query", "expr": expr} for number, expr in enumerate(queries)]
    runbook = tmp_path / "runbook.yml"
    runbook.write_text(yaml.safe_dump({"groups": [{"name": "runbook", "rules": rules}]}))
    for path in (*(SOURCE / name for name in (*RULE_FILES, RECORDING)), runbook):
        done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.prometheus
def test_every_alert_fires_when_it_should_and_only_then(tmp_path: Path, promtool: Path) -> None:
    shutil.copyfile(SOURCE / RULES, tmp_path / RULES)
    cases = Path(shutil.copy(CASES, tmp_path))
    done = subprocess.run([promtool, "test", "rules", cases], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_firing_and_a_silent_case() -> None:
    names = {rule["alert"] for rule in alerts((SOURCE / RULES).read_text())}
    tests = yaml.safe_load(CASES.read_text())["tests"]
    tried = [case for test in tests for case in test["alert_rule_test"]]
    assert {case["alertname"] for case in tried if case["exp_alerts"]} == names
    assert {case["alertname"] for case in tried if not case["exp_alerts"]} == names


def test_alerts_link_to_the_configured_copy_of_the_pages(tmp_path: Path) -> None:
    targets = ScrapeTargets(server="127.0.0.1:8000", suite="127.0.0.1:8001")
    folder = write_config(tmp_path / "prometheus", "run-1", targets, "https://example.org/docs/").parent
    original, written = (alerts(path.read_text()) for path in (SOURCE / RULES, folder / RULES))
    for rule, copied in zip(original, written, strict=True):
        url = f"https://example.org/{rule['annotations']['runbook_url']}"
        assert copied == {**rule, "annotations": {**rule["annotations"], "runbook_url": url}}
