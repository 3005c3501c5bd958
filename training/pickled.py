"""Reading a pickled tiktoken Encoding without unpickling it: nothing in the file is ever called.

A pickle is a small program whose instructions may import and call anything, so one from somebody else must
not be run. `pickletools.genops` only decodes the instructions. Those few that spell out plain data are
followed here, by hand, on Python's own strings, bytes, numbers, tuples and dicts; names to import stay names,
and making the object and giving it its state only describes it. Every other instruction is refused. So no
code can run, and no small file can ask for much memory, as it can of a restricted Unpickler.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterable
from typing import Any, NamedTuple

from selves.errors import AgeError

ENCODING = ("tiktoken.core", "Encoding")
FIX = "it must be the tokenizer.pkl that nanochat's tok_train wrote; nothing in the file was run"


class Encoding(NamedTuple):
    """What a tiktoken Encoding knows."""

    pattern: str
    """The regular expression that cuts text into pieces; tokens do not cross their borders."""
    ranks: dict[bytes, int]
    """Token -> id, which is also its order in merging: lower is merged first."""
    special: dict[str, int]
    """Name of a special token -> id."""


class _Name(NamedTuple):
    """Something the pickle would import."""

    module: str
    name: str


class _Made(NamedTuple):
    """An object the pickle would make of a class, and its state once it has one."""

    of: _Name
    state: list[Any]


_MARK = object()


def read_encoding(pickled: bytes) -> Encoding:
    """Return the Encoding in a pickle. Raises AgeError for anything but one that is whole and plain."""
    try:
        made = _follow(pickled)
    except (ValueError, TypeError, IndexError, KeyError) as error:
        raise AgeError(f"the tokenizer's pickle is damaged: {error}", FIX) from error
    if not isinstance(made, _Made) or made.of != ENCODING or len(made.state) != 1:
        raise AgeError("the tokenizer's pickle holds no tiktoken Encoding", FIX)
    (state,) = made.state
    if isinstance(state, str):
        raise AgeError(
            f"the tokenizer's pickle only names tiktoken's {state!r}, whose tokens are not in the file",
            "only tokenizers trained by nanochat's tok_train can be imported",
        )
    if not isinstance(state, dict):
        raise AgeError("the tokenizer's pickle holds an Encoding without its tokens", FIX)
    values: list[Any] = [state.get(key) for key in ("pat_str", "mergeable_ranks", "special_tokens")]
    pattern, ranks, special = values
    if not (isinstance(pattern, str) and _maps(ranks, bytes) and _maps(special, str)):
        raise AgeError("the tokenizer's pickle lacks pat_str, mergeable_ranks or special_tokens", FIX)
    ids = sorted([*ranks.values(), *special.values()])
    if ids != list(range(len(ids))):
        raise AgeError("the tokenizer's token ids are not 0, 1, 2 and so on, each once", FIX)
    absent = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if absent:
        raise AgeError(f"the tokenizer has no token for byte {absent[0]}", FIX)
    return Encoding(pattern, ranks, special)


def _maps(value: Any, key: type) -> bool:
    return isinstance(value, dict) and all(type(k) is key and type(v) is int for k, v in value.items())


def _follow(pickled: bytes) -> Any:
    """Follow the instructions that spell out data, and return what stands on the stack at the end."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        at = max(i for i, value in enumerate(stack) if value is _MARK)
        items = stack[at + 1 :]
        del stack[at:]
        return items

    instructions: Iterable[tuple[pickletools.OpcodeInfo, Any, int | None]] = pickletools.genops(pickled)
    for instruction, argument, position in instructions:
        match instruction.name:
            case "PROTO" | "FRAME":
                pass
            case "SHORT_BINUNICODE" | "BINUNICODE" | "SHORT_BINBYTES" | "BINBYTES":
                stack.append(argument)
            case "BININT" | "BININT1" | "BININT2":
                stack.append(argument)
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_TUPLE":
                stack.append(())
            case "MARK":
                stack.append(_MARK)
            case "MEMOIZE":
                memo[len(memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT":
                memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[argument])
            case "SETITEM":
                value, key = stack.pop(), stack.pop()
                dict.update(stack[-1], {key: value})
            case "SETITEMS":
                items = since_mark()
                dict.update(stack[-1], zip(items[::2], items[1::2], strict=True))
            case "GLOBAL":
                stack.append(_Name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                stack.append(_Name(module, name))
            case "NEWOBJ":
                arguments, of = stack.pop(), stack.pop()
                if of != ENCODING or arguments != ():
                    raise _refused(f"would make {_shown(of)}", position)
                stack.append(_Made(of, []))
            case "BUILD":
                state = stack.pop()
                if not isinstance(stack[-1], _Made):
                    raise _refused(f"would change {_shown(stack[-1])}", position)
                stack[-1].state.append(state)
            case "STOP":
                return stack.pop()
            case other:
                called = next((_shown(value) for value in reversed(stack) if isinstance(value, _Name)), "")
                doing = f"would run {called}" if called and called != ".".join(ENCODING) else "does more"
                raise _refused(f"{doing} ({other})", position)
    raise ValueError("it has no end")


def _refused(what: str, position: int | None) -> AgeError:
    return AgeError(f"the tokenizer's pickle {what} at byte {position}: it is not plain data", FIX)


def _shown(value: Any) -> str:
    return ascii(".".join(map(str, value)))[1:-1] if isinstance(value, _Name) else type(value).__name__
