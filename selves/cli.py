"""What every command line of the house shares: a parser with examples, and errors without tracebacks."""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
from collections.abc import Callable, Sequence

from selves.errors import SelvesError

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def make_parser(prog: str, purpose: str, examples: str) -> argparse.ArgumentParser:
    """Return a parser whose --help ends with examples that can be copied."""
    lines = "\n".join(f"  {line.strip()}" for line in examples.strip().splitlines())
    return argparse.ArgumentParser(
        prog=prog,
        description=purpose,
        epilog=f"examples:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def count(text: str) -> int:
    """Read a whole number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def above_zero(text: str) -> float:
    """Read a number above 0, for argparse."""
    number = from_zero(text)
    if not number:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return number


def from_zero(text: str) -> float:
    """Read a number from 0, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return number


def log_to_stderr() -> None:
    """Let this process log to stderr, and libraries only what is wrong."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s", datefmt="%H:%M:%S")
    for noisy in ("httpx", "httpx2", "openai", "apscheduler", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    logging.getLogger("huggingface_hub").propagate = False  # it writes to stderr itself


def run_command(command: Callable[[Sequence[str]], int | None], argv: Sequence[str]) -> int:
    """Run one command; print the house's own errors in plain words and return the exit code.

    SELVES_DEBUG=1 shows tracebacks of those errors too. Any other exception is a defect and is shown whole.
    """
    log_to_stderr()
    try:
        return command(argv) or 0
    except SelvesError as error:
        if os.environ.get("SELVES_DEBUG"):
            raise
        print(f"selves: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(
            "\nselves: interrupted; what was kept so far is safe, run the same command to go on",
            file=sys.stderr,
        )
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1
