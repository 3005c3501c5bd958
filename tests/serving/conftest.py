"""A lineage of tiny ages that serving's tests may add to, and a real server for it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from selves.lineage import read_age
from tests.servers import serving

Serve = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="session")
def serve() -> Serve:
    """Serves a checkpoints folder: tests.servers.serving."""
    return serving


@pytest.fixture(scope="session")
def add_age() -> Callable[..., Path]:
    return _add_age


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
    with serving(own_checkpoints) as address:
        yield address
