"""The chaos module that vLLM itself loads. It runs in the server's interpreter.

Of the suite it imports `chaos.hostcopy` and `history.protocol` alone, and else the standard library,
msgspec, numpy, torch and vllm.
It is reached only when the server's offloading connector names it, and acts only while a schedule
lies in its control directory.
"""
