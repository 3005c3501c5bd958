"""What was measured, by age: home/checkpoints/LINEAGE/evals.json.

    {"format": 1, "ages": {"ember@base-000400": {"agreement": Result, ...}, ...}}

An age's folder never changes, so results lie beside it. The file is replaced whole after every suite; two
processes that evaluate at once wait for each other and lose nothing.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from selves.errors import AgeError
from selves.files import disk_error, write_file
from selves.speech import Frozen

EVALS_FILE = "evals.json"
LOCK_FILE = ".evals.lock"
FORMAT = 1


class Result(Frozen):
    """How one age did in one suite."""

    suite: str
    score: float
    """Share of right items; for `bits_per_byte` bits per byte."""
    low: float
    high: float
    """95 % interval: Wilson's of a share, a bootstrap over documents of bits per byte."""
    chance: float | None
    """What blind guessing scores; None where that makes no sense."""
    higher_is_better: bool = True
    score_per_byte: float | None = None
    """The score if options are compared per byte; None for suites without options."""
    n: int
    """Items, or documents."""
    cut: int = 0
    """Items whose prompt lost its beginning, since it did not fit into the context."""
    items: int
    """How many items were asked for."""
    seed: int
    version: str
    """Results of other versions of a suite cannot be compared."""
    text: str = ""
    """The prepared corpus that the suite asked about; "" for suites that need none."""
    weights_sha256: str
    measured_at: datetime

    @property
    def question(self) -> tuple[object, ...]:
        """What was asked of which weights: two results of the same question are the same."""
        return (self.suite, self.version, self.items, self.seed, self.text, self.weights_sha256)


Results = dict[str, dict[str, Result]]
"""Address -> suite -> result."""


def read_results(lineage_folder: Path) -> Results:
    """Return all results of a lineage. Raises AgeError if the file is damaged."""
    path = lineage_folder / EVALS_FILE
    if not path.exists():
        return {}
    try:
        data = json.loads(path.read_text("utf-8"))
        if data["format"] != FORMAT:
            raise AgeError(f"{path} is of format {data['format']}, known is {FORMAT}", "delete it, or update")
        return {
            address: {suite: Result.model_validate(result) for suite, result in suites.items()}
            for address, suites in data["ages"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise AgeError(f"{path} is damaged: {error}", "delete it and evaluate again") from error


def keep_result(lineage_folder: Path, address: str, result: Result) -> None:
    """Add one result, in place of an earlier one of the same age and suite. Raises DiskError."""
    with _alone(lineage_folder):
        results = read_results(lineage_folder)
        results.setdefault(address, {})[result.suite] = result
        ages = {
            name: {suite: found.model_dump(mode="json") for suite, found in suites.items()}
            for name, suites in results.items()
        }
        data = json.dumps({"format": FORMAT, "ages": ages}, indent=1) + "\n"
        write_file(lineage_folder / EVALS_FILE, data)


@contextmanager
def _alone(lineage_folder: Path) -> Iterator[None]:
    """Hold the lock of a lineage's results; the kernel drops it with the process."""
    path = lineage_folder / LOCK_FILE
    try:
        file = path.open("a")
    except OSError as error:
        raise disk_error(error, path) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
