"""Every exception of the house, on one page.

Each carries what is wrong, and where it is known, what to do. The front door prints them without a
traceback and exits with `exit_code`: 1 for what failed, 2 for what was asked wrongly.
"""

from __future__ import annotations

from collections.abc import Iterable


class SelvesError(Exception):
    """Base of all errors that the house raises on purpose.

    `problem` says what is wrong and where; `fix` says what to do about it.
    """

    exit_code = 1

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix

    def __reduce__(self) -> tuple[type[SelvesError], tuple[str, str]]:
        return type(self), (self.problem, self.fix)

    def __str__(self) -> str:
        return f"{self.problem}\n  fix: {self.fix}" if self.fix else self.problem


class UsageError(SelvesError):
    """The request itself makes no sense: a wrong option, an address that cannot be one."""

    exit_code = 2


class ConfigError(UsageError):
    """A TOML file (cast or recipe) has a missing, unknown or wrong value."""


class AgeError(SelvesError):
    """An age that does not exist, is incomplete, or does not match its recorded hashes."""


def no_lineage(name: str, lineages: Iterable[str]) -> UsageError:
    """Return what to say of a lineage that is not among those there are."""
    there = ", ".join(sorted(set(lineages)))
    first = "`selves train run recipes/demo.toml` raises one, `selves ages import smollm2` brings one here"
    return UsageError(f"there is no lineage {name!r}", f"lineages: {there}" if there else first)


class CorpusError(SelvesError):
    """Text that is missing, empty or unreadable."""


class TrainingError(SelvesError):
    """Training cannot go on: a loss that is not a number, a state that does not fit its recipe."""


class DiskError(SelvesError):
    """Something could not be written; what was there before is untouched."""


class EngineError(SelvesError):
    """The serving address is unreachable, refuses, or died while it was answering."""


class UnfitError(EngineError):
    """The engine here cannot run this age, now or later: it is of another kind, or too large."""


class StoreError(SelvesError):
    """The database is missing, locked, full, of a newer version or damaged."""


class DiscordError(SelvesError):
    """Discord refused: a token, an intent or a permission is missing."""


class RefusedError(DiscordError):
    """Discord does not take this, and would not take it if it were asked again."""


class HubError(SelvesError):
    """The Hugging Face Hub refuses, cannot be reached, or does not hold what it should."""
