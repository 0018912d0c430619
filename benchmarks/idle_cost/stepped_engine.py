"""A vLLM engine whose steps are triggered one by one. Runs in the server's own Python.

Engine core and worker are in this process. The engine's clock runs only during its steps, so other processes
can use the processor in between.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from vllm import SamplingParams
from vllm.engine.arg_utils import EngineArgs
from vllm.utils.argparse_utils import FlexibleArgumentParser
from vllm.v1.engine.llm_engine import LLMEngine

PREFIXES, PREFIX_TOKENS = 8, 320
PROMPTS, SUFFIX_TOKENS = 24, 20
"""Prompts that do not all fit the device, so that every block stores and loads."""
FIRST_TOKEN, LAST_TOKEN = 10, 250
"""Tokens of every vocabulary that are not special."""
REQUESTS = 48
"""Requests of a block: two rounds of all prompts."""
CONCURRENCY = 4
TOKENS = 8
"""Tokens of an answer."""
NS = 1e9


class SteppedEngine:
    """One engine and its closed loop of requests."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """`arguments` are those of a vLLM server; what only its front end knows is ignored."""
        parser = EngineArgs.add_cli_args(FlexibleArgumentParser())
        known, _ = parser.parse_known_args(list(arguments))
        self._engine = LLMEngine.from_engine_args(EngineArgs.from_cli_args(known))
        self._params = SamplingParams(temperature=0.0, min_tokens=TOKENS, max_tokens=TOKENS, ignore_eos=True)
        self._prompts = prompts()
        self._sent = 0
        """Requests since the engine was built."""
        self._block = _BlockCounts()

    def begin(self) -> bool:
        """Begin a block of requests."""
        self._block = _BlockCounts(cpu_s=time.process_time())
        return True

    def step(self) -> bool:
        """Send what the closed loop has room for, and do one step. False when the block is over."""
        block = self._block
        began = time.perf_counter_ns()
        while block.sent < REQUESTS and len(block.running) < CONCURRENCY:
            self._send(began)
        outputs = self._engine.step()
        block.spent_ns += time.perf_counter_ns() - began
        block.steps += 1
        for output in outputs:
            self._count(output)
        return block.sent < REQUESTS or self._engine.has_unfinished_requests()

    def _send(self, began: int) -> None:
        block = self._block
        name = f"request-{self._sent}"
        prompt: Any = {"prompt_token_ids": self._prompts[self._sent % PROMPTS]}
        block.running[name] = block.spent_ns + time.perf_counter_ns() - began
        self._engine.add_request(name, prompt, self._params)
        self._sent += 1
        block.sent += 1

    def _count(self, output: Any) -> None:
        block, name = self._block, output.request_id
        tokens = len(output.outputs[0].token_ids)
        if tokens and name not in block.first_ns:
            block.first_ns[name] = block.spent_ns
            block.waited_ns += block.spent_ns - block.running[name]
        if output.finished:
            block.tokens += tokens
            block.streamed_ns += block.spent_ns - block.first_ns[name]
            del block.running[name]

    def figures(self) -> dict[str, float]:
        """The figures of the block that is over, by the names of `block_figures.Block`."""
        block = self._block
        return {
            "tokens_per_s": block.tokens / (block.spent_ns / NS),
            "first_token_ms": block.waited_ns / len(block.first_ns) / 1e6,
            "between_tokens_ms": block.streamed_ns / (block.tokens - len(block.first_ns)) / 1e6,
            "step_ms": block.spent_ns / block.steps / 1e6,
            "cpu_us_per_token": (time.process_time() - block.cpu_s) * 1e6 / block.tokens,
        }

    def calls(self) -> tuple[int, int]:
        """Calls of Python functions and of C functions during one block."""
        counts = {"call": 0, "c_call": 0}

        def count(_frame: FrameType, event: str, _argument: object) -> None:
            if event in counts:
                counts[event] += 1

        self.begin()
        sys.setprofile(count)
        try:
            while self.step():
                pass
        finally:
            sys.setprofile(None)
        return counts["call"], counts["c_call"]

    def cpu_s(self) -> float:
        """Processor time of this process so far, seconds."""
        return time.process_time()


class _BlockCounts:
    """What was counted since the block began. Times are those of the engine's clock."""

    def __init__(self, cpu_s: float = 0.0) -> None:
        self.cpu_s = cpu_s
        """Processor time of the process when the block began."""
        self.spent_ns = 0
        self.steps = 0
        self.sent = 0
        self.tokens = 0
        self.running: dict[str, int] = {}
        """When each request was sent."""
        self.first_ns: dict[str, int] = {}
        """When each request had its first token."""
        self.waited_ns = 0
        """Time to the first token, of all requests."""
        self.streamed_ns = 0
        """Time from the first token to the last, of all requests."""


def prompts() -> list[list[int]]:
    """The same prompts in every engine."""
    lots = random.Random(1)
    prefixes = [_tokens(lots, PREFIX_TOKENS) for _ in range(PREFIXES)]
    return [prefixes[number % PREFIXES] + _tokens(lots, SUFFIX_TOKENS) for number in range(PROMPTS)]


def _tokens(lots: random.Random, count: int) -> list[int]:
    return [lots.randint(FIRST_TOKEN, LAST_TOKEN) for _ in range(count)]
