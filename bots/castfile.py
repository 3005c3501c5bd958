"""Writing where the selves live, and their tokens' names, into a cast file that people wrote (pure).

Comments and all else stay as they are. What comes out is read again and compared, so a file that is written
in an unforeseen way is refused instead of being spoilt.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from selves.errors import ConfigError


def with_accounts(text: str, *, registrar: str, channels: Sequence[int], tokens: Mapping[str, str]) -> str:
    """Return a cast file with the registrar's variable, the channels, and `tokens`: variables by persona.

    Raises ConfigError when the file is not TOML, or could not be changed without changing more.
    """
    wanted = _read(text)
    discord = wanted.setdefault("discord", {})
    discord["channels"] = list(channels)
    if registrar != "SELVES_REGISTRAR_TOKEN" or "registrar_token" in discord:
        discord["registrar_token"] = registrar
    lines = text.splitlines()
    for number, persona in enumerate(wanted.get("persona", [])):
        if persona["name"] in tokens:
            persona["token"] = tokens[persona["name"]]
            _set(lines, _nth(lines, "[[persona]]", number), "token", json.dumps(persona["token"]))
    at = _nth(lines, "[discord]", 0)
    if at is None:
        lines += ["", "[discord]"]
        at = len(lines) - 1
    for key in ("registrar_token", "channels"):
        if key in discord:
            _set(lines, at, key, json.dumps(discord[key]))
    made = "\n".join(lines) + "\n"
    try:
        same = tomllib.loads(made) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        names = "".join(f'; token = "{variable}" for {name}' for name, variable in tokens.items())
        raise ConfigError(
            "the cast file is written in a way that cannot be added to",
            f"write by hand: channels = {list(channels)} under [discord]{names}",
        )
    return made


def with_variables(text: str, variables: Mapping[str, str]) -> str:
    """Return an `.env` file in which these variables are set; other lines stay."""
    left = dict(variables)
    lines = []
    for line in text.splitlines():
        name = line.partition("=")[0].strip()
        lines.append(f"{name}={left.pop(name)}" if name in left else line)
    return "".join(f"{line}\n" for line in [*lines, *(f"{n}={v}" for n, v in left.items())])


def read_variables(text: str) -> dict[str, str]:
    """Return what an `.env` file sets; quotes around values are taken away."""
    found = {}
    for line in text.splitlines():
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.startswith("#"):
            found[name.strip()] = value.strip().strip("\"'")
    return found


def new_cast(ages: Mapping[str, str]) -> str:
    """Return a first cast file with these selves: name -> address."""
    personas = (
        f"[[persona]]\nname = {json.dumps(name)}\naddress = {json.dumps(address)}\n"
        for name, address in ages.items()
    )
    return "# Who the selves are; docs/reference.md lists every key.\n\n" + "\n".join(personas)


def _read(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the cast file is not TOML: {error}", "mend it first") from error


def _nth(lines: Sequence[str], header: str, number: int) -> int | None:
    """The line of the n-th table with this header."""
    pattern = re.compile(re.escape(header) + r"\s*(#.*)?$")
    found = [index for index, line in enumerate(lines) if pattern.fullmatch(line.strip())]
    return found[number] if number < len(found) else None


def _set(lines: list[str], header: int | None, key: str, value: str) -> None:
    """Set a key in the table that begins at `header`; a new one comes last, before blanks and remarks."""
    if header is None:
        return
    end = next((i for i in range(header + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
    for index in range(header + 1, end):
        match = re.match(rf"\s*{key}\s*=\s*", lines[index])
        if match:
            last = _value_end(lines, index, end)
            remark = re.search(r"\s+#[^\"'\]]*$", lines[last])
            lines[index : last + 1] = [f"{match[0]}{value}{remark[0] if remark else ''}"]
            return
    while end > header + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1
    lines.insert(end, f"{key} = {value}")


def _value_end(lines: Sequence[str], start: int, end: int) -> int:
    """The last line of a value that begins in line `start`: an array may go over several."""
    for index in range(start, end):
        try:
            tomllib.loads("\n".join(lines[start : index + 1]))
        except tomllib.TOMLDecodeError:
            continue
        return index
    return start
