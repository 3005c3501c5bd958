"""A self joins the cast, or is given another age: a table is added, or one line changes; all else stays."""

from __future__ import annotations

import json
from pathlib import Path

from selves import config
from selves.cast import Cast, Persona, load_cast
from selves.errors import ConfigError, UsageError
from selves.files import write_file
from selves.lineage import Address, age_name


def persona_table(name: str, address: str) -> str:
    """Return the table with which a self joins a cast (pure)."""
    return f"[[persona]]\nname = {json.dumps(name, ensure_ascii=False)}\naddress = {json.dumps(address)}\n"


def check_join(cast_path: Path, name: str, lineage: str) -> None:
    """Raise what `join` would, so that it is said before hours of training."""
    _joined(cast_path, name, Address(lineage, age_name("base", 0)))


def join(cast_path: Path, name: str, address: str) -> bool:
    """Write a self into the cast file, or its newer age if it is there; return whether anything changed.

    Raises UsageError if the name is another lineage's, ConfigError where it cannot be added, DiskError.
    """
    found = _joined(cast_path, name, Address.parse(address))
    if isinstance(found, Persona):
        return move(cast_path, found.name, address)
    write_file(cast_path, found)
    return True


def _joined(cast_path: Path, name: str, address: Address) -> Persona | str:
    """Return who of the cast is called so, or the cast file with one more self."""
    cast = load_cast(cast_path)
    for persona in cast.persona:
        if persona.name.casefold() == name.casefold():
            if Address.parse(persona.address).lineage == address.lineage:
                return persona
            raise UsageError(
                f"{cast_path}: {persona.name} is there already, and is {persona.address}",
                "give the new self another name with --as NAME",
            )
    text = f"{cast_path.read_text('utf-8').rstrip()}\n\n{persona_table(name, str(address))}"
    made = config.parse(text, Cast, str(cast_path))
    if made != cast.model_copy(update={"persona": (*cast.persona, made.persona[-1])}):
        raise ConfigError(f"{cast_path}: {name} cannot be added to it", "write the table by hand")
    return text


def move(cast_path: Path, name: str, address: str) -> bool:
    """Write another address into a persona's table; return whether it had another.

    Raises UsageError if nobody is called so, ConfigError where the line cannot be told, DiskError.
    """
    cast = load_cast(cast_path)
    persona = cast.find_persona(name)
    if persona.address == address:
        return False
    text = cast_path.read_text("utf-8")
    number = config.find_line(text, ("persona", cast.persona.index(persona), "address"))
    lines = text.splitlines(keepends=True)
    lines[number - 1] = lines[number - 1].replace(persona.address, address, 1)
    written = "".join(lines)
    moved = persona.model_copy(update={"address": address})
    wanted = tuple(moved if one is persona else one for one in cast.persona)
    if config.parse(written, Cast, str(cast_path)) != cast.model_copy(update={"persona": wanted}):
        raise ConfigError(
            f"{cast_path}:{number}: {name}'s address does not stand on a line of its own",
            f'write it so: address = "{address}"',
        )
    write_file(cast_path, written)
    return True
