"""`selves app`: the parlor in the browser, on this machine only, with an engine for as long as it is open."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import ipaddress
import os
import socket
import sys
import webbrowser
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path

from selves.cast import load_cast_or_empty
from selves.cli import make_parser
from selves.errors import EngineError, SelvesError, UsageError
from selves.settings import House

PASSWORD = "SELVES_PARLOR_PASSWORD"
"""The environment variable with what others must know to come in."""
HOST = "127.0.0.1"
PORT = 8501
START_S = 60.0
STOP_S = 10.0
FLAGS = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "client.showErrorLinks": "false",
    "logger.enableRich": "false",
    "runner.magicEnabled": "false",
    # a page's answer to a click would wait for it
    "runner.postScriptGC": "false",
    "theme.font": "serif",
    "theme.light.primaryColor": "#a4371e",
    "theme.light.backgroundColor": "#fbf8f2",
    "theme.light.secondaryBackgroundColor": "#f4eee3",
    "theme.light.textColor": "#14110d",
    "theme.light.codeTextColor": "#14110d",
    "theme.light.blueColor": "#a4371e",
    "theme.light.blueBackgroundColor": "#f4eee3",
    "theme.light.blueTextColor": "#14110d",
    "theme.dark.primaryColor": "#ea8a68",
    "theme.dark.backgroundColor": "#191613",
    "theme.dark.secondaryBackgroundColor": "#221e19",
    "theme.dark.textColor": "#e9e2d5",
    "theme.dark.codeTextColor": "#e9e2d5",
    "theme.dark.blueColor": "#ea8a68",
    "theme.dark.blueBackgroundColor": "#221e19",
    "theme.dark.blueTextColor": "#e9e2d5",
}
"""Streamlit's options: on this machine only, no outside requests, and the colours of the pages.

The text is so dark that captions, which Streamlit draws in 60 % of it, keep a contrast of 4.5 to 1.
"""


def parser() -> ArgumentParser:
    """Return the parser of `selves app`."""
    app = make_parser(
        "selves app",
        "Open the parlor in the browser: one prompt to many ages, and a room to read in. It uses the serving "
        "address that is running, or an engine of its own for as long as it is open. Ctrl-C closes it.",
        """
        selves app                       open it
        selves app --no-browser          only say where it is
        selves app --port 9000           at another port
        selves app --host 0.0.0.0 --password   for other machines too: it asks for a password to set
        """,
    )
    app.add_argument(
        "--port", type=int, help=f"where it listens (default: {PORT}, or any free one if that is taken)"
    )
    app.add_argument(
        "--host", default=HOST, help=f"address to listen on (default: {HOST}, which is this machine alone)"
    )
    app.add_argument(
        "--password",
        action="store_true",
        help=f"ask now for a password that visitors must know; or set {PASSWORD}",
    )
    app.add_argument("--no-browser", action="store_true", help="do not open a browser window")
    return app


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parlor until Ctrl-C. Raises SelvesError."""
    options = parser().parse_args(argv)
    if find_spec("streamlit") is None:
        raise UsageError("the parlor needs Streamlit", 'pip install "selves[app]"')
    house = House.from_environment()
    password = choose_password(options.host, ask=options.password)
    port = choose_port(options.port, options.host)
    try:
        return asyncio.run(run(house, options.host, port, password, browser=not options.no_browser))
    except KeyboardInterrupt:
        return 0  # Ctrl-C is how the parlor is closed


def choose_password(host: str, *, ask: bool) -> str:
    """Return what visitors must know, empty for nothing. Raises UsageError where others could come in so."""
    password = os.environ.get(PASSWORD, "")
    if ask:
        password = getpass.getpass("a password for the parlor: ")
    if not password and (ask or not is_loopback(host)):
        raise UsageError(
            f"whoever reaches {host} could read and say everything here" if not ask else "it is empty",
            f"add --password, or set {PASSWORD}",
        )
    return password


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address (pure)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def choose_port(wanted: int | None, host: str = HOST) -> int:
    """Return a port that is free. Raises UsageError when the one that was asked for is not."""
    for port in (PORT, 0) if wanted is None else (wanted,):
        try:
            with socket.create_server((host, port)) as free:
                return int(free.getsockname()[1])
        except (OSError, OverflowError) as error:
            problem = error
    raise UsageError(
        f"cannot listen on {host}:{wanted}: {problem}", "choose another --port, or none for a free one"
    )


async def run(house: House, host: str, port: int, password: str, *, browser: bool) -> int:
    """Start the engine and the page, wait until the page's server ends, and end both."""
    async with AsyncExitStack() as stack:
        url = await find_engine(house, stack)
        process = await start_streamlit(house, url, host, port, password)
        stack.push_async_callback(stop, process)
        # who listens on all addresses is reached on this one too
        address = f"http://{HOST if host == '0.0.0.0' else host}:{port}"
        await wait_until_ready(process, address)
        print(address, flush=True)
        print("the parlor is open; Ctrl-C closes it", file=sys.stderr)
        if browser:
            await asyncio.to_thread(webbrowser.open, address)
        return await process.wait()


async def find_engine(house: House, stack: AsyncExitStack) -> str:
    """Return the serving address, started if need be; empty if there is none: the parlor still opens."""
    from selves.lineage import list_ages
    from serving.address import serving_address

    try:
        cast = load_cast_or_empty(house.cast_path)
        if not list_ages(house.checkpoints):
            return ""
        return await stack.enter_async_context(
            serving_address(house, cast, on_wait=lambda what: print(f"{what} ...", file=sys.stderr))
        )
    except SelvesError as error:
        print(f"selves: {error}\nthe reading room opens without it", file=sys.stderr)
        return ""


async def start_streamlit(
    house: House, url: str, host: str, port: int, password: str
) -> asyncio.subprocess.Process:
    """Start the page's server as a child that ends with this process, even when it is killed."""
    environment = {
        **os.environ,
        "SELVES_HOME": str(house.home),
        "SELVES_CAST": str(house.cast_path),
        "SELVES_URL": url,
        PASSWORD: password,
    }
    command = [sys.executable, "-m", "serving.leash", sys.executable, "-m", "streamlit", "run"]
    command += [str(Path(__file__).with_name("main.py")), f"--server.port={port}"]
    command += [f"--server.address={host}"]
    command += [f"--{name}={value}" for name, value in FLAGS.items()]
    return await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        # Ctrl-C in a terminal goes to the whole group; the child is ended by us
        start_new_session=True,
    )


async def wait_until_ready(process: asyncio.subprocess.Process, address: str) -> None:
    """Return when the page answers. Raises EngineError when its server ends before that."""
    import httpx

    with contextlib.suppress(TimeoutError):
        async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(START_S):
            while process.returncode is None:
                with contextlib.suppress(httpx.HTTPError):
                    if (await client.get(f"{address}/_stcore/health")).is_success:
                        return
                await asyncio.sleep(0.1)
    raise EngineError("Streamlit did not start", "what it said stands above")


async def stop(process: asyncio.subprocess.Process) -> None:
    """End the page's server: asked first, then forced."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()
