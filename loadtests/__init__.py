"""The load generator: workloads, clients, and the processes that send the requests.

`workloads`, `messages` and `processes` are for the conductor and stay free of gevent. `load_worker` and
`locustfile` run in processes of their own, where importing Locust patches the standard library.
"""
