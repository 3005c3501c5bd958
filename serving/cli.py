"""`selves serve`: every age at one OpenAI-compatible address, until Ctrl-C."""

from __future__ import annotations

import argparse
import json
import os
import socket
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

from selves.cast import Cast, Dtype, Serving, load_cast_or_empty
from selves.cli import make_parser
from selves.errors import EngineError, UsageError
from selves.settings import House

if TYPE_CHECKING:
    from serving.api import Backend
    from serving.catalog import Catalog

STOP_S = 5
"""How long answers may go on after Ctrl-C."""
EXAMPLES = """
selves serve                               all ages; on vLLM where there are GPUs and a vLLM
selves serve --plan                        what would run where and why; starts nothing
selves serve --port 0                      on any free port
selves serve --dtype int8                  weights rounded to a quarter of float32: faster on a CPU
selves serve --age ember@chat-000150 --age ember@base-000400     only these two
selves serve --engine vllm                 the cast on vLLM, also without a GPU, as far as there is room
SELVES_VLLM=http://gpu:8000 selves serve   ages that the vLLM there lists are asked of it, others served here
curl http://127.0.0.1:8640/v1/models       who can be spoken to
"""


def main(argv: Sequence[str]) -> int:
    """Serve until stopped. Raises EngineError when the port is taken or the engine is not installed."""
    house = House.from_environment()
    cast = load_cast_or_empty(house.cast_path)
    options = _parser(cast.serving if cast else Serving()).parse_args(argv)
    if options.hot < 0 or options.threads < 0:
        raise UsageError("--hot and --threads must be at least 0")
    settings = {name: getattr(options, name) for name in ("engine", "hot", "threads", "dtype")}
    serving = (cast.serving if cast else Serving()).model_copy(update=settings)
    if options.while_parent_lives:
        from serving.leash import when_parent_dies

        when_parent_dies(_stop_this_process)
    from serving.catalog import Catalog

    named = tuple(options.age or ())
    catalog = Catalog(house.checkpoints, only=_with_bases(house, named))
    if options.plan:
        port = options.port or Serving().port
        _show_plan(catalog, cast, serving, named, port, as_json=options.json)
        return 0
    listening = _listen(options.host, options.port)
    backend = _backend(house, catalog, cast, serving, named, listening.getsockname()[1])
    _serve(house, backend, catalog, listening, as_json=options.json)
    return 0


def _parser(serving: Serving) -> argparse.ArgumentParser:
    parser = make_parser(
        "selves serve",
        "Give every age a voice at one OpenAI-compatible address. Models are loaded when somebody asks for "
        "them; new ages appear without a restart. Defaults come from [serving] in the cast file.",
        EXAMPLES,
    )
    parser.add_argument("--host", default=serving.host, help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=port_number, default=serving.port, help="0: any free one (default: %(default)s)"
    )
    parser.add_argument(
        "--engine",
        choices=("auto", "embedded", "vllm"),
        default=serving.engine,
        help="auto: vLLM where that pays (default: %(default)s)",
    )
    parser.add_argument(
        "--age", action="append", metavar="ADDRESS", help="serve only this age; may be said several times"
    )
    parser.add_argument(
        "--plan", action="store_true", help="print what would run where, with reasons, and start nothing"
    )
    parser.add_argument(
        "--hot", type=int, default=serving.hot, help="ages that the embedded engine keeps; 0: by memory"
    )
    parser.add_argument(
        "--threads", type=int, default=serving.threads, help="CPU threads; 0: cores minus one (default)"
    )
    parser.add_argument(
        "--dtype",
        choices=get_args(Dtype),
        default=serving.dtype,
        help="what the embedded engine keeps weights in; int8: rounded, a quarter of float32 (default: "
        "%(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="say where it listens, or the plan, as JSON")
    parser.add_argument(
        "--while-parent-lives",
        action="store_true",
        help="stop when standard input ends: for programs that start this one",
    )
    return parser


def port_number(text: str) -> int:
    """Read a port; argparse words the ValueError."""
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


def _with_bases(house: House, named: Sequence[str]) -> frozenset[str] | None:
    """Return which ages are served when some are named: those, and what adapters among them go on."""
    if not named:
        return None
    from selves.lineage import find_age

    ages = [find_age(house.checkpoints, address) for address in named]
    return frozenset(named) | {base.card.address for age in ages if (base := age.base())}


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


def _show_plan(
    catalog: Catalog, cast: Cast | None, serving: Serving, named: Sequence[str], port: int, *, as_json: bool
) -> None:
    from serving.building import plan_for
    from serving.plan_table import show

    plan = plan_for(catalog, cast, serving, named, port)
    if as_json:
        print(plan.model_dump_json())
    else:
        show(plan)


def _backend(
    house: House, catalog: Catalog, cast: Cast | None, serving: Serving, named: Sequence[str], port: int
) -> Backend:
    from serving.building import build_fleet, embedded_backend, plan_for

    if serving.engine == "embedded":
        return embedded_backend(serving)
    plan = plan_for(catalog, cast, serving, named, port)
    return build_fleet(house, serving, plan)


def _serve(
    house: House, backend: Backend, catalog: Catalog, listening: socket.socket, *, as_json: bool
) -> None:
    import uvicorn

    from serving.api import Several, make_app
    from serving.catalog import house_id

    host, port = listening.getsockname()[:2]
    url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    def say_ready() -> None:
        if as_json:
            print(json.dumps({"url": url, "engine": backend.name, "pid": os.getpid()}), flush=True)
            return
        ages = len(catalog.ages())
        number = f"{ages} age{'' if ages == 1 else 's'}"
        health = backend.health().values() if isinstance(backend, Several) else ()
        until = "the answer is 503" if backend.trouble else "another engine answers for it"
        wait = "".join(f"; {trouble}, until then {until}" for trouble in health if trouble)
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
    if not server.started:
        raise EngineError("the server could not be started; its log says why")


def _stop_this_process() -> None:
    """End as after Ctrl-C; if something hangs, end anyway."""
    import signal

    threading.Timer(2 * STOP_S, os._exit, (1,)).start()
    os.kill(os.getpid(), signal.SIGTERM)
