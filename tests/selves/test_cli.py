"""What every command line shares: numbers that make sense, and one line on stderr for one thing."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable

import pytest

from selves.cli import above_zero, count, from_zero


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (count, "1", ("0", "-1", "1.5", "two")),
        (above_zero, "0.5", ("0", "-3", "nan", "inf", "two")),
        (from_zero, "0", ("-1", "nan", "inf", "two")),
    ],
)
def test_numbers_that_make_no_sense_are_refused(
    kind: Callable[[str], float], good: str, bad: tuple[str, ...]
) -> None:
    assert kind(good) == float(good)
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match=text):
            kind(text)


def test_what_the_hubs_library_says_is_said_once() -> None:
    program = (
        "import logging; from selves.cli import log_to_stderr; log_to_stderr()\n"
        "from huggingface_hub import HfApi\n"
        "logging.getLogger('huggingface_hub.utils._http').warning('Retrying')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.count("Retrying") == 1
