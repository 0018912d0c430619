"""A CPU copy backend: it replaces vLLM's CUDA copy worker, so that a server without a GPU can offload.

vLLM's own CPU offload spec refuses the CPU platform only where its worker is made. The specs here
give it a worker; scheduler, manager, connector and metrics stay vLLM's own. No fault code lives here.
"""
