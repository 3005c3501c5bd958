"""The front door: `selves ROOM VERB`. Names each room's command and imports one only when it is asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module, metadata
from typing import NamedTuple

from selves.cli import run_command


class Command(NamedTuple):
    """Where a command lives, and what it is for."""

    module: str
    extra: str
    """The optional dependencies it needs, as in `pip install "selves[extra]"`."""
    purpose: str


COMMANDS = {
    "train": Command("training.cli", "train", "raise a model from random weights, keeping every age"),
    "train post": Command(
        "training.post.cli", "train", "make another self of an age: example, preference, reward"
    ),
    "train reward": Command(
        "training.post.reward_cli", "train", "look at a reward before a run depends on it"
    ),
    "train traits": Command(
        "training.traits.cli", "train", "what selves are like: the same questions to all"
    ),
    "ages": Command("training.ages", "train", "list, show, compare, prune and import ages"),
    "evals": Command("training.evals.cli", "train", "measure ages by small tasks with known answers"),
    "serve": Command("serving.cli", "serve", "give every age a voice at one OpenAI-compatible address"),
    "talk": Command("bots.talk", "", "talk with any age in the terminal"),
    "scene": Command("bots.scene_cli", "", "let selves talk with each other, or write letters"),
    "diary": Command("bots.diary_cli", "", "what selves write of their own accord: diaries, poems, letters"),
    "loop": Command("bots.loop_cli", "train", "let what was remembered become the next self"),
    "bots": Command("bots.cli", "discord", "run the selves on Discord"),
    "memory": Command("memory.cli", "", "read what was said: transcripts, diaries, provenance"),
    "memory repeat": Command("bots.repeat", "", "say a line again from its stored row, and compare"),
    "memory surprise": Command("bots.surprise", "", "score lines by how unlikely another age finds them"),
    "book": Command("book.cli", "", "make pages from ages, diaries and transcripts"),
    "report": Command("book.report_cli", "", "make one page about a run, for others to read"),
    "publish": Command("book.publish_cli", "hub", "put ages, books, sites and data sets on the Hub"),
    "app": Command("app.cli", "app", "open the parlor in the browser"),
    "doctor": Command("selves.doctor", "", "check this machine and this house, and say what to do"),
}


def usage() -> str:
    """Return the front page of the command line."""
    width = max(map(len, COMMANDS))
    commands = "\n".join(f"  {name:<{width}}  {command.purpose}" for name, command in COMMANDS.items())
    return f"""usage: selves COMMAND ...

Raise a small language model, keep every age of it, and let its selves talk.

commands:
{commands}

examples:
  selves train run recipes/demo.toml     train, keeping every age
  selves talk ember@chat-000150          chat with one age
  selves scene play first-meeting        let the cast talk
  selves COMMAND --help                  each command's options and examples

`make demo` goes through the whole loop in about five minutes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `selves` with these arguments (default: the command line) and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not sys.stderr.isatty():
        # bars of the libraries below us, which read this as they are imported, are noise in a pipe or a file
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TQDM_DISABLE", "1")
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(metadata.version("selves"))
        return 0
    # a verb that needs other rooms than its own is a command of two words
    words = 2 if " ".join(arguments[:2]) in COMMANDS else 1
    name, rest = " ".join(arguments[:words]), arguments[words:]
    command = COMMANDS.get(name)
    if command is None:
        print(f"selves: there is no command {name!r}\n\n{usage()}", file=sys.stderr)
        return 2
    try:
        module = import_module(command.module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] in ("selves", *_ROOMS):
            raise
        missing = f'pip install "selves[{command.extra}]"' if command.extra else "pip install selves"
        print(f"selves: `selves {name}` needs the package {error.name!r}\n  fix: {missing}", file=sys.stderr)
        return 1
    return run_command(module.main, rest)


_ROOMS = {command.module.split(".")[0] for command in COMMANDS.values()}

if __name__ == "__main__":
    sys.exit(main())
