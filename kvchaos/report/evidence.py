"""One witness as one line of text, the same in every report."""

from __future__ import annotations

from datetime import UTC, datetime

from history.verdict import OracleResult, Witness

NS_PER_S = 1_000_000_000


def witness_text(witness: Witness) -> str:
    """The witness's sentence with all that leads back to the evidence: request, metric, samples, log line."""
    parts: list[str] = []
    # The sentence often names the request or metric already.
    if witness.request is not None and witness.request not in witness.text:
        parts.append(f"request {witness.request}")
    if witness.metric is not None and witness.metric not in witness.text:
        parts.append(witness.metric)
    if witness.samples:
        parts.append(" -> ".join(f"{value:.12g} at {clock(t_ns)}" for t_ns, value in witness.samples))
    elif witness.t_ns is not None:
        parts.append(f"at {clock(witness.t_ns)}")
    if witness.log_line is not None:
        parts.append(f"server.log line {witness.log_line}")
    return f"{witness.text} [{'; '.join(parts)}]" if parts else witness.text


def evidence_lines(result: OracleResult, most: int | None = None) -> list[str]:
    """The summary where there is no violation, else the first witnesses and how many more there are."""
    if not result.witnesses:
        return [result.summary]
    shown = result.witnesses[:most]
    lines = [witness_text(witness) for witness in shown]
    more = result.violations - len(shown)
    return [*lines, f"and {more} more"] if more > 0 else lines


def clock(t_ns: int) -> str:
    """Wall clock time in UTC to the millisecond."""
    moment = datetime.fromtimestamp(t_ns // NS_PER_S, UTC)
    return f"{moment:%H:%M:%S}.{t_ns % NS_PER_S // 1_000_000:03d}Z"
