"""The Alertmanager of the alerts: who is notified, and that a cause hides what follows from it."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from kvchaos.tools.amtool import AMTOOL
from kvchaos.tools.tool import need_tool
from tests.prometheus.test_alert_rules import PAGE, RULE_FILES, rules_of
from tests.support.source_tree import ROOT

CONFIG = ROOT / "compose" / "alertmanager" / "alertmanager.yml"
SEVERITIES = {rule["alert"]: rule["labels"]["severity"] for name in RULE_FILES for rule in rules_of(name)}
MATCHER = re.compile(r'(?P<label>\w+)(?P<operator>=~|!=|=)"(?P<value>[^"]*)"')
ROW = re.compile(r"^\| (?P<causes>[A-Z][\w, ]+) \| (?P<hidden>[^|]+) \|$", re.MULTILINE)
SLOW = {"VllmFirstTokensSlow", "VllmTokensSlow"}
HIDDEN: Mapping[str, set[str]] = {
    "VllmServerDown": {alert for alert in SEVERITIES if alert.startswith("Vllm")} - {"VllmServerDown"},
    "VllmServerRestarted": {
        *("VllmScrapesFail", "VllmRequestsFail", "VllmTierHitsVanished", "VllmFirstTokensSlow")
    },
    "VllmCounterDecreased": {"VllmCountsContradict", "VllmTierHitsVanished", *SLOW},
    "VllmDeadlock": {"VllmTierHitsVanished", *SLOW},
    "VllmNoProgress": {"VllmTierHitsVanished", *SLOW},
    "VllmTierAllocationFails": {"VllmTierHitsVanished"},
    "ServerDown": {"ServerRestarted", "RequestsFail", "Deadlock", "NoProgress", "BlocksLeaked"},
    "ServerRestarted": {"RequestsFail"},
}
"""The alerts that each alert hides on the same server or run."""
FAULTS = [
    ("receiver: page", "receiver: pager"),
    ("'severity=\"critical\"'", "'severity~\"critical\"'"),
    ("group_wait: 30s", "group_wait: 30"),
    ("source_matchers", "sources"),
]


@pytest.fixture(scope="module")
def amtool() -> Path:
    """The checker that comes with Alertmanager."""
    return need_tool(os.environ, AMTOOL)


def amtool_passes(amtool: Path, *arguments: str | Path) -> bool:
    done = subprocess.run([amtool, *arguments], capture_output=True, text=True, check=False)
    return done.returncode == 0


def labels(alert: str, target: str = "a") -> dict[str, str]:
    """Labels of an alert, of a server in production or of a run."""
    about = {"job": "vllm", "instance": target} if alert.startswith("Vllm") else {"run": target}
    return {"alertname": alert, "severity": SEVERITIES[alert], **about}


def matches(matchers: list[str], given: Mapping[str, str]) -> bool:
    """Whether labels match all matchers, as Alertmanager defines it: patterns are anchored."""
    return all(_matches(matcher, given) for matcher in matchers)


def _matches(matcher: str, given: Mapping[str, str]) -> bool:
    found = MATCHER.fullmatch(matcher)
    assert found is not None, matcher
    value = given.get(found["label"], "")
    if found["operator"] == "=~":
        return re.fullmatch(found["value"], value) is not None
    return (value == found["value"]) == (found["operator"] == "=")


def hides(cause: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether a firing alert inhibits another."""
    return any(
        matches(rule["source_matchers"], cause)
        and matches(rule["target_matchers"], other)
        and all(cause.get(label) == other.get(label) for label in rule["equal"])
        for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]
    )


@pytest.mark.amtool
def test_amtool_accepts_the_configuration(amtool: Path) -> None:
    assert amtool_passes(amtool, "check-config", CONFIG)


@pytest.mark.amtool
@pytest.mark.parametrize(("old", "new"), FAULTS)
def test_amtool_refuses_a_planted_fault(old: str, new: str, amtool: Path, tmp_path: Path) -> None:
    text = CONFIG.read_text()
    assert old in text
    path = tmp_path / "alertmanager.yml"
    path.write_text(text.replace(old, new))
    assert not amtool_passes(amtool, "check-config", path)


@pytest.mark.amtool
@pytest.mark.parametrize("alert", SEVERITIES)
def test_alert_reaches_its_receiver(alert: str, amtool: Path) -> None:
    production = {"critical": "page", "warning": "ticket"}
    receiver = production[SEVERITIES[alert]] if alert.startswith("Vllm") else "run-operator"
    options = (f"--config.file={CONFIG}", f"--verify.receivers={receiver}")
    given = [f"{name}={value}" for name, value in labels(alert).items()]
    assert amtool_passes(amtool, "config", "routes", "test", *options, *given)


@pytest.mark.amtool
def test_wrong_receiver_is_found(amtool: Path) -> None:
    options = (f"--config.file={CONFIG}", "--verify.receivers=ticket")
    given = [f"{name}={value}" for name, value in labels("VllmDeadlock").items()]
    assert not amtool_passes(amtool, "config", "routes", "test", *options, *given)


@pytest.mark.parametrize("cause", SEVERITIES)
def test_cause_hides_exactly_its_consequences(cause: str) -> None:
    hidden = {other for other in SEVERITIES if other != cause and hides(labels(cause), labels(other))}
    assert hidden == HIDDEN.get(cause, set())


def test_alert_of_another_server_or_run_is_not_hidden() -> None:
    for cause, consequences in HIDDEN.items():
        assert not any(hides(labels(cause), labels(other, "other")) for other in consequences)


def test_consequences_on_the_page_are_those_of_the_configuration() -> None:
    page = PAGE.read_text().replace("all others", ", ".join(HIDDEN["VllmServerDown"]))
    rows = {
        frozenset(re.findall(r"\w+", row["causes"])): set(re.findall(r"[A-Z]\w+", row["hidden"]))
        for row in ROW.finditer(page.partition("| alert | hides |")[2].partition("###")[0])
    }
    listed = {cause: hidden for causes, hidden in rows.items() for cause in causes}
    assert listed == HIDDEN


def test_configuration_names_existing_alerts() -> None:
    rules = yaml.safe_load(CONFIG.read_text())["inhibit_rules"]
    matchers = [each for rule in rules for each in (*rule["source_matchers"], *rule["target_matchers"])]
    named = {name for matcher in matchers for name in re.findall(r"[A-Z]\w+", matcher)} - {"Vllm"}
    assert named <= SEVERITIES.keys()
