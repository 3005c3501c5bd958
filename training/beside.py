"""What was found of the ages of a lineage, in one file of JSON beside them.

    {"format": 1, "ages": {"ember@base-000400": {"agreement": Result, ...}, ...}}

An age's folder never changes, so what is found of it lies beside it. The file is replaced whole each time;
two processes that add to it at once wait for each other and lose nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from selves.errors import AgeError
from selves.files import alone, write_file

Found = TypeVar("Found", bound=BaseModel)
FORMAT = 1


def read(path: Path, of: type[Found], again: str) -> dict[str, dict[str, Found]]:
    """Return address -> name -> what was found; nothing if there is no file.

    `again` says what makes it anew. Raises AgeError if it is damaged.
    """
    if not path.exists():
        return {}
    try:
        data = json.loads(path.read_text("utf-8"))
        if data["format"] != FORMAT:
            raise AgeError(f"{path} is of format {data['format']}, known is {FORMAT}", "delete it, or update")
        return {
            address: {name: of.model_validate(one) for name, one in found.items()}
            for address, found in data["ages"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise AgeError(f"{path} is damaged: {error}", f"delete it and {again} again") from error


def keep(path: Path, address: str, name: str, found: Found, again: str) -> None:
    """Add what was found, in place of an earlier one of the same name. Raises as `read`, and DiskError."""
    with alone(path.with_name(f".{path.stem}.lock")):
        known = read(path, type(found), again)
        known.setdefault(address, {})[name] = found
        ages = {
            address: {name: one.model_dump(mode="json") for name, one in each.items()}
            for address, each in known.items()
        }
        data = json.dumps({"format": FORMAT, "ages": ages}, indent=1, ensure_ascii=False) + "\n"
        write_file(path, data)
