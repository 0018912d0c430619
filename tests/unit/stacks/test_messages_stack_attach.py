"""What is said of a server that cannot be attached to."""

from __future__ import annotations

import pytest

from kvchaos.cli.app import run
from kvchaos.errors import UsageError
from kvchaos.stacks.attach import AttachStack, inspect_server
from kvchaos.stacks.stack import ServerStartFailed
from tests.unit.stacks.test_stack_attach import IDLE, METRICS, server


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"/version": None}, "/version: HTTP status 404"),
        ({"/version": "{}"}, "/version: not what a vLLM server answers"),
        ({"/version": '{"version": "main"}'}, "cannot be read"),
        ({"/v1/models": '{"data": []}'}, "/v1/models: not what a vLLM server answers"),
        ({"/metrics": "<html>"}, "/metrics: malformed"),
        ({"/metrics": "up 1\n"}, "cannot be read"),
        (
            {"/metrics": METRICS.replace(IDLE, IDLE.replace("0.0", "3.0"))},
            "3 requests of other clients",
        ),
    ],
)
def test_target_that_is_no_idle_vllm_server_is_refused(changed: dict[str, str | None], problem: str) -> None:
    with server(changed) as url, pytest.raises(UsageError, match=problem) as refused:
        inspect_server(url)
    assert "\n" not in str(refused.value)


def test_unreachable_server_is_reported_at_once() -> None:
    with server() as url:
        pass
    with pytest.raises(UsageError, match="is the server up"):
        inspect_server(url)


def test_a_server_that_does_not_get_healthy_is_not_ready() -> None:
    with server({"/health": None}) as url, pytest.raises(ServerStartFailed, match="did not answer 200"):
        AttachStack(inspect_server(url)).wait_ready(0.1)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--stack", "attach"], "--url"),
        (["--stack", "attach", "--url", "http://127.0.0.1:1", "--server", "0.32.0"], "no --server"),
        (["--url", "http://127.0.0.1:1"], "--url needs --stack attach"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", "baseline-offload", *arguments]) == 3
    assert problem in capsys.readouterr().err
