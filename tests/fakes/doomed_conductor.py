"""A conductor that starts a fake server and waits to be killed. Run as a script from the repository root."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from kvchaos.stacks.local_stack import LocalStack, choose_port, make_folders
from kvchaos.stacks.process_registry import ProcessRegistry
from kvchaos.stacks.server_command import Launch

SERVER_TREE = Path(__file__).with_name("server_tree.py")


def main() -> None:
    """Start a server tree as the conductor does, report its process ids and wait to be killed."""
    state_folder, run_dir, *options = sys.argv[1:]
    run = Path(run_dir)
    record = ProcessRegistry(Path(state_folder), run_id="doomed", run_dir=run, control_dir=run / "control")
    folders = make_folders(run, record)
    port = choose_port(None)
    command = (sys.executable, str(SERVER_TREE), "--port", str(port), "--pids", str(run / "pids"), *options)
    stack = LocalStack(Launch(command, {}, port), folders, run, record)
    stack.start()
    stack.wait_ready(30.0)
    (folders.control / "armed.json").write_text("{}")
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
