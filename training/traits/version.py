"""What a trait's figures hang on, as a short text: equal where a self was asked and judged alike.

A trait has a version by hand; hashed besides is what is asked, the code that asks, and the code that judges:
functions with all that they call of the house or of the module that they stand in, and the constants that
they read. Comments, docstrings and the form of the code do not count.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from selves.files import sha256_text
from training.traits.items import Item, Pick, Trait

HOUSE = ("selves", "training")
ASKING = Path(__file__).with_name("asking.py")
"""Read, not imported: that would load torch, which whoever shows figures can do without."""
ITEMS = Path(__file__).with_name("items.py")
ASKS = {True: "_pick", False: "_say"}
"""What asks for a choice there, and what for words."""
Seen = set[Callable[..., Any]]


def version_of(trait: Trait, items: Sequence[Item]) -> str:
    """Return what changes when a trait's judge, what it asks or how it is asked does."""
    return f"{trait.version}-{asked_as(items)}-{_short(code_of(trait.judge))}"


def asked_as(items: Sequence[Item]) -> str:
    """Return what changes when what is asked does, or how a self is asked it."""
    kinds = {isinstance(item, Pick) for item in items}
    code = [line for way in sorted(ASKS[kind] for kind in kinds) for line in code_in(_text(ASKING), way)]
    if True in kinds:  # what is likeliest is found out there, whatever judges
        code += code_in(_text(ITEMS), "Picked")
    return _short([repr(items), *code])


def _text(path: Path) -> str:
    return path.read_text("utf-8")


def code_in(source: str, begin: str) -> list[str]:
    """Return the code of what is called `begin` in a module, and of all there that it names (pure)."""
    tree = ast.parse(source)
    parts: dict[str, ast.AST] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            parts[node.name] = node
    for node in tree.body:
        if isinstance(node, ast.Assign):
            named = [
                one.id for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)
            ]
            parts |= dict.fromkeys(named, node)
    found, waiting = set(), [begin]
    while waiting:
        name = waiting.pop()
        found.add(name)
        for one in ast.walk(parts[name]):
            called = getattr(one, "id", None) or getattr(one, "attr", None)
            if called in parts and called not in found:
                waiting.append(called)
    return [_plain(ast.unparse(parts[name])) for name in sorted(found)]


def _short(lines: Sequence[str] | Iterator[str]) -> str:
    return sha256_text("\n".join(lines))[:12]


def code_of(function: Callable[..., Any], seen: Seen | None = None) -> Iterator[str]:
    """Yield the code of a function, and of all that it calls and reads (pure).

    Of what is written in C, or was typed in a shell, there is none to read: its name stands for it.
    """
    seen = set() if seen is None else seen
    plain = inspect.unwrap(function)
    if isinstance(plain, partial):
        # of a function among them the name would be an address, another in each process
        for name, value in (*enumerate(plain.args), *plain.keywords.items()):
            yield from code_of(value, seen) if callable(value) else [f"{name} = {value!r}"]
        plain = plain.func
    if plain in seen:
        return
    seen.add(plain)
    if not isinstance(plain, FunctionType):
        yield getattr(plain, "__qualname__", type(plain).__qualname__)
        return
    try:
        yield _plain(inspect.getsource(plain))
    except (OSError, SyntaxError):  # a lambda in the middle of a line, or no file
        yield from _compiled(plain.__code__)
    names = sorted(set(_names(plain.__code__)))
    for name in names:
        value = plain.__globals__.get(name)
        if isinstance(value, ModuleType) and value.__name__.partition(".")[0] in HOUSE:
            for one in names:
                yield from _read(f"{name}.{one}", vars(value).get(one), value.__name__, seen)
        else:
            yield from _read(name, value, plain.__module__, seen)


def _compiled(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _compiled(constant)
        elif isinstance(constant, frozenset):
            yield repr(sorted(map(repr, constant)))
        else:
            yield repr(constant)


def _plain(source: str) -> str:
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.unparse(tree)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _read(name: str, value: Any, module: str, seen: Seen) -> Iterator[str]:
    match value:
        case FunctionType():
            if value.__module__ == module or value.__module__.partition(".")[0] in HOUSE:
                yield from code_of(value, seen)
        case type() if value.__module__ == module and value not in seen:
            seen.add(value)
            for one in vars(value).values():
                method = one.fget if isinstance(one, property) else one
                if isinstance(method, FunctionType):
                    yield from code_of(method, seen)
        case re.Pattern():
            yield f"{name} = {value.pattern} {value.flags}"
        case str() | int() | float():
            yield f"{name} = {value!r}"
        case Mapping():
            for key, one in value.items():
                yield from _read(f"{name}[{key!r}]", one, module, seen)
        case list() | tuple():
            for one in value:
                yield from _read(name, one, module, seen)
        case set() | frozenset():
            yield f"{name} = {sorted(map(repr, value))}"
        case _:  # modules, and types that stand elsewhere
            pass
