"""Sends load by hand, with Locust's own page.

    locust -f loadtests/locustfile.py --host http://127.0.0.1:8000 --served-model tiny

The requests never end, but those of a trace; each user sends one after the other. No file records them.
With `--processes N` as many processes share them.
"""

from __future__ import annotations

import itertools
import logging
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable

from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from history.records import RequestRecord
from history.scenario import Param, WorkloadSpec
from loadtests.arrival_schedule import closed
from loadtests.clients.completion_clients import CLIENTS, SERVED_MODEL
from loadtests.dispatcher import ClockPoint, Dispatcher
from loadtests.page.locust_charts import Hook, draw_charts
from loadtests.target import loopback_url
from loadtests.user import CompletionUser
from loadtests.workloads import KINDS, Workload, build
from loadtests.workloads.workload import TimedWorkload

__all__ = ["CompletionUser"]

REQUEST_S = 60.0
EXIT_USAGE = 3


def parse_params(text: str) -> dict[str, Param]:
    """Workload parameters from `name=value name=value`; numbers become numbers. Raises ValueError."""
    params: dict[str, Param] = {}
    for pair in text.replace(",", " ").split():
        name, separator, value = pair.partition("=")
        if not separator:
            raise ValueError(f"workload parameter {pair!r}: write name=value")
        params[name] = _number(value)
    return params


def _number(text: str) -> Param:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def workload_from(options: Namespace) -> Workload:
    """The workload that the options name. Raises ValueError."""
    spec = WorkloadSpec(kind=options.workload, params=parse_params(options.workload_params))
    return build(spec, options.workload, options.seed)


def discard(record: RequestRecord) -> None:
    """Drop a record: load by hand leaves only Locust's tables."""


def add_options(parser: LocustArgumentParser) -> None:
    group = parser.add_argument_group("kvchaos", "Workload")
    group.add_argument("--workload", choices=sorted(KINDS), default="shared_prefix", help="kind of workload")
    # One text, since Locust's page hands a list back in another type than it got.
    group.add_argument(
        "--workload-params", default="", metavar="TEXT", help="its parameters: name=value name=value ..."
    )
    group.add_argument("--seed", type=int, default=0, help="seed of the workload")
    group.add_argument(
        "--client", choices=sorted(CLIENTS), default="openai", help="client that sends the requests"
    )
    # Locust's own default is every address of the machine.
    parser.set_defaults(web_host="127.0.0.1", master_bind_host="127.0.0.1")
    group.add_argument("--served-model", default=SERVED_MODEL, help="name under which the server serves it")


def numbers(workload: Workload, worker: int, workers: int) -> Iterable[int]:
    """The conversations that this process holds, when so many share them. Raises ValueError."""
    if worker >= workers:
        raise ValueError(
            f"this is worker {worker + 1}, and Locust's master expects {workers}: --expect-workers"
        )
    if isinstance(workload, TimedWorkload):
        return range(worker, len(workload), workers)
    return itertools.count(worker, workers)


def check_options(environment: Environment, **_: object) -> None:
    """End with one clear line, before any page comes up, when the command line cannot be right."""
    try:
        if environment.host:
            loopback_url(environment.host)
        if environment.parsed_options is not None:
            workload_from(environment.parsed_options)
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_USAGE)


def begin(environment: Environment, **_: object) -> None:
    """A new list of requests for each start; the host may have been changed on the page.

    Raises ValueError, which Locust logs; without a load the users end at once.
    """
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    CompletionUser.dispatcher = None
    options = environment.parsed_options
    if options is None:
        raise ValueError("run this file with the locust command")
    CompletionUser.client = CLIENTS[options.client](environment.host or "", options.served_model, REQUEST_S)
    workload = workload_from(options)
    worker = getattr(environment.runner, "worker_index", 0)
    CompletionUser.dispatcher = Dispatcher(
        phase=options.workload,
        workload=workload,
        slots=closed(numbers(workload, worker, options.expect_workers)),
        begin=ClockPoint.now(),
        worker=worker,
        write=discard,
    )


def add_charts(environment: Environment, **_: object) -> None:
    draw_charts(environment)


def listen(hook: Hook, listener: Callable[..., None]) -> None:
    hook.add_listener(listener)


listen(events.init_command_line_parser, add_options)
listen(events.init, check_options)
listen(events.init, add_charts)
listen(events.test_start, begin)
