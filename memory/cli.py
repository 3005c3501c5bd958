"""`selves memory`: what was said, what produced it, and what may be done with it.

Results go to stdout, `--json` where a program may read them. The verbs are in the files `cli_*.py`.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence

from memory import cli_curate, cli_export, cli_feedback, cli_find, cli_keep, cli_people, cli_reading
from memory.verbs import Verbs
from selves.cli import make_parser
from selves.settings import House

COMMANDS = (cli_reading, cli_find, cli_curate, cli_keep, cli_people, cli_export, cli_feedback)


def main(argv: Sequence[str]) -> int:
    """Run `selves memory VERB`. Raises SelvesError."""
    arguments = _parser().parse_args(argv)
    house = House.from_environment()
    asyncio.run(arguments.action(house, arguments))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(
        "selves memory",
        "Read what was said, find it, and know what produced each line.",
        """selves memory register               note every age on disk, and what it wrote
        selves memory transcript             the newest scene, in colour
        selves memory transcript 3 --last 20
        selves memory show 42                which weights, prompt, seed and tokens made message 42
        selves memory search 'lamp -rain'    lines that have these words, newest first
        selves memory writings ember --json
        selves memory repeat 42              say message 42 again, and compare
        selves memory surprise ember         score its lines by how unlikely another age finds them""",
    )
    verbs = Verbs(parser)
    for commands in COMMANDS:
        commands.add_verbs(verbs)
    return parser
