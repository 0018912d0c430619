"""Long prompts over few prefixes with answers of very different lengths (vllm#36533).

On a server with few blocks and prefill in chunks, requests are preempted while their prompt is still
being read, and come back to a prompt that lies partly in the offload tier. vLLM 0.16 to 0.18 dies of it.
"""

from __future__ import annotations

from pydantic import Field

from loadtests.workloads.shared_prefix import SharedPrefix, SharedPrefixParams
from loadtests.workloads.workload import NUMBER_TOKENS


class MidPrefillPreemptionParams(SharedPrefixParams):
    """The values that were seen to do it, for 40 to 64 blocks of 32 tokens and 96 tokens a step."""

    prefixes: int = Field(default=40, ge=1, le=1_000_000)
    prefix_tokens: int = Field(default=560, ge=1)
    suffix_tokens: int = Field(default=8, ge=NUMBER_TOKENS)
    prompts: int = Field(default=80, ge=1, le=1_000_000)
    min_output: int = Field(default=37, ge=1)
    max_output: int = Field(default=150, ge=1)


class MidPrefillPreemption(SharedPrefix):
    """A shared-prefix load in shape; what makes it is its figures."""

    def __init__(self, params: MidPrefillPreemptionParams, name: str, seed: int) -> None:
        super().__init__(params, name, seed)
