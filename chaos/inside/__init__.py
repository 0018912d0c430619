"""The chaos module that vLLM itself loads. It runs in the server's interpreter.

It imports `chaos.hostcopy` and `history.protocol` of the suite, the standard library, msgspec, numpy,
torch and vllm; nothing else.
The server's offloading connector loads it by name. It acts only while its control directory contains
a schedule.
"""
