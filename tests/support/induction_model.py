"""A model that repeats its context: where its last three tokens occurred before, it gives the next one.

Its weights are written down, not trained. The first layer gives each position the codes of the three tokens
before it. The second compares the last three tokens with those, and answers with the token that followed
(an induction head). So its answers show which context the server read, as those of a trained model do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kvchaos.servers.tiny_model import INTERMEDIATE, VOCAB_SIZE, Weights, config, write_files

CODE = 24
"""Bits of a token's code, as +1 and -1."""
BEFORE = 3
"""Tokens before a position that it compares."""
HIDDEN = 128
HEADS = 4
HEAD_SIZE = 128
ROPE_THETA = 1e12
NOW, EARLIER, CONSTANT, FOLLOWED = 0, CODE, CODE * (1 + BEFORE), CODE * (1 + BEFORE) + 1
"""Where a hidden state has the token's code, those of the tokens before, a constant, and the answer."""
TURNING = 12
"""Pairs of a head that turn fast enough to tell neighbouring positions apart."""
STILL = HEAD_SIZE // 2 - CODE * BEFORE // 2
"""First pair of a head of those that hardly turn within the longest context."""
SHARP_POSITION = 12.0
SHARP_CONTENT = 8.0
GOLAY = 0b110001110101
"""Generator of the Golay code: any two tokens differ in at least 8 of 24 bits."""


def write_induction_model(folder: Path) -> None:
    """Make the folder, and write the model's files into it."""
    folder.mkdir()
    changes = {
        "hidden_size": HIDDEN,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 1,
        "head_dim": HEAD_SIZE,
        "rope_theta": ROPE_THETA,
    }
    write_files(folder, config() | changes, tensors())


def tensors() -> dict[str, Weights]:
    """All weights by name."""
    named = {
        "model.embed_tokens.weight": _embedding(),
        "model.norm.weight": np.ones(HIDDEN, np.float32),
        "lm_head.weight": _output(),
    }
    for layer, attention in enumerate((_attends_to_previous(), _attends_to_matches())):
        at = f"model.layers.{layer}"
        named |= {f"{at}.self_attn.{name}_proj.weight": value for name, value in attention.items()}
        named |= {f"{at}.mlp.{name}_proj.weight": _zeros(INTERMEDIATE, HIDDEN) for name in ("gate", "up")}
        named[f"{at}.mlp.down_proj.weight"] = _zeros(HIDDEN, INTERMEDIATE)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            named[f"{at}.{norm}.weight"] = np.ones(HIDDEN, np.float32)
    return named


def codes() -> Weights:
    """A row of +1 and -1 for each of the 256 byte tokens."""
    rows = []
    for token in range(256):
        codeword = 0
        for bit in range(8):
            codeword ^= (GOLAY << bit) if token >> bit & 1 else 0
        bits = [codeword >> bit & 1 for bit in range(CODE - 1)]
        rows.append([*bits, sum(bits) % 2])
    return (2 * np.array(rows) - 1).astype(np.float32)


def _embedding() -> Weights:
    table = _zeros(VOCAB_SIZE, HIDDEN)
    table[:256, NOW : NOW + CODE] = codes()
    table[:, CONSTANT] = 1.0
    return table


def _output() -> Weights:
    table = _zeros(VOCAB_SIZE, HIDDEN)
    table[:256, FOLLOWED : FOLLOWED + CODE] = codes()
    return table


def _attends_to_previous() -> Mapping[str, Weights]:
    """Head d reads the token d + 1 positions before, by how far queries and keys have turned."""
    half = HEAD_SIZE // 2
    query, key = _zeros(HEADS * HEAD_SIZE, HIDDEN), _zeros(HEAD_SIZE, HIDDEN)
    value, output = _zeros(HEAD_SIZE, HIDDEN), _zeros(HIDDEN, HEADS * HEAD_SIZE)
    speed = ROPE_THETA ** (-np.arange(TURNING) / half)
    key[:TURNING, CONSTANT] = SHARP_POSITION
    value[:CODE, NOW : NOW + CODE] = np.eye(CODE)
    for distance in range(1, BEFORE + 1):
        at = (distance - 1) * HEAD_SIZE
        query[at : at + TURNING, CONSTANT] = SHARP_POSITION * np.cos(speed * distance)
        query[at + half : at + half + TURNING, CONSTANT] = -SHARP_POSITION * np.sin(speed * distance)
        start = EARLIER + (distance - 1) * CODE
        output[start : start + CODE, at : at + CODE] = np.eye(CODE)
    return {"q": query, "k": key, "v": value, "o": output}


def _attends_to_matches() -> Mapping[str, Weights]:
    """One head compares the last tokens with those before each position, and reads that position's token."""
    query, key = _zeros(HEADS * HEAD_SIZE, HIDDEN), _zeros(HEAD_SIZE, HIDDEN)
    value, output = _zeros(HEAD_SIZE, HIDDEN), _zeros(HIDDEN, HEADS * HEAD_SIZE)
    still = [*range(STILL, HEAD_SIZE // 2), *range(HEAD_SIZE // 2 + STILL, HEAD_SIZE)]
    for number, dimension in enumerate(still):
        query[dimension, NOW + number] = key[dimension, EARLIER + number] = SHARP_CONTENT
    value[:CODE, NOW : NOW + CODE] = np.eye(CODE)
    output[FOLLOWED : FOLLOWED + CODE, :CODE] = 4.0 * np.eye(CODE)
    return {"q": query, "k": key, "v": value, "o": output}


def _zeros(rows: int, columns: int) -> Weights:
    return np.zeros((rows, columns), np.float32)
