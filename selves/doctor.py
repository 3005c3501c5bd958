"""`selves doctor`: check this machine and this house, and say what to do about what is missing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module, metadata
from typing import Literal, NamedTuple

import httpx
from packaging.requirements import Requirement

from selves.cast import Cast, load_cast
from selves.cli import make_parser
from selves.errors import SelvesError
from selves.lineage import find_age, list_ages
from selves.settings import House

State = Literal["ok", "optional", "wrong"]
MIN_FREE_GIB = 5.0


class Check(NamedTuple):
    """One line of the report. `optional` is missing but only needed for what `detail` says."""

    name: str
    state: State
    detail: str
    fix: str = ""


def check_python() -> Check:
    return Check("python", "ok", ".".join(map(str, sys.version_info[:3])))


def check_packages() -> Iterator[Check]:
    """One line per extra of our own distribution: what it needs that is not installed."""
    requirements = [Requirement(text) for text in metadata.requires("selves") or ()]
    extras = metadata.metadata("selves").get_all("Provides-Extra") or []
    purposes = {
        "": "everything",
        "train": "training",
        "serve": "the embedded engine",
        "discord": "Discord",
        "app": "the parlor in the browser",
        "postgres": "PostgreSQL",
    }
    for extra in ["", *extras]:
        if extra not in purposes:
            continue
        wanted = [
            r
            for r in requirements
            if (r.marker is None) == (extra == "")
            and (r.marker is None or r.marker.evaluate({"extra": extra}))
        ]
        missing = [problem for r in wanted if (problem := _missing(r))]
        name = f"packages for {purposes[extra]}"
        if missing:
            target = f'"selves[{extra}]"' if extra else "selves"
            state: State = "optional" if extra else "wrong"
            yield Check(name, state, f"missing: {', '.join(missing)}", f"pip install {target}")
        else:
            yield Check(name, "ok", f"{len(wanted)} installed")


def _missing(requirement: Requirement) -> str | None:
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return requirement.name
    if not requirement.specifier.contains(version, prereleases=True):
        return f"{requirement} (there is {version})"
    return None


def check_machine(house: House) -> Iterator[Check]:
    folder = next(path for path in (house.home, *house.home.parents) if path.exists())
    free = shutil.disk_usage(folder).free / 2**30
    yield (
        Check("disk", "ok", f"{free:.0f} GiB free in {folder}")
        if free >= MIN_FREE_GIB
        else Check(
            "disk", "wrong", f"only {free:.1f} GiB free in {folder}", "free some space, or set SELVES_HOME"
        )
    )
    writable = os.access(folder, os.W_OK)
    if not writable:
        yield Check("home", "wrong", f"{folder} is not writable", "set SELVES_HOME to a folder of yours")
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    yield (
        Check("C++ compiler", "ok", f"{compiler}: training is compiled")
        if compiler
        else Check("C++ compiler", "optional", "none: training runs about a quarter slower", "install g++")
    )
    gpu = shutil.which("nvidia-smi")
    yield Check(
        "cores", "ok", f"{os.cpu_count()} CPU cores, {'an NVIDIA driver' if gpu else 'no NVIDIA GPU'}"
    )


def check_cast(house: House) -> tuple[Cast | None, Check]:
    try:
        cast = load_cast(house.cast_path)
    except SelvesError as error:
        return None, Check("cast", "wrong", error.problem, error.fix)
    return cast, Check("cast", "ok", f"{house.cast_path.name}: {', '.join(p.name for p in cast.persona)}")


def check_ages(house: House, cast: Cast | None) -> Iterator[Check]:
    try:
        ages = list_ages(house.checkpoints)
    except SelvesError as error:
        yield Check("ages", "wrong", error.problem, error.fix)
        return
    if not ages:
        yield Check("ages", "optional", "none yet", "make demo, or selves train run recipes/demo.toml")
        return
    yield Check("ages", "ok", f"{len(ages)} in {house.checkpoints}")
    for persona in cast.persona if cast else ():
        try:
            find_age(house.checkpoints, persona.address)
        except SelvesError as error:
            yield Check(f"age of {persona.name}", "wrong", error.problem, error.fix)


def check_database(house: House) -> Check:
    """Open the store as every command does. The room is named as a string: this floor imports none."""

    async def kept() -> str:
        async with import_module("memory.store").open_store(house.database_url) as store:
            found = await store.stats()
        return (
            f"{found.scenes:,} scenes, {found.messages:,} lines, {found.generations:,} samples, "
            f"{found.size_bytes / 1e6:,.1f} MB"
        )

    if not house.database_url_setting and not (house.home / "selves.db").exists():
        return Check("memory", "ok", "no database yet; it is made when the first word is said")
    try:
        return Check("memory", "ok", asyncio.run(kept()))
    except SelvesError as error:
        return Check("memory", "wrong", error.problem, error.fix)


def check_engine(house: House, cast: Cast | None) -> Check:
    address = house.serving_url_setting
    if not address and cast:
        address = f"http://{cast.serving.host}:{cast.serving.port}"
    try:
        answer = httpx.get(f"{address.removesuffix('/v1')}/health", timeout=2)
    except (httpx.HTTPError, httpx.InvalidURL):
        where = f" at {address}" if address else ""
        return Check("engine", "ok", f"none running{where}; commands start one when they need it")
    if answer.status_code == 200:
        return Check("engine", "ok", f"running at {address}")
    return Check(
        "engine",
        "wrong",
        f"{address} answers {answer.status_code}",
        "stop what listens there, or change port",
    )


def check_tokens(house: House, cast: Cast) -> Check:
    """Look for the bots' tokens where `selves bots run` does: the environment, and `.env` beside the cast."""
    names = [cast.discord.registrar_token, *(p.token for p in cast.persona if p.token)]
    path = house.cast_path.with_name(".env")
    kept = import_module("bots.castfile").read_variables(path.read_text("utf-8")) if path.is_file() else {}
    unset = [name for name in names if not (os.environ.get(name) or kept.get(name))]
    if unset:
        return Check("Discord", "optional", f"not set: {', '.join(unset)}", "see docs/discord.md")
    return Check("Discord", "ok", f"{len(names)} tokens set")


def examine(house: House) -> Iterator[Check]:
    """Yield every check, cheap ones first."""
    yield check_python()
    yield from check_packages()
    yield from check_machine(house)
    cast, about_cast = check_cast(house)
    yield about_cast
    yield from check_ages(house, cast)
    yield check_database(house)
    yield check_engine(house, cast)
    if cast:
        yield check_tokens(house, cast)


def main(argv: Sequence[str]) -> int:
    """Print one line per check; exit 1 if something is wrong."""
    parser = make_parser(
        "selves doctor",
        "Check this machine and this house, and say what to do.",
        """selves doctor
        selves doctor --json""",
    )
    parser.add_argument("--json", action="store_true", help="one JSON list instead of lines")
    options = parser.parse_args(argv)
    checks = []
    for check in examine(House.from_environment()):
        checks.append(check)
        if not options.json:
            mark = {"ok": "ok      ", "optional": "optional", "wrong": "WRONG   "}[check.state]
            print(
                f"{mark}  {check.name}: {check.detail}"
                + (f"\n          fix: {check.fix}" if check.fix else "")
            )
    if options.json:
        print(json.dumps([check._asdict() for check in checks], indent=2))
    return int(any(check.state == "wrong" for check in checks))
