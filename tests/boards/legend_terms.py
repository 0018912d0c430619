"""Terms of legends, and what a query must have for a legend to name it so."""

from __future__ import annotations

import re
from collections.abc import Iterator

TERMS = {
    r"^clients\b": r"kvchaos_",
    r"\bminus clients\b": r"- .*kvchaos_",
    r"^server\b": r'job="server"',
    r"^(?:ok|failed|aborted|as expected|not as expected)$": r'outcome="{}"',
    r"^unknown$": r'unknown_runs|outcome="unknown"',
    r"^infrastructure$": r"infrastructure_runs",
    r"^(?:regressed|blind|improved|same)$": r'result="{}"',
    r"^(?:running|waiting)$": r"num_requests_{}\b",
    r"\b50 %$": r"quantile\(0\.5,",
    r"\b95 %$": r"quantile\(0\.95,",
    r"\b99 %$": r"quantile\(0\.99,",
    r"\bupper$": r"high|^[^-]",
    r"\blower$": r"low|^-",
    r"^95 %, \w+$": r"slowdown_(?:high|low)_ratio",
    r"^control band\b": r'kind="control"',
    r"^slowdown$": r"slowdown_ratio",
    r"^visible step$": r"visible_step",
    r"^accepted$": r"accepted",
    r"^candidate\b": r'side="candidate"',
    r"^control [^b]": r'side="control"',
    r"^noise\b": r"noise",
    r"^duration$": r"duration",
    r"^excluded runs$": r"excluded_runs",
    r"^device$": r"kv_cache_usage",
    r"^in use$": r"cache_usage",
    r"^pinned by loads$": r"read_usage",
    r"^pinned by stores$": r"write_usage",
    r"^load$": r"_load_|CPU_to_GPU",
    r"^store$": r"_store_|GPU_to_CPU",
    r"^hits$": r"hits",
    r"^queries$": r"queries",
    r"^preemptions$": r"preemptions",
    r"^restarts$": r"process_start_time",
    r"^generated tokens$": r"generation_tokens",
    r"^prompt tokens$": r"prompt_tokens",
    r"^resident$": r"resident_memory",
    r"^\d+[mhd]$": r"rate{}\b|\[{}\]",
}
"""Pattern of a legend, and of the queries that it may name. `{}`: the legend itself."""
LABEL = re.compile(r"\{\{.+?\}\}")


def contradicted_terms(legend: str, expr: str) -> Iterator[str]:
    """The terms of a legend that its query does not have; the whole legend if no term of it is known."""
    known = [named for term, named in TERMS.items() if re.search(term, legend)]
    if not known and not LABEL.search(legend):
        yield f"no term of {legend!r} is in tests/boards/legend_terms.py"
    for named in known:
        if not re.search(named.replace("{}", re.escape(legend).replace(r"\ ", " ")), expr):
            yield f"{legend!r} of a query without {named}"
