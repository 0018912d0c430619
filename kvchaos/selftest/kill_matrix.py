"""Runs the mutants against a real server, and scores which oracles report which mutants and alterations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from rich.console import Console

from history.reader import History, read_history
from history.scenario import Scenario
from history.verdict import Finding, OracleResult, RunVerdict, Verdict
from kvchaos.campaign.campaign import TrafficInterceptor, run_one
from kvchaos.judging.judge_run import judge_run_dir
from kvchaos.paths import Workspace
from kvchaos.planning.run_plan import RunRequest
from kvchaos.planning.scenario_file import find_scenario, load_scenario
from kvchaos.report.text_tables import markdown_table, replace_between
from kvchaos.selftest.alterations import ALTERATIONS
from kvchaos.selftest.mutants.mutant import ExpectedKill, Mutant, Session
from kvchaos.selftest.mutants.sessions import UNTOUCHED, sessions
from kvchaos.selftest.mutating_proxy import LOAD, TrafficState, mutating_proxy
from kvchaos.servers.server_registry import ServerEnv
from oracles import ORACLES, all_rules
from oracles.findings import Alteration
from oracles.laws.families import BOUND, REASONS, family
from oracles.views.timeline import release

CONTRACT_VIOLATING = "lost-completion"
STALL_S = 5.0
SEED = 1
PROMPTS = 16


def session_scenario(session: Session) -> Scenario:
    """The scenario of a session: enough load that blocks come back from the tier, in a few seconds."""
    if session.contract_violating:
        return load_scenario(find_scenario(CONTRACT_VIOLATING))
    shape = {"prefixes": 8, "prefix_tokens": 320, "suffix_tokens": 20, "prompts": PROMPTS}
    content: dict[str, object] = {
        "name": f"sight-{session.name}",
        "summary": f"Can the oracles see? {', '.join(mutant.what for mutant in session.mutants)}".strip(),
        "server": {"gpu_blocks": 40, "reserve_full_prompt": False, "audit": True, **session.server},
        "workloads": {
            "shared": {"kind": "shared_prefix", "params": {**shape, "min_output": 12, "max_output": 32}}
        },
        "phases": [
            _phase("golden", "golden", PROMPTS, concurrency=2),
            _phase(LOAD, "chaos" if session.faults else "load", 3 * PROMPTS, concurrency=6),
            *([_phase("healed", "healed", PROMPTS, concurrency=6)] if session.faults else []),
        ],
        "faults": session.faults,
        "limits": {"stall_s": STALL_S, "drain_s": STALL_S, "client": session.client, **session.limits},
        "performance": {LOAD: session.load} if session.load else {},
    }
    return Scenario.model_validate(content, strict=False)


def _phase(name: str, role: str, requests: int, *, concurrency: int) -> dict[str, object]:
    return {
        "name": name,
        "role": role,
        "workload": "shared",
        "requests": requests,
        "concurrency": concurrency,
    }


def run_sessions(
    sessions: Sequence[Session], server: ServerEnv, workspace: Workspace, console: Console
) -> Iterator[SessionScore]:
    """Run and score each session; after the untouched one, the alterations of its history.

    Raises UsageError; ends early when a signal cut a run short.
    """
    for session in sessions:
        request = RunRequest(
            scenario=session_scenario(session),
            server=server,
            seed=SEED,
            workers=1,
            prometheus=session.prometheus,
        )
        run_dir, interrupted = run_one(
            request, workspace, console, None if session.contract_violating else _interceptor(session)
        )
        if interrupted:
            return
        yield score_session(session, judge_run_dir(run_dir))
        if session.name == UNTOUCHED:
            yield score_alterations(read_history(run_dir))


def _interceptor(session: Session) -> TrafficInterceptor:
    mutations = [mutation for mutant in session.mutants for mutation in mutant.mutations]
    return lambda launch, run_dir: mutating_proxy(mutations, TrafficState(run_dir, launch.port))


KILL_HEADINGS = ("rule", "mutant", "what it does", "seen", "evidence")


@dataclass(frozen=True, slots=True)
class KillResult:
    """A rule and a mutant that must break it."""

    rule: str
    """Id of the rule; the name of the oracle where its verdict must be unknown."""
    mutant: str
    what: str
    killed: bool
    evidence: str
    """Text of the finding that kills the mutant; else the verdict of the oracle."""


@dataclass(frozen=True, slots=True)
class SessionScore:
    """The result of one session."""

    session: str
    rows: tuple[KillResult, ...]
    unexpected: tuple[str, ...]
    """A line for each violation or unknown that no mutant of the run was meant to bring."""

    @property
    def passed(self) -> bool:
        """Whether every mutant was detected and nothing else was found."""
        return not self.unexpected and all(row.killed for row in self.rows)


def score_session(session: Session, verdict: RunVerdict) -> SessionScore:
    """Compare the verdicts of a run with the expected kills of its mutants."""
    results = {result.oracle: result for result in verdict.results}
    kills = [kill for mutant in session.mutants for kill in mutant.kills]
    rows = tuple(
        _row(mutant, kill, results[kill.oracle]) for mutant in session.mutants for kill in mutant.kills
    )
    wrong = frozenset[str]().union(*(mutant.families for mutant in session.mutants))
    unexpected = (line for result in verdict.results for line in _unexpected(result, kills, wrong))
    return SessionScore(session.name, rows, tuple(f"{session.name}: {line}" for line in unexpected))


def _unexpected(result: OracleResult, kills: Sequence[ExpectedKill], wrong: Set[str]) -> Iterator[str]:
    """A line for what no mutant of the run was meant to bring, with the metric families that they make wrong.

    A law between two series can be broken by either.
    """
    mine = {kill.rule for kill in kills if kill.oracle == result.oracle}
    if result.verdict is Verdict.UNKNOWN and None not in mine:
        yield f"{result.oracle} is unknown: {result.summary}"
    binding = {rule for name in wrong for rule in BOUND.get(name, ())}
    for rule in sorted(result.by_rule.keys() - mine - binding):
        findings = [finding for finding in result.findings if finding.rule == rule]
        text = next((finding.text for finding in findings if _family_of(finding) not in wrong), None)
        if text is not None:
            yield f"{rule}: {text}"


def _family_of(finding: Finding) -> str | None:
    """The metric family that a finding is about."""
    return family(finding.subject.name.partition("{")[0]) if finding.subject.kind == "metric" else None


def _row(mutant: Mutant, kill: ExpectedKill, result: OracleResult) -> KillResult:
    evidence = _evidence(kill, result)
    instead = f"{result.verdict}: {result.summary}"
    return KillResult(
        kill.rule or kill.oracle, mutant.name, mutant.what, evidence is not None, evidence or instead
    )


def _evidence(kill: ExpectedKill, result: OracleResult) -> str | None:
    if kill.rule is None:
        return result.summary if result.verdict is Verdict.UNKNOWN else None
    return next((finding.text for finding in result.findings if _is_kill(finding, kill)), None)


def _is_kill(finding: Finding, kill: ExpectedKill) -> bool:
    return finding.rule == kill.rule and finding.subject.name.startswith(kill.subject)


def kill_matrix(scored: Sequence[SessionScore]) -> str:
    """All rows by oracle, as a table in Markdown, and a line for each unexpected finding."""
    rows = sorted((row for run in scored for row in run.rows), key=lambda row: (row.rule, row.mutant))
    cells = [
        (row.rule, row.mutant, row.what, "yes" if row.killed else "NO", row.evidence.replace("|", "\\|"))
        for row in rows
    ]
    lines = [f"- {line}\n" for run in scored for line in run.unexpected]
    return markdown_table(KILL_HEADINGS, cells) + ("\n" + "".join(lines) if lines else "")


ALTERED = "altered"
JUDGES = {oracle.name: oracle.judge for oracle in ORACLES}


def score_alterations(history: History, alterations: Sequence[Alteration] = ALTERATIONS) -> SessionScore:
    """Apply each alteration to the history of a green run, and check that its rule is reported broken."""
    known = [alteration for alteration in alterations if release(history) >= alteration.since]
    return SessionScore(ALTERED, tuple(_alteration_row(history, alteration) for alteration in known), ())


def _alteration_row(history: History, alteration: Alteration) -> KillResult:
    rule = alteration.rule
    result = JUDGES[rule.oracle](alteration.alter(history))
    finding: Finding | None = next((each for each in result.findings if each.rule == rule.id), None)
    evidence = f"{result.verdict}: {result.summary}" if finding is None else finding.text
    return KillResult(rule.id, ALTERED, alteration.what, finding is not None, evidence)


ORACLES_MARK = "<!-- oracles -->"
ORACLE_HEADINGS = ("oracle", "checks that", "reads", "mutants that it must find")
RULES_MARK = "<!-- rules -->"
RULES_HEADINGS = ("rule", "condition", "source", "records", "unknown when", "violated in the self-test by")
FAMILIES_MARK = "<!-- families -->"
FAMILIES_HEADINGS = ("metric family", "laws, or why there is none of its own")
UNPROVEN = "unproven"


def insert_tables(page: str) -> str:
    """The page with the tables between their marks. Raises ValueError when a mark is missing."""
    for mark, headings, rows in (
        (ORACLES_MARK, ORACLE_HEADINGS, _oracles()),
        (RULES_MARK, RULES_HEADINGS, _rules()),
        (FAMILIES_MARK, FAMILIES_HEADINGS, _families()),
    ):
        page = replace_between(page, mark, markdown_table(headings, rows))
    return page


def _oracles() -> Iterator[Sequence[str]]:
    by_oracle = mutants_by_oracle()
    for oracle in ORACLES:
        mutants = [f"`{mutant.name}`: {mutant.what}" for mutant in by_oracle[oracle.name]]
        yield f"`{oracle.name}`", oracle.purpose, ", ".join(oracle.reads), "<br>".join(mutants)


def mutants_by_oracle() -> dict[str, list[Mutant]]:
    """The mutants that each oracle must find."""
    found: dict[str, list[Mutant]] = defaultdict(list)
    for session in sessions():
        for mutant in session.mutants:
            for oracle in dict.fromkeys(kill.oracle for kill in mutant.kills):
                found[oracle].append(mutant)
    return found


def kills_by_rule() -> dict[str, list[str]]:
    """The mutants and alterations that break each rule, by its id."""
    found: dict[str, list[str]] = {rule.id: [] for rule in all_rules()}
    for session in sessions():
        for mutant in session.mutants:
            for kill in mutant.kills:
                if kill.rule is not None:
                    found[kill.rule].append(f"`{mutant.name}`")
    for alteration in ALTERATIONS:
        found[alteration.rule.id].append(f"altered: {alteration.what}")
    return found


def _rules() -> Iterator[Sequence[str]]:
    evidence = kills_by_rule()
    for rule in all_rules():
        broken_by = "<br>".join(evidence[rule.id]) or UNPROVEN
        yield f"`{rule.id}`", rule.law, rule.source, ", ".join(rule.reads), rule.inconclusive, broken_by


def _families() -> Iterator[Sequence[str]]:
    for name in sorted(BOUND.keys() | REASONS.keys()):
        laws = ", ".join(f"`{rule}`" for rule in BOUND.get(name, ()))
        yield f"`{name}`", "; ".join(filter(None, (laws, REASONS.get(name, ""))))
