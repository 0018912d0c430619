"""The proxy as a process: `python -m chaos.outside.network --server 127.0.0.1:8000 --reports FILE`.

Listens on a free port of 127.0.0.1 and says which in its file of reports. Leaves when its stdin ends.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from chaos.outside.network.proxy import Address, Proxy
from chaos.outside.network.proxy_control import ProxyCommand
from history.jsonl import LineWriter

HOST = "127.0.0.1"
BACKLOG = 4096
POLL_S = 0.02
READ_BYTES = 64 << 10


class Commands:
    """Reads commands from stdin and executes them."""

    def __init__(self, proxy: Proxy, over: asyncio.Event) -> None:
        self._proxy = proxy
        self._over = over
        self._decoder = msgspec.json.Decoder(ProxyCommand)
        self._begun = b""
        self.failure: str | None = None

    def read(self) -> None:
        """Read what is on stdin and execute the complete lines; at its end the proxy ends."""
        data = os.read(0, READ_BYTES)
        if not data:
            self._over.set()
            return
        *lines, self._begun = (self._begun + data).split(b"\n")
        try:
            for line in lines:
                self._proxy.execute(self._decoder.decode(line))
        except (msgspec.MsgspecError, OSError) as error:
            self.failure = str(error)
            self._over.set()


async def _serve(server: Address, reports: LineWriter) -> str | None:
    """Run until stdin ends. Returns the failure, if any."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    proxy = Proxy(server, reports.write)
    commands = Commands(proxy, over)
    listener = await loop.create_server(proxy.connection, HOST, 0, backlog=BACKLOG)
    proxy.listens(listener.sockets[0].getsockname()[1])
    loop.add_reader(0, commands.read)
    while not over.is_set():
        proxy.poll()
        await _wait(over, POLL_S)
    listener.close()
    proxy.close()
    return commands.failure


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if host != HOST or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: only {HOST}:PORT is asked")
    return host, int(port)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of the proxy's process; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m chaos.outside.network", description=__doc__)
    parser.add_argument("--server", type=_address, required=True, help="127.0.0.1:PORT, which is asked")
    parser.add_argument("--reports", type=Path, required=True, help="file that gets what was done when")
    arguments = parser.parse_args(argv)
    # A Ctrl-C in the terminal reaches this process too; what it means is for the conductor to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with LineWriter(arguments.reports) as reports:
        failure = asyncio.run(_serve(arguments.server, reports))
    if failure is not None:
        sys.stderr.write(f"{parser.prog}: {failure}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
