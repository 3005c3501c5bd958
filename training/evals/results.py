"""What was measured, by age and suite: home/checkpoints/LINEAGE/evals.json (see training/beside.py)."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from selves.speech import Frozen
from training import beside

EVALS_FILE = "evals.json"
AGAIN = "evaluate"


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
    return beside.read(lineage_folder / EVALS_FILE, Result, AGAIN)


def keep_result(lineage_folder: Path, address: str, result: Result) -> None:
    """Add one result, in place of an earlier one of the same age and suite. Raises AgeError, DiskError."""
    beside.keep(lineage_folder / EVALS_FILE, address, result.suite, result, AGAIN)
