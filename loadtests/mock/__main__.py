"""The mock server as a process: `python -m loadtests.mock --log sent.jsonl --settings '{"itl": ...}'`.

Prints its address as one line of JSON when it is ready. SIGTERM and SIGINT end it, and with
`--until-stdin-ends` the end of its standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from history.jsonl import LineWriter
from loadtests.mock.mock_process import Settings, Started
from loadtests.mock.mock_server import MockService
from loadtests.mock.response_stream import PreciseTimer, precise_loop
from loadtests.open_files import raise_soft_limit

_settings = msgspec.json.Decoder(Settings)

HOST = "127.0.0.1"
BACKLOG = 4096


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.mock", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; else a free one")
    parser.add_argument("--share-port", action="store_true", help="with others that say so too")
    parser.add_argument("--log", type=Path, required=True, help="file that gets what was sent when")
    parser.add_argument("--settings", default="{}", help="the schedule as JSON, see mock/mock_process.py")
    parser.add_argument("--until-stdin-ends", action="store_true", help="exit when stdin ends")
    return parser.parse_args(argv)


async def _serve(arguments: argparse.Namespace, settings: Settings, writer: LineWriter) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if arguments.until_stdin_ends:
        loop.add_reader(0, lambda: None if os.read(0, 4096) else stop.set())
    service = MockService(settings, PreciseTimer(loop), writer.write)
    server = await loop.create_server(
        service.connect, HOST, arguments.port, backlog=BACKLOG, reuse_port=arguments.share_port or None
    )
    port = server.sockets[0].getsockname()[1]
    sys.stdout.buffer.write(msgspec.json.encode(Started(url=f"http://{HOST}:{port}")) + b"\n")
    sys.stdout.flush()
    await stop.wait()
    server.close()
    service.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the mock server; returns its exit code."""
    arguments = _arguments(argv)
    raise_soft_limit()
    # Nothing here makes garbage in cycles worth a pause in the middle of a schedule.
    gc.disable()
    # Clients that leave are written down; a line of asyncio's about each of them is for nobody.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    try:
        settings = _settings.decode(arguments.settings)
        with LineWriter(arguments.log) as writer, asyncio.Runner(loop_factory=precise_loop) as runner:
            runner.run(_serve(arguments, settings, writer))
    except (msgspec.MsgspecError, OSError) as error:
        sys.stderr.write(f"mock server: {error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
