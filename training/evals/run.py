"""Ages through suites: which are still to be measured, measuring one, keeping what was found."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from selves.errors import UsageError
from selves.lineage import Age, read_age
from selves.speech import Form, seed_from
from training.corpus import import_named
from training.evals import suites as ours
from training.evals.items import Choice, Completion, Given, Item, Make, Text, bootstrap, wilson
from training.evals.results import Result, keep_result, read_results

if TYPE_CHECKING:
    from training.evals.reader import Reader

BITS = "bits_per_byte"
SEED = 1
ITEMS = 100

Tell = Callable[[str], None]


class Suite(NamedTuple):
    """A suite as it is run."""

    name: str
    version: str
    """Changes when its items do."""
    make: Make | None
    """None: bits per byte of held-out text."""
    uses_text: bool = True


SUITES = {
    suite.name: suite
    for suite in (
        Suite(BITS, "1", None),
        Suite("words", "1", ours.words),
        Suite("spelling", "1", ours.spelling, uses_text=False),
        Suite("arithmetic", "1", ours.arithmetic, uses_text=False),
        Suite("copying", "1", ours.copying, uses_text=False),
        Suite("agreement", "1", ours.agreement, uses_text=False),
        Suite("facts", "1", ours.facts),
        Suite("dialogue", "1", ours.dialogue, uses_text=False),
    )
}
"""The house's suites, by name, in the order they are run and shown."""


def find_suite(name: str) -> Suite:
    """Return one of the house's suites, or what `module:function` names. Raises UsageError."""
    if name in SUITES:
        return SUITES[name]
    if name.count(":") != 1:
        raise UsageError(
            f"there is no suite {name!r}", f"there are {', '.join(SUITES)}, and your own as module:function"
        )
    make = import_named(name)
    source = Path(make.__code__.co_filename).read_bytes() if hasattr(make, "__code__") else name.encode()
    return Suite(name, hashlib.sha256(source).hexdigest()[:12], make)


def make_items(suite: Suite, count: int, form: Form, text: Text, seed: int = SEED) -> list[Item]:
    """Return a suite's items; the same arguments give the same items.

    Fewer than `count` may come, none where it needs a text that is not at hand. Raises UsageError for what
    is no item.
    """
    assert suite.make is not None
    rng = random.Random(seed_from("evals", suite.name, seed))
    try:
        items = list(suite.make(Given(rng, count, form, text)))[:count]
    except Exception as error:  # whatever a person's own suite does
        raise UsageError(f"the suite {suite.name} failed: {error!r}", "correct it or leave it out") from error
    for item in items:
        if not isinstance(item, Choice | Completion):
            raise UsageError(f"{suite.name} made {item!r:.80}", "a suite makes Choice and Completion items")
        if isinstance(item, Choice) and not (len(item.options) > 1 and 0 <= item.right < len(item.options)):
            raise UsageError(f"{suite.name} made {item!r:.80}", "a choice has two options or more, one right")
    return items


def measure(
    reader: Reader, age: Age, suite: Suite, items: int = ITEMS, text: Text | None = None, seed: int = SEED
) -> Result | None:
    """Return how an age does in one suite; None if the suite can ask nothing without a text."""
    text = text or Text()
    score_per_byte: float | None = None
    cut = 0
    if suite.make is None:
        parts = [(bits, size) for bits, size in reader.bits(text.heldout) if size]
        if not parts:
            return None
        score = sum(bits for bits, _ in parts) / sum(size for _, size in parts)
        interval = bootstrap(parts, random.Random(seed_from("bootstrap", seed)))
        chance, n = None, len(parts)
    else:
        made = make_items(suite, items, age.card.form, text, seed)
        if not made:
            return None
        right, right_per_byte, cut = _score(reader, made)
        n = len(made)
        score, interval = right / n, wilson(right, n)
        chance = sum(item.chance for item in made) / n
        if right_per_byte is not None:
            score_per_byte = right_per_byte / n
    return Result(
        suite=suite.name,
        score=score,
        low=interval[0],
        high=interval[1],
        chance=chance,
        higher_is_better=suite.make is not None,
        score_per_byte=score_per_byte,
        n=n,
        cut=cut,
        items=items,
        seed=seed,
        version=suite.version,
        text=text.name if suite.uses_text else "",
        weights_sha256=age.card.weights_sha256,
        measured_at=datetime.now(UTC),
    )


def _score(reader: Reader, items: Sequence[Item]) -> tuple[int, int | None, int]:
    """Return how many items are right; how many per byte, None if not all are choices; how many were cut."""
    choices = [item for item in items if isinstance(item, Choice)]
    completions = [item for item in items if isinstance(item, Completion)]
    chosen = reader.choose(choices)
    said, cut = reader.complete(completions)
    try:
        passed = sum(item.check(answer) for item, answer in zip(completions, said, strict=True))
    except Exception as error:  # whatever a person's own check does
        raise UsageError(f"a check of an eval failed: {error!r}", "correct it, or leave it out") from error
    by_sum = sum(found.by_sum == item.right for item, found in zip(choices, chosen, strict=True))
    by_byte = sum(found.by_byte == item.right for item, found in zip(choices, chosen, strict=True))
    was_cut = sum(cut) + sum(found.cut for found in chosen)
    return by_sum + passed, None if completions else by_byte, was_cut


def evaluate_age(
    folder: Path,
    suites: Iterable[str] = tuple(SUITES),
    items: int = ITEMS,
    *,
    text: Text | None = None,
    again: bool = False,
    tell: Tell | None = None,
) -> dict[str, Result]:
    """Measure an age by suites, keep each result in its lineage's evals.json, and return them all.

    What was measured before is not measured again, unless asked. A suite that needs a text and has none is
    left out. Raises UsageError for an unknown suite, AgeError for an age that cannot be loaded, DiskError.
    """
    from training.evals.reader import Reader

    age, tell = read_age(folder), tell or (lambda _: None)
    address, lineage_folder = age.card.address, folder.parent
    text = text or Text()
    before = read_results(lineage_folder).get(address, {})
    found: dict[str, Result] = {}
    reader: Reader | None = None
    for suite in [find_suite(name) for name in suites]:
        known = before.get(suite.name)
        if known is not None and not again and _answers(known, age, suite, items, text):
            found[suite.name] = known
            tell(f"{address} {line_of(known)} (from earlier)")
            continue
        reader = reader or Reader(folder)
        result = measure(reader, age, suite, items, text)
        if result is None:
            tell(f"{address} {suite.name}: left out, it asks about a text and there is none for this age")
            continue
        keep_result(lineage_folder, address, result)
        found[suite.name] = result
        tell(f"{address} {line_of(result)}")
    return found


def _answers(known: Result, age: Age, suite: Suite, items: int, text: Text) -> bool:
    """Whether a result is what measuring now would give."""
    name = text.name if suite.uses_text else ""
    asked = (suite.name, suite.version, items, SEED, name, age.card.weights_sha256)
    return known.question == asked


def line_of(result: Result) -> str:
    """Return a result in one line."""
    figure = f"{result.score:.3f} bits" if not result.higher_is_better else f"{result.score:.0%}"
    within = (
        f"{result.low:.3f} to {result.high:.3f}"
        if not result.higher_is_better
        else f"{result.low:.0%} to {result.high:.0%}"
    )
    chance = "" if result.chance is None else f", chance {result.chance:.0%}"
    cut = f", {result.cut} prompts cut" if result.cut else ""
    return f"{result.suite}: {figure} ({within}{chance}, {result.n} items{cut})"
