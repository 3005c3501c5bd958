"""A run on one page, to be passed on: what was tried, what came of it, what it cost, and what went wrong.

Pure: a life and what was measured go in, a `Report` comes out. It is made after the run from files that exist
anyway; nothing needs to be called while a self is trained.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from book.life import AgeView, Life, Passage, SceneView
from memory.curate import Picked
from memory.mishaps import Mishaps
from training.evals.results import Result
from training.hub import Receipt

COLUMNS = 6
"""So many ages stand side by side."""


@dataclass(frozen=True, slots=True)
class Strip:
    """One age's diary: what came first, and what an editor picked."""

    age: AgeView
    first: Passage | None
    picked: str
    """What was picked of this age; empty if nothing was."""
    bits: float | None
    """Selectivity of the pick: of how many samples it is the one, in bits."""
    drawn: int


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run took."""

    hours: float
    tokens: int
    price: float | None
    """Of all hours, in the unit that the price of an hour was given in."""

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / (self.hours * 3600) if self.hours else 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """Everything on the page."""

    life: Life
    columns: tuple[AgeView, ...]
    cost: Cost
    recipe: str
    """What it was made by, as TOML; empty for models from elsewhere."""
    suites: tuple[str, ...]
    chances: tuple[float | None, ...]
    """Of each suite, what blind guessing scores; None where that makes no sense."""
    measured: tuple[tuple[AgeView, tuple[Result | None, ...]], ...]
    """Each age that was measured, and its results in the order of `suites`."""
    strips: tuple[Strip, ...]
    dialogue: SceneView | None
    mishaps: Mishaps | None
    """None when nothing is remembered."""
    endings: tuple[tuple[str, int], ...]
    """How its scenes ended, the most frequent first."""
    events: tuple[tuple[str, str], ...]
    """Ages that were kept since something befell the loss, and what that was."""
    repo: str
    """Where its ages are on the Hub; empty if they are not."""
    version: str
    """Of Selves, with its commit where that is known."""


def make_report(
    life: Life,
    elapsed: Mapping[str, float],
    results: Mapping[str, Mapping[str, Result]],
    picks: Sequence[Picked],
    mishaps: Mishaps | None,
    receipts: Sequence[Receipt],
    *,
    events: Sequence[tuple[str, str]],
    price: float | None,
    version: str,
) -> Report:
    """Put a report together. `elapsed` is stage -> seconds of training, `price` what an hour costs,
    `events` ages and the occasions on which they wrote.

    `picks` are those that may be shown.
    """
    hours = sum(elapsed.values()) / 3600
    suites = tuple(dict.fromkeys(suite for age in results.values() for suite in age))
    measured = tuple(
        (age, tuple(results[age.card.address].get(suite) for suite in suites))
        for age in life.ages
        if age.card.address in results
    )
    recipe = next((age.card.recipe for age in reversed(life.ages) if age.card.recipe), {})
    ended = Counter(view.ending.rstrip(".") for view in life.scenes)
    here = {age.card.address for age in life.ages}
    sent = [receipt.repo for receipt in receipts if receipt.what in here and receipt.kind == "model"]
    return Report(
        life=life,
        columns=spread_out([age for age in life.ages if age.continuations], COLUMNS),
        cost=Cost(hours, life.tokens_seen, None if price is None else price * hours),
        recipe="\n".join(toml(recipe)),
        suites=suites,
        chances=tuple(
            next((results[a][suite].chance for a in results if suite in results[a]), None) for suite in suites
        ),
        measured=measured,
        strips=tuple(strips(life, picks)),
        dialogue=choose_dialogue(life.scenes, life.lineage),
        mishaps=mishaps,
        endings=tuple(ended.most_common()),
        events=tuple((age, BEFELL[occasion]) for age, occasion in events if occasion in BEFELL),
        repo=sent[-1] if sent else "",
        version=version,
    )


BEFELL = {
    "spike": "one step was far worse than those before it",
    "divergence": "the loss rose and stayed high",
    "recovery": "it came back from there",
    "best": "it was better than ever, after that",
}
"""What a writing's occasion says about the loss (training/course.py)."""


def spread_out(ages: Sequence[AgeView], count: int) -> tuple[AgeView, ...]:
    """Return so many of these, the first and the last among them, the others evenly between."""
    if len(ages) <= count:
        return tuple(ages)
    return tuple(ages[round(n * (len(ages) - 1) / (count - 1))] for n in range(count))


def strips(life: Life, picks: Sequence[Picked]) -> Iterator[Strip]:
    """Yield what stands in the diary strip: ages that wrote, the first sample beside the newest pick."""
    newest = {picked.address: picked for picked in picks if picked.text.strip()}
    for age in spread_out([age for age in life.ages if age.words or age.card.address in newest], COLUMNS):
        picked = newest.get(age.card.address)
        yield Strip(
            age=age,
            first=next(iter((*age.diary, *age.letters, *age.continuations)), None),
            picked=picked.text if picked else "",
            bits=picked.figures.selectivity_bits if picked else None,
            drawn=picked.figures.generated if picked else 0,
        )


def choose_dialogue(scenes: Sequence[SceneView], lineage: str) -> SceneView | None:
    """Return the scene in which most ages of a lineage speak with each other; of several, the newest."""

    def worth(scene: SceneView) -> tuple[int, int, int]:
        addresses = {address for _, address in scene.speakers}
        own = sum(address.startswith(f"{lineage}@") for address in addresses)
        return (own, len(addresses), scene.scene.id)

    spoken = [scene for scene in scenes if len(scene.lines) > 1]
    return max(spoken, key=worth) if spoken else None


def stage_seconds(lines: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Return how long each stage trained, of the lines of metrics.jsonl."""
    found: dict[str, float] = {}
    for line in lines:
        stage, elapsed = str(line.get("stage", "")), line.get("elapsed_s")
        if isinstance(elapsed, (int, float)):
            found[stage] = max(found.get(stage, 0.0), float(elapsed))
    return found


def toml(recipe: Mapping[str, Any]) -> Iterator[str]:
    """Yield a recipe as lines of TOML, without what is empty; of folders only the last part."""
    tables = {key: value for key, value in recipe.items() if value not in ("", [], {}, None)}
    plain = {key: value for key, value in tables.items() if not _is_table(value)}
    yield from (f"{key} = {_value(value)}" for key, value in plain.items())
    for key, value in tables.items():
        for table in [value] if isinstance(value, Mapping) else value if _is_table(value) else []:
            yield ""
            yield f"[{key}]" if isinstance(value, Mapping) else f"[[{key}]]"
            yield from (
                f"{name} = {_value(item)}"
                for name, item in table.items()
                if item not in ("", [], {}, None) and not _is_table(item)
            )


def _value(value: object) -> str:
    if isinstance(value, str) and value.startswith(("/", "~")):
        value = PurePath(value).name
    return json.dumps(value, ensure_ascii=False)


def _is_table(value: object) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], Mapping)
    )
