"""TOML into frozen models, with errors that name file, line, key and what to do."""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, ValidationError

from selves.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"{value!r} is not a time zone; use a name like Europe/Berlin") from error
    return value


TimeZone = Annotated[str, AfterValidator(_zone)]
"""The name of a time zone, such as `Europe/Berlin`."""


def load(path: Path, model: type[Model]) -> Model:
    """Read a TOML file into `model`. Raises ConfigError with every problem found, each on its line."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path} does not exist", "name another file, or copy one from casts/ or recipes/"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", "it must be a text file in UTF-8") from error
    return parse(text, model, str(path))


def parse(text: str, model: type[Model], name: str) -> Model:
    """Read TOML text into `model`; `name` stands for the file in errors."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not valid TOML: {error}", "see https://toml.io for the format") from error
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = error.errors()
        # a tuple whose entries are wrong is also said to be too short
        short = [p for p in found if p["type"] == "too_short" and any(_is_within(q, p) for q in found)]
        problems = [_describe(text, model, problem) for problem in found if problem not in short]
        listing = "\n".join(f"{name}:{line}: {what}" for line, what in sorted(problems))
        raise ConfigError(listing, "correct the lines above; docs/reference.md lists every key") from error


def reasons(error: ValidationError) -> str:
    """Say in a line what is wrong with data that nobody wrote by hand."""
    found = [
        (".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, "))
        for problem in error.errors()
    ]
    return "; ".join(f"{where}: {what}" if where else what for where, what in found)


def _is_within(problem: Any, outer: Any) -> bool:
    depth = len(outer["loc"])
    return len(problem["loc"]) > depth and problem["loc"][:depth] == outer["loc"]


def _describe(text: str, model: type[BaseModel], problem: Any) -> tuple[int, str]:
    location: Location = problem["loc"]
    key = ".".join(str(part + 1) if isinstance(part, int) else part for part in location)
    line = find_line(text, location)
    match problem["type"]:
        case "extra_forbidden":
            known = _fields(model, location[:-1])
            close = difflib.get_close_matches(str(location[-1]), known, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
            return line, f"unknown key {key!r}; {hint}"
        case "missing":
            return line, f"{key!r} is missing"
        case "value_error":
            return line, f"{key + ': ' if key else ''}{problem['ctx']['error']}"
        case _:
            return line, f"{key!r} is {problem['input']!r}: {problem['msg'].lower()}"


def _fields(model: Any, location: Location) -> list[str]:
    """Field names of the model at `location`, walking through lists, dicts and optionals."""
    for part in location:
        if isinstance(part, str) and isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[part].annotation if part in model.model_fields else None
        model = _inner(model)
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _inner(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _inner(argument)
        if found is not None:
            return found
    return None


def find_line(text: str, location: Location) -> int:
    """Return the 1-based line on which `location` stands in TOML text, or of its nearest parent.

    Handles `[a.b]` and `[[a]]` headers and `key = value` lines; for what lies inside a value, its line.
    """
    current: list[int | str] = []
    counts: dict[tuple[int | str, ...], int] = {}
    best, best_depth = 1, 0
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]\]?", line)
        key = re.match(r"\s*([A-Za-z0-9_-]+|\"[^\"]+\")\s*=", line)
        if header:
            current = []
            parts = [part.strip().strip('"') for part in header[2].split(".")]
            for depth, part in enumerate(parts):
                current.append(part)
                path = tuple(current)
                last = depth == len(parts) - 1
                if last and header[1] == "[[":
                    counts[path] = counts.get(path, -1) + 1
                if path in counts:
                    current.append(counts[path])
            here = tuple(current)
        elif key:
            here = (*current, key[1].strip('"'))
        else:
            continue
        depth = len(here)
        if location[:depth] == here and depth > best_depth:
            best, best_depth = number, depth
    return best
