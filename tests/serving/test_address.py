"""The serving address: what runs is used, what does not is started, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from selves.cast import Cast, Persona, Serving
from selves.errors import EngineError
from selves.settings import House
from serving.address import serving_address
from serving.voice import Voice


@pytest.fixture
def house(own_checkpoints: Path, tmp_path: Path) -> House:
    return House(home=own_checkpoints.parent, cast_path=tmp_path / "none.toml")


def cast_at(port: int) -> Cast:
    persona = Persona(name="Ember", address="tiny@base-000016")
    return Cast(persona=(persona,), serving=Serving(host="127.0.0.1", port=port))


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_server_is_started_where_there_is_none_and_stopped_at_the_end(
    house: House, free_port: int
) -> None:
    waits: list[str] = []
    async with serving_address(house, cast_at(free_port), on_wait=waits.append) as url, Voice(url) as voice:
        assert "tiny@base-000016" in await voice.models()
        port = int(url.rpartition(":")[2])
    assert waits == ["starting the embedded engine"]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


async def test_a_running_server_of_this_house_is_used(house: House, url: str) -> None:
    async with serving_address(house, cast_at(int(url.rpartition(":")[2]))) as found:
        assert found == url
    async with serving_address(house.model_copy(update={"serving_url_setting": f"{url}/v1"}), None) as found:
        assert found == url


async def test_a_running_server_of_another_house_is_left_alone(
    house: House, url: str, tmp_path: Path
) -> None:
    other = house.model_copy(update={"home": tmp_path})
    async with serving_address(other, cast_at(int(url.rpartition(":")[2]))) as found:
        assert found != url


async def test_an_address_that_was_named_but_does_not_answer_is_an_error(
    house: House, free_port: int
) -> None:
    named = house.model_copy(update={"serving_url_setting": f"http://127.0.0.1:{free_port}"})
    with pytest.raises(EngineError, match="unset SELVES_URL"):
        async with serving_address(named, None):
            pass


async def test_a_server_that_cannot_start_says_why(house: House, tmp_path: Path, free_port: int) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("nonsense = 1\n")
    with pytest.raises(EngineError, match="unknown key 'nonsense'"):
        async with serving_address(house.model_copy(update={"cast_path": broken}), cast_at(free_port)):
            pass


PARENT = """
import asyncio, sys
from selves.settings import House
from serving.address import serving_address

async def main():
    async with serving_address(House.from_environment(), None) as url:
        print(url, flush=True)
        await asyncio.sleep(3600)

asyncio.run(main())
"""


async def until_closed(port: int) -> None:
    """Return when nobody listens at a port any more: a connection ends, and the next is refused."""
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except ConnectionError:
            return
        await reader.read()
        writer.close()


async def test_the_started_server_dies_with_a_parent_that_is_killed(house: House, tmp_path: Path) -> None:
    environment = {**os.environ, "SELVES_HOME": str(house.home), "SELVES_CAST": str(tmp_path / "none.toml")}
    environment.pop("SELVES_URL", None)
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    url = (await parent.stdout.readline()).decode().strip()
    parent.kill()
    await parent.wait()
    await asyncio.wait_for(until_closed(int(url.rpartition(":")[2])), 240)


@pytest.fixture
def start_serve(house: House, tmp_path: Path) -> Any:
    def start(*options: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "selves", "serve", *options],
            env={**os.environ, "SELVES_HOME": str(house.home), "SELVES_CAST": str(tmp_path / "none.toml")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


def test_selves_serve_says_where_it_listens_and_stops_on_ctrl_c(start_serve: Callable[..., Any]) -> None:
    with start_serve("--port", "0", "--age", "tiny@base-000016") as process:
        line = process.stdout.readline()
        assert line.startswith("serving 1 age at http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        _, story = process.communicate(timeout=240)
    assert process.returncode == 0
    assert "Traceback" not in story


def test_a_taken_port_is_named_with_what_to_do(start_serve: Callable[..., Any], url: str) -> None:
    port = url.rpartition(":")[2]
    with start_serve("--port", port) as process:
        _, story = process.communicate(timeout=240)
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in story
    assert "--port" in story


def test_programs_may_read_where_it_listens(start_serve: Callable[..., Any]) -> None:
    with start_serve("--port", "0", "--json") as process:
        assert json.loads(process.stdout.readline())["pid"] == process.pid
        process.terminate()
        process.communicate(timeout=240)


def test_an_unknown_age_and_a_missing_vllm_are_clear_errors(
    start_serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SELVES_VLLM", raising=False)
    for options, problem in [
        (("--age", "tiny@base-000999"), "there is no age tiny@base-000999"),
        (("--engine", "vllm"), "there is no vLLM at .vllm/bin/vllm"),
    ]:
        with start_serve("--port", "0", *options) as process:
            _, story = process.communicate(timeout=240)
        assert process.returncode in (1, 2)
        assert problem in story


LEASHED = """
import os, signal, sys
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.{on_term})
    print("grandchild", flush=True)
    while True: signal.pause()
{then}
"""


@pytest.mark.parametrize(
    ("then", "on_term"),
    [("sys.exit(3)", "SIG_DFL"), ("signal.pause()", "SIG_DFL"), ("signal.pause()", "SIG_IGN")],
)
async def test_the_leash_ends_the_whole_group(then: str, on_term: str) -> None:
    from serving import leash

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", leash.__file__,
        sys.executable, "-c", LEASHED.format(then=then, on_term=on_term),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    assert await process.stdout.readline() == b"grandchild\n"
    if then == "signal.pause()":
        process.stdin.close()
    # end of file comes only when all that hold the pipe are gone, the grandchild too
    assert await asyncio.wait_for(process.stdout.read(), 240) == b""
    code = await process.wait()
    assert code == (3 if then == "sys.exit(3)" else 128 + signal.SIGTERM)
