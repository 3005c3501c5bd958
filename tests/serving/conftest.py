"""A real server for serving's tests: uvicorn on a free port, and the embedded engine over tiny models."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
import uvicorn
from hypothesis import settings

from selves.lineage import read_age
from serving.answers import EmbeddedBackend
from serving.api import make_app
from serving.catalog import Catalog, house_id
from serving.engine import Engine

settings.register_profile("house", deadline=None)  # a busy machine is no defect
settings.load_profile("house")


class Serve(Protocol):
    """Serves a checkpoints folder as `selves serve` does; gives the base URL."""

    def __call__(
        self, checkpoints: Path, *, api_key: str = "", hot: int = 12
    ) -> AbstractContextManager[str]: ...


@pytest.fixture(scope="session")
def serve() -> Serve:
    return _serve


@pytest.fixture(scope="session")
def add_age() -> Callable[..., Path]:
    return _add_age


@contextmanager
def _serve(checkpoints: Path, *, api_key: str = "", hot: int = 12) -> Iterator[str]:
    ready = threading.Event()
    app = make_app(
        Catalog(checkpoints),
        EmbeddedBackend(Engine(hot=hot, threads=1)),
        house=house_id(checkpoints),
        api_key=api_key,
        when_ready=ready.set,
    )
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="none", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        assert ready.wait(60)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def _add_age(checkpoints: Path, original: str, copy: str, **changes: Any) -> Path:
    """Put a copy of an age into `checkpoints` under another address, as training does; returns its folder."""
    source = checkpoints.joinpath(*original.split("@"))
    target = checkpoints.joinpath(*copy.split("@"))
    partial = target.with_name(f".partial-{target.name}")
    shutil.copytree(source, partial)
    card = read_age(source).card.model_copy(update={"address": copy, **changes})
    (partial / "age.json").write_text(card.model_dump_json())
    partial.rename(target)
    return target


@pytest.fixture(scope="session")
def endless() -> str:
    """An address whose window is so wide that it speaks until it is stopped."""
    return "tiny@base-000032"


@pytest.fixture(scope="session")
def own_checkpoints(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory, endless: str) -> Path:
    """A copy of the lineage that serving's tests may add ages to."""
    copy = tmp_path_factory.mktemp("serving") / "checkpoints"
    shutil.copytree(checkpoints, copy)
    _add_age(copy, "tiny@base-000016", endless, context_tokens=1_000_000)
    return copy


@pytest.fixture(scope="session")
def url(own_checkpoints: Path) -> Iterator[str]:
    """The base URL of a server over `own_checkpoints`, the same for all tests."""
    with _serve(own_checkpoints) as address:
        yield address
