"""Makes traces that look like recorded ones and are not: `python -m loadtests.traces.synthetic mooncake`.

Sessions come and go; each request of a session repeats the blocks of the one before and adds some. The
samples under `scenarios/traces` are made by this.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from loadtests.traces.trace_formats import NS_PER_S, Entry

BLOCK_TOKENS = 512
SHARED_BLOCKS = 2
"""What all sessions begin with."""
SESSIONS = 12
"""Under way at the same time."""
ENDS = 0.15
"""Share of requests that are the last of their session."""
RATE = 2.0
"""Requests a second."""
LONGEST_BLOCKS = 16
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
NS_PER_MS = 1_000_000


def entries(count: int, seed: int, rate: float = RATE) -> Iterator[Entry]:
    """So many entries of made-up traffic, in order of time, at a mean rate."""
    chance = random.Random(seed)
    fresh = iter(range(SHARED_BLOCKS, 1 << 62))
    shared = tuple(range(SHARED_BLOCKS))
    sessions = [shared] * SESSIONS
    at_ns = 0
    for _ in range(count):
        which = chance.randrange(SESSIONS)
        blocks = (*sessions[which], *(next(fresh) for _ in range(chance.randint(1, 3))))
        ended = chance.random() < ENDS or len(blocks) >= LONGEST_BLOCKS
        sessions[which] = shared if ended else blocks
        last_block = chance.randint(1, BLOCK_TOKENS)
        yield Entry(
            at_ns=at_ns,
            prompt_tokens=(len(blocks) - 1) * BLOCK_TOKENS + last_block,
            output_tokens=min(max(round(chance.lognormvariate(5.0, 0.8)), 1), 2000),
            blocks=blocks,
        )
        at_ns += round(chance.expovariate(rate) * 1000) * NS_PER_MS


def mooncake(made: Iterator[Entry]) -> Iterator[str]:
    """Entries in the format of Mooncake: JSON Lines with hash ids of blocks."""
    for entry in made:
        yield _json(
            {
                "timestamp": entry.at_ns // NS_PER_MS,
                "input_length": entry.prompt_tokens,
                "output_length": entry.output_tokens,
                "hash_ids": entry.blocks,
            }
        )


def burstgpt(made: Iterator[Entry]) -> Iterator[str]:
    """Entries in the format of BurstGPT: CSV with seconds and token counts."""
    yield "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type"
    for entry in made:
        tokens = (entry.prompt_tokens, entry.output_tokens, entry.prompt_tokens + entry.output_tokens)
        yield f"{entry.at_ns // NS_PER_S},ChatGPT,{tokens[0]},{tokens[1]},{tokens[2]},Conversation log"


def azure(made: Iterator[Entry]) -> Iterator[str]:
    """Entries in the format of Azure: CSV with date and time, and token counts."""
    yield "TIMESTAMP,ContextTokens,GeneratedTokens"
    for entry in made:
        moment = BEGIN + timedelta(microseconds=entry.at_ns // 1000)
        yield f"{moment:%Y-%m-%d %H:%M:%S.%f}0,{entry.prompt_tokens},{entry.output_tokens}"


def own(made: Iterator[Entry]) -> Iterator[str]:
    """Entries in the suite's own format: JSON Lines with names of blocks."""
    for entry in made:
        yield _json(
            {
                "at_s": entry.at_ns / NS_PER_S,
                "prompt_tokens": entry.prompt_tokens,
                "output_tokens": entry.output_tokens,
                "blocks": entry.blocks,
            }
        )


WRITERS: dict[str, Callable[[Iterator[Entry]], Iterator[str]]] = {
    "azure": azure,
    "burstgpt": burstgpt,
    "mooncake": mooncake,
    "own": own,
}


def _json(content: object) -> str:
    return msgspec.json.encode(content).decode()


def main(argv: Sequence[str] | None = None) -> None:
    """Command line that prints a synthetic trace."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.traces.synthetic", description=__doc__)
    parser.add_argument("format", choices=sorted(WRITERS))
    parser.add_argument("--entries", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(argv)
    for line in WRITERS[given.format](entries(given.entries, given.seed)):
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
