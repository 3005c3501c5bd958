"""Write docs/reference.md from the code: every key of the cast file and of recipes, every command's help.

python docs/make_reference.py            (or: make docs)
python docs/make_reference.py --check    exits 1 if the page is out of date
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from book.outline import Outline
from bots.loop import LoopRecipe
from selves.__main__ import COMMANDS
from selves.cast import Cast
from training import budget
from training.post.recipe import PostRecipe
from training.recipe import Recipe, load_recipe

PAGE = Path(__file__).with_name("reference.md")


def type_name(annotation: Any) -> str:
    """A type as a user reads it: `int`, `list of str`, `"floor" or "round"`."""
    arguments = tuple(a for a in get_args(annotation) if a is not NoneType)
    if get_origin(annotation) is dict:
        return "any keys"
    if get_origin(annotation) is Mapping:
        return f"table of {type_name(arguments[-1])}"
    if get_origin(annotation) is UnionType:
        return type_name(arguments[0])
    if not arguments:
        return {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}.get(
            annotation.__name__, annotation.__name__
        )
    if all(isinstance(argument, str) for argument in arguments):
        return " or ".join(f'`"{argument}"`' for argument in arguments)
    return f"list of {type_name(arguments[0])}"


def models_in(model: type[BaseModel], path: str = "") -> list[tuple[str, type[BaseModel]]]:
    """Every table of a TOML file with its header, depth first."""
    found = []
    for name, field in model.model_fields.items():
        where = f"{path}.{name}" if path else name
        inner = [a for a in (field.annotation, *get_args(field.annotation)) if isinstance(a, type)]
        for candidate in inner:
            if issubclass(candidate, BaseModel):
                header = f"[[{where}]]" if get_origin(field.annotation) is tuple else f"[{where}]"
                found += [(header, candidate), *models_in(candidate, where)]
    return found


def table(model: type[BaseModel]) -> list[str]:
    """The keys of one table as Markdown."""
    rows = []
    for name, field in model.model_fields.items():
        types = [a for a in (field.annotation, *get_args(field.annotation)) if isinstance(a, type)]
        if any(issubclass(a, BaseModel) for a in types):
            continue
        if field.json_schema_extra:
            default = "from `depth`"
        elif field.is_required():
            default = "required"
        else:
            value = field.get_default(call_default_factory=True)
            assert value is not PydanticUndefined
            default = "none" if value in ("", (), {}, None) else f"`{value}`"
        text = " ".join((field.description or "").split())
        rows.append(f"| `{name}` | {type_name(field.annotation)} | {default} | {text} |")
    return ["| key | type | default | meaning |", "| --- | --- | --- | --- |", *rows] if rows else []


def toml_page(title: str, model: type[BaseModel]) -> list[str]:
    lines = [f"## {title}", ""]
    for header, part in [("", model), *models_in(model)]:
        rows = table(part)
        if header:
            summary = (part.__doc__ or "").split(": ", 1)[-1].strip().replace("\n", " ")
            lines += [f"### `{header}`", "", " ".join(summary.split()), ""]
        lines += [*rows, ""] if rows else []
    return lines


def presets() -> list[str]:
    """What each recipe of this repository comes to, as Markdown."""
    lines = [
        "| lineage | layers x width | parameters | context | tokens | steps x batch | ages, disk | hours |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    recipes = [load_recipe(path) for path in sorted((PAGE.parents[1] / "recipes").glob("*.toml"))]
    for recipe in sorted(recipes, key=lambda recipe: budget.cost(recipe).flops):
        cost, model, base = budget.cost(recipe), recipe.model, recipe.base
        hours = [
            f"{cost.hours(machine.flops * machine.gpus * budget.SHARE_OF_PEAK):.2g} on {machine.name}"
            for machine in budget.ACCELERATORS
            if cost.flops > 1e16
        ]
        cells = (
            recipe.lineage,
            f"{model.depth} x {model.width}",
            f"{cost.parameters / 1e6:,.1f} M",
            f"{model.context}",
            f"{cost.tokens / 1e6:,.1f} M",
            f"{base.steps} x {base.batch_tokens:,}",
            f"{cost.ages}, {cost.ages * cost.age_bytes / 1e9:,.1f} GB",
            ", ".join(hours) or ("minutes on 2 cores" if cost.flops < 1e14 else "an hour or more on 2 cores"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def command_help(command: str) -> list[str]:
    """A command's own --help, and those of its verbs."""
    environment = {**os.environ, "COLUMNS": "100", "SELVES_CAST": os.devnull + "/none", "NO_COLOR": "1"}
    environment.pop("SELVES_HOME", None)

    def text(*arguments: str) -> str:
        result = subprocess.run(
            [sys.executable, "-m", "selves", *command.split(), *arguments, "--help"],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        return result.stdout.strip()

    return [f"### `selves {command}`", "", "```text", text(), "```", ""]


def page() -> str:
    """The whole page."""
    lines = [
        "# Reference",
        "",
        "Made from the code by `make docs`; a test keeps it true.",
        "",
        *toml_page("The cast file, `selves.toml`", Cast),
        *toml_page("Recipes, `recipes/*.toml`", Recipe),
        *toml_page("Recipes of post-training, `recipes/post/*.toml`", PostRecipe),
        *toml_page("Recipes of the loop, `recipes/loop/*.toml`", LoopRecipe),
        *toml_page("The outline of a book, `home/books/*/outline.toml`", Outline),
        "## What the recipes of this repository come to",
        "",
        "Hours are the base stage's operations at 40 % of a GPU's published peak of dense bfloat16 products.",
        "No run from `lark` upward has been made yet.",
        "",
        *presets(),
        "",
        "## Commands",
        "",
    ]
    for command in COMMANDS:
        lines += command_help(command)
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    made = page()
    if "--check" in sys.argv:
        if PAGE.read_text("utf-8") != made:
            sys.exit("docs/reference.md is out of date: run `make docs`")
    else:
        PAGE.write_text(made, "utf-8")
