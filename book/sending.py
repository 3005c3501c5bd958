"""What books, sites and data sets share on their way to the Hub: one revision, claimed and verified."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selves.lineage import Age
from selves.settings import House

if TYPE_CHECKING:
    from training.hub import Hub, Kind, Receipt


def send_folder(
    hub: Hub,
    home: Path,
    repo: str,
    kind: Kind,
    files: Mapping[str, Path | bytes],
    *,
    what: str,
    made: str,
    public: bool,
    facts: Mapping[str, Any] | None = None,
) -> Receipt:
    """Make `main` of a repository be these files, and keep the receipt.

    Raises HubError, also when the name is taken by something that is not `made` here.
    """
    from training.hub import EXAMPLE, MANIFEST, Parcel
    from training.publish import read_manifest, sent_before
    from training.receipts import add_receipt

    hub.claim(repo, kind, public=public, sdk="static" if kind == "space" else None)
    known = read_manifest(hub, repo, kind, made)
    before = EXAMPLE if known is None else sent_before(known)
    manifest = {"made_by": "selves", "kind": made, **(facts or {}), "files": sorted(files)}
    everything = {**files, MANIFEST: (json.dumps(manifest, indent=2) + "\n").encode()}
    receipt = hub.send(Parcel(repo, kind, "main", everything, what, replaces=before), what)
    add_receipt(home, receipt)
    return receipt


def has_memory(house: House) -> bool:
    """Whether there is a database; opening the store would make one."""
    return bool(house.database_url_setting) or (house.home / "selves.db").exists()


def withheld(house: House, ages: Iterable[Age]) -> frozenset[tuple[str, str, int]]:
    """Return address, kind and number of what ages wrote and may not be shown, as far as memory knows."""
    from memory import pages
    from memory.store import open_store

    async def ask() -> frozenset[tuple[str, str, int]]:
        async with open_store(house.database_url) as store:
            return await pages.withheld(store, {(a.card.address, a.card.weights_sha256) for a in ages})

    return asyncio.run(ask()) if has_memory(house) else frozenset()


def say_files(repo: str, files: Mapping[str, Path | bytes], *, public: bool, as_json: bool) -> None:
    """Say what would be sent."""
    sizes = {path: len(f) if isinstance(f, bytes) else f.stat().st_size for path, f in files.items()}
    if as_json:
        print(json.dumps({"repo": repo, "public": public, "files": sizes}))
        return
    print(f"{repo}, {'public' if public else 'private'} if it is new")
    for path, size in sizes.items():
        print(f"  {path:<44} {size / 1e3:>12,.1f} kB")
