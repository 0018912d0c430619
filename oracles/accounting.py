"""Do the server's token counters add up, and do they agree with the client's counts?"""

from __future__ import annotations

from history.reader import History
from history.verdict import OracleResult, request
from oracles import token_crosscheck
from oracles.findings import FAULTS, METRICS, REQUESTS, Findings, Oracle, Rule, Source
from oracles.laws import client_laws, relations, transfers
from oracles.token_crosscheck import (
    BY_SOURCE,
    CACHED,
    EXTERNAL,
    FIRST_ADMISSION_COUNTS,
    LOCAL,
    PREEMPTIONS,
    PROMPT,
)
from oracles.views.timeline import release
from oracles.views.windows import Window, phase_windows, run_window

NAME = "accounting"
RECOMPUTED = "vllm:prompt_tokens_recomputed_total"
"""0.16 to 0.19 only: the last token of a prompt found in the cache, counted as cached and as computed."""
CACHED_BY_TIER = "vllm:prompt_tokens_cached_by_source_total"
TIERS_SINCE = (0, 32)
MISSES_SINCE = (0, 28)
"""Before it, a lookup on the device was counted each time that a request was tried."""
NO_PREFIX_CACHING = "--no-enable-prefix-caching"
CACHE_SOURCES = ("local_cache_hit", "external_kv_transfer")


def _rule(name: str, law: str, source: Source = "arithmetic", reads: tuple[str, ...] = (METRICS,)) -> Rule:
    return Rule(f"{NAME}/{name}", law, source, reads, token_crosscheck.NOT_SETTLED)


SOURCES_SUM = _rule(
    "prompt-tokens-by-source",
    "Prompt tokens by source, less those recomputed, add up to the prompt tokens.",
    "vLLM documentation",
)
CACHED_EXCEEDS = _rule("cached-exceeds-prompt", "At most all prompt tokens are cached.")
SOURCE_RANGE = _rule("source-out-of-range", "Each source has between 0 and all of the prompt tokens.")
TIERS_SUM = _rule(
    "cached-tokens-by-tier",
    "Cached prompt tokens by tier add up to the cached prompt tokens, from 0.32 on.",
    "vLLM documentation",
)
HITS_EXCEED = _rule("hits-exceed-queries", "Each cache counts at most as many hits as queries, in tokens.")
LOOKUPS_EXCEED_MISSES = _rule(
    "tier-lookups-exceed-misses",
    "From 0.28 on, tokens looked up in the offload tier are at most the tokens that missed on the device.",
    "vLLM source",
)
CACHE_OFF = _rule(
    "hit-in-disabled-cache",
    "No token comes from a cache that is switched off.",
    "vLLM documentation",
)
NEW_PROMPT = _rule(
    "new-prompt-cached",
    "A prompt that is sent for the first time has no cached token.",
    reads=(METRICS, REQUESTS),
)
USAGE_RANGE = _rule(
    "usage-cached-tokens-range",
    "The cached tokens in the usage of an answer are between 0 and its prompt tokens.",
    "HTTP and the OpenAI API",
    (REQUESTS,),
)
RULES = (
    SOURCES_SUM,
    CACHED_EXCEEDS,
    SOURCE_RANGE,
    TIERS_SUM,
    HITS_EXCEED,
    LOOKUPS_EXCEED_MISSES,
    CACHE_OFF,
    NEW_PROMPT,
    USAGE_RANGE,
    *token_crosscheck.RULES,
    *relations.RULES,
    *client_laws.RULES,
    *transfers.RULES,
)


def judge(history: History) -> OracleResult:
    """Sums over the run and over each phase, at moments when no request is on its way."""
    found = Findings(NAME)
    windows = [run_window(history), *phase_windows(history)]
    relations.at_each_scrape(history, windows, found)
    cut: list[str] = []
    for window in windows:
        if window.cut is not None:
            cut.append(f"{window.name}, interrupted by fault {window.cut}")
            continue
        if not window.settled:
            text = f"{window.name}: there is no scrape of the same server after the last answer"
            found.gap("not-settled", text, window.subject)
            continue
        _sources(window, found)
        _tiers(history, window, found)
        _hits(window, found)
        _misses(history, window, found)
        _switched_off(history, window, found)
        transfers.compare(history, window, found)
        if window.ended:
            token_crosscheck.compare(history, window, found)
            client_laws.compare(window, found)
            relations.at_rest(window, release(history), found)
        else:
            text = f"{window.name}: the load never ended, so records of sent requests may be missing"
            found.gap("load-lost", text, window.subject)
    _unique(history, windows[1:], found)
    _usage(history, found)
    not_judged = f"; not judged: {', '.join(cut)}" if cut else ""
    phases = len(windows) - 1
    return found.result(
        f"all {found.checked} sums over the run and its {phases} phases agree{not_judged}",
        sums=found.checked,
        phases=phases,
        cut=len(cut),
    )


def _sources(window: Window, found: Findings) -> None:
    """The parts by source make up the whole; none is larger than it, nor is the cached part."""
    grown = window.need(found, PROMPT, BY_SOURCE, CACHED)
    if grown is None:
        return
    total, by_source, cached = grown
    recomputed = window.growth(RECOMPUTED) or 0.0
    found.checked += 2
    if by_source - recomputed != total:
        parts = f"prompt tokens by source ({by_source:g}) less recomputed ones ({recomputed:g})"
        figures = {"by_source": by_source, "recomputed": recomputed, "total": total}
        window.violation(
            found, SOURCES_SUM, f"{parts} do not equal all prompt tokens ({total:g})", figures, BY_SOURCE
        )
    if cached > total:
        text = f"the server counts {cached:g} cached tokens, but only {total:g} prompt tokens"
        figures = {"cached": cached, "total": total}
        window.violation(found, CACHED_EXCEEDS, text, figures, CACHED)
    for source in ("local_compute", *CACHE_SOURCES):
        part = window.growth(BY_SOURCE, source=source)
        found.checked += 1
        if part is not None and not 0 <= part <= total:
            text = f"the server counts {part:g} prompt tokens from {source}, of {total:g} in total"
            figures = {source: part, "total": total}
            window.violation(found, SOURCE_RANGE, text, figures, BY_SOURCE, source=source)


def _tiers(history: History, window: Window, found: Findings) -> None:
    """The cached prompt tokens by tier are the cached prompt tokens."""
    if release(history) < TIERS_SINCE or not window.clean:
        return  # A request that is given up may have been admitted, and counted by tier, and no more.
    grown = window.need(found, CACHED_BY_TIER, CACHED)
    if grown is None:
        return
    by_tier, cached = grown
    found.checked += 1
    if by_tier != cached:
        text = f"cached prompt tokens by tier add up to {by_tier:g}, but {cached:g} were cached in total"
        figures = {"by_tier": by_tier, "cached": cached}
        window.violation(found, TIERS_SUM, text, figures, CACHED_BY_TIER)


def _hits(window: Window, found: Findings) -> None:
    for cache in (LOCAL, EXTERNAL):
        grown = window.need(found, f"{cache}_hits_total", f"{cache}_queries_total")
        if grown is None:
            continue
        hits, queries = grown
        found.checked += 1
        if hits > queries:
            text = f"{cache} counts {hits:g} tokens that hit, but only {queries:g} that were queried"
            figures = {"hits": hits, "queries": queries}
            window.violation(found, HITS_EXCEED, text, figures, f"{cache}_hits_total")


def _misses(history: History, window: Window, found: Findings) -> None:
    """Judge lookups in the tier: only what the device does not have is looked up there."""
    if release(history) < MISSES_SINCE or NO_PREFIX_CACHING in history.plan.scenario.server.extra_args:
        return
    grown = window.need(found, f"{LOCAL}_queries_total", f"{LOCAL}_hits_total", f"{EXTERNAL}_queries_total")
    if grown is None:
        return
    queries, hits, looked_up = grown
    found.checked += 1
    if looked_up > queries - hits:
        text = f"{looked_up:g} tokens were looked up in the tier, but {queries - hits:g} missed on the device"
        figures = {"looked_up": looked_up, "misses": queries - hits}
        window.violation(found, LOOKUPS_EXCEED_MISSES, text, figures, f"{EXTERNAL}_queries_total")


def _switched_off(history: History, window: Window, found: Findings) -> None:
    """No token comes from a cache that is switched off."""
    server = history.plan.scenario.server
    if not server.offload:
        _zero(window, found, CACHE_OFF, "offload is off", BY_SOURCE, source="external_kv_transfer")
    if NO_PREFIX_CACHING in server.extra_args:
        _zero(window, found, CACHE_OFF, "prefix caching is off", BY_SOURCE, source="local_cache_hit")


def _zero(window: Window, found: Findings, rule: Rule, why: str, metric: str, **labels: str) -> None:
    grown = window.growth(metric, **labels)
    if grown is None:
        window.lacks(found, metric)
        return
    found.checked += 1
    if grown != 0:
        what = " ".join([metric, *labels.values()])
        text = f"{why}, but {what} grew by {grown:g}"
        window.violation(found, rule, text, {"growth": grown}, metric, **labels)


def _unique(history: History, windows: list[Window], found: Findings) -> None:
    """Prompts that never occurred before cannot be found in any cache."""
    workloads = history.plan.scenario.workloads
    prompts_before: set[str] = set()
    for window in windows:
        prompts = {record.prompt_id for record in window.requests}
        fresh = len(prompts) == len(window.requests) and prompts_before.isdisjoint(prompts)
        prompts_before |= prompts
        unique = window.workload is not None and workloads[window.workload].kind == "unique"
        if not (unique and fresh and window.settled and window.requests):
            continue
        for cache in (LOCAL, EXTERNAL):
            _zero(window, found, NEW_PROMPT, "all prompts are new", f"{cache}_hits_total")
        counted_once = release(history) >= FIRST_ADMISSION_COUNTS or window.growth(PREEMPTIONS) == 0
        for source in CACHE_SOURCES if counted_once else ():
            _zero(window, found, NEW_PROMPT, "all prompts are new", BY_SOURCE, source=source)


def _usage(history: History, found: Findings) -> None:
    for record in history.requests:
        cached = record.usage.cached_tokens if record.usage is not None else None
        if cached is None:
            continue
        found.checked += 1
        if not 0 <= cached <= record.prompt_tokens:
            text = (
                f"request {record.id} reports {cached} cached tokens of {record.prompt_tokens} prompt tokens"
            )
            figures = {"cached": cached, "prompt": record.prompt_tokens}
            found.violation(USAGE_RANGE, request(record.id), text, figures=figures, t_ns=record.start_ns)


ORACLE = Oracle(
    NAME,
    "the server's token counts add up and agree with the client's",
    (METRICS, REQUESTS, FAULTS),
    judge,
    RULES,
)
