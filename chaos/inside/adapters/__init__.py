"""One adapter for each generation of vLLM's offloading plug-in API. An adapter module offers:

`NAME`        the generation;
`ChaosSpec`   the spec class, made of vLLM's own and the wrappers;
`loads(metadata)`  the loads a step of the worker starts, as (request, device blocks).
"""
