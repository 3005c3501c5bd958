"""A real server for tests of any room: uvicorn on a free port, the embedded engine over tiny models."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from serving.answers import EmbeddedBackend
from serving.apart import EngineApart
from serving.api import BODY_S, make_app
from serving.catalog import Catalog, house_id
from serving.engine import Engine


@contextmanager
def serving(
    checkpoints: Path,
    *,
    api_key: str = "",
    hot: int = 12,
    engine: Engine | EngineApart | None = None,
    body_s: float = BODY_S,
) -> Iterator[str]:
    """Serve a checkpoints folder as `selves serve` does; yields the base URL."""
    ready = threading.Event()
    app = make_app(
        Catalog(checkpoints),
        EmbeddedBackend(engine or Engine(hot=hot, threads=1)),
        house=house_id(checkpoints),
        api_key=api_key,
        when_ready=ready.set,
        body_s=body_s,
    )
    with listening(app) as url:
        assert ready.wait(240)
        yield url


@contextmanager
def listening(app: Starlette, *, lifespan: bool = True) -> Iterator[str]:
    """Serve an application on a free port of loopback, in a thread; yields the base URL."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    config = uvicorn.Config(
        app,
        log_level="warning" if lifespan else "critical",
        lifespan="on" if lifespan else "off",
        ws="none",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
