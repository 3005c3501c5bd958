"""A self of the cast is given another age: one line of the cast file changes, all others stay as they are."""

from __future__ import annotations

from pathlib import Path

from selves import config
from selves.cast import Cast, load_cast
from selves.errors import ConfigError
from selves.files import write_file


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
