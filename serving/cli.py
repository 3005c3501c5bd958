"""`selves serve`: every age at one OpenAI-compatible address, until Ctrl-C."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from selves.cast import Serving, load_cast_or_empty
from selves.cli import make_parser
from selves.errors import EngineError, UsageError
from selves.settings import House

if TYPE_CHECKING:
    from serving.api import Backend

STOP_S = 5
"""How long answers may go on after Ctrl-C."""


def main(argv: Sequence[str]) -> int:
    """Serve until stopped. Raises EngineError when the port is taken or the engine is not installed."""
    house = House.from_environment()
    cast = load_cast_or_empty(house.cast_path)
    serving = cast.serving if cast else Serving()
    parser = make_parser(
        "selves serve",
        "Give every age a voice at one OpenAI-compatible address. Models are loaded when somebody asks for "
        "them; new ages appear without a restart. Defaults come from [serving] in the cast file.",
        """
        selves serve                                      all ages, embedded engine
        selves serve --port 0                             on any free port
        selves serve --engine vllm --age ember@chat-000150   one age on vLLM
        curl http://127.0.0.1:8640/v1/models              who can be spoken to
        """,
    )
    parser.add_argument("--host", default=serving.host, help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=port_number, default=serving.port, help="0: any free one (default: %(default)s)"
    )
    parser.add_argument("--engine", choices=("embedded", "vllm"), default=serving.engine)
    parser.add_argument("--age", metavar="ADDRESS", help="serve only this age (vllm needs it)")
    parser.add_argument("--hot", type=int, default=serving.hot, help="ages in memory (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=serving.threads, help="CPU threads; 0: cores minus one (default)"
    )
    parser.add_argument("--json", action="store_true", help="say where it listens as JSON")
    parser.add_argument(
        "--while-parent-lives",
        action="store_true",
        help="stop when standard input ends: for programs that start this one",
    )
    options = parser.parse_args(argv)
    if options.hot < 1 or options.threads < 0:
        raise UsageError("--hot must be at least 1 and --threads at least 0")
    if options.while_parent_lives:
        from serving.leash import when_parent_dies

        when_parent_dies(_stop_this_process)
    only = options.age
    if only is not None:
        from selves.lineage import find_age

        find_age(house.checkpoints, only)
    elif options.engine == "vllm":
        raise UsageError("vLLM serves one age", "name it with --age; `selves ages list` shows them all")
    listening = _listen(options.host, options.port)
    backend = _backend(house, options.engine, serving.vllm, only, options.hot, options.threads)
    _serve(house, backend, listening, only, as_json=options.json)
    return 0


def port_number(text: str) -> int:
    """Read a port; argparse words the ValueError."""
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=_family(host), backlog=512)
    except OSError as error:
        raise EngineError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            "another `selves serve` may run there already; choose another with --port, or 0 for any free one",
        ) from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _backend(house: House, engine: str, vllm: str, only: str | None, hot: int, threads: int) -> Backend:
    if engine == "vllm":
        from serving.vllm import VllmBackend

        assert only is not None
        return VllmBackend(house, program=vllm, address=only)
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise EngineError(f"the embedded engine needs {' and '.join(missing)}", 'pip install "selves[serve]"')
    from serving.answers import EmbeddedBackend
    from serving.engine import Engine

    return EmbeddedBackend(Engine(hot=hot, threads=threads))


def _serve(
    house: House, backend: Backend, listening: socket.socket, only: str | None, *, as_json: bool
) -> None:
    import uvicorn

    from serving.api import make_app
    from serving.catalog import Catalog, house_id

    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
    catalog = Catalog(house.checkpoints, only=only)

    def say_ready() -> None:
        if as_json:
            print(json.dumps({"url": url, "engine": backend.name, "pid": os.getpid()}), flush=True)
            return
        ages = len(catalog.ages())
        number = f"{ages} age{'' if ages == 1 else 's'}"
        wait = f"; {backend.trouble}, until then the answer is 503" if backend.trouble else ""
        print(f"serving {number} at {url}/v1 ({backend.name} engine{wait}); Ctrl-C stops", flush=True)

    app = make_app(
        catalog, backend, house=house_id(house.checkpoints), api_key=house.api_key, when_ready=say_ready
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, ws="none", timeout_graceful_shutdown=STOP_S
        )
    )
    try:
        server.run(sockets=[listening])
    except KeyboardInterrupt:
        return  # Ctrl-C is how a server is stopped; uvicorn has shut down by now


def _stop_this_process() -> None:
    """End as after Ctrl-C; if something hangs, end anyway."""
    import signal

    threading.Timer(2 * STOP_S, os._exit, (1,)).start()
    os.kill(os.getpid(), signal.SIGTERM)
