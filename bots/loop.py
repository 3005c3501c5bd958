"""The loop: what memory may give trains the next self; it stays if nothing important broke.

    home/loops/LINEAGE/
        round-0001/rows/          all that memory may give: an export, recorded there as any other
        round-0001/recipe.json    by what it is trained
        round-0001/trial/         where nobody sees it until it is decided (bots/trial.py)
        round-0001/verdict.json   what was measured, and whether the new self stays
        measured.json             what selves were asked in earlier rounds, so that it is not asked again

A round that was broken off goes on where it stopped. What a round held out is asked in every later one too,
so the set of questions that a new self must not fail grows; where a person was forgotten, the questions that
were made of their words are asked no more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError, model_validator

from bots import trial
from memory.export import Exported, export, exports, preview
from memory.preference import HUMAN_SOURCES, Source
from memory.store import Store
from memory.wanted import Wanted
from selves import config
from selves.cast import load_cast
from selves.errors import ConfigError
from selves.files import write_file
from selves.lineage import ADDRESS_PATTERN, LINEAGE_PATTERN, Address, find_age, list_ages
from selves.moving import move
from selves.settings import House
from selves.speech import Frozen
from training.post.recipe import Data, PostRecipe

if TYPE_CHECKING:
    from training.figure import Figure

LearnedFrom = Literal["dpo", "kto", "sft"]
VERDICT_FILE, RECIPE_FILE, MEASURED_FILE = "verdict.json", "recipe.json", "measured.json"
ROWS = "rows"
Tell = Callable[[str], None]


class FromMemory(Frozen):
    """`[memory]`: what is taken from memory. Whose words may train is not decided here, but by consent."""

    format: LearnedFrom = "dpo"
    """What people preferred (dpo), liked or disliked (kto), or the lines themselves (sft); the method too."""
    fewest: int = Field(20, ge=2)
    """With fewer rows than so many more than the last kept round had, nothing is done."""
    test_share: float = Field(0.2, gt=0, lt=1)
    """How much of the scenes is put aside to measure by, now and in every later round."""
    lineage: str = ""
    """Only what this lineage said; "": any."""
    scene_kind: str = ""
    sources: tuple[Source, ...] = ()
    """Only this feedback; none: what people said."""


class Gate(Frozen):
    """`[gate]`: what a new self must not have lost."""

    suites: tuple[str, ...] = ("dialogue", "agreement")
    """Suites of `selves evals`, and your own as `module:function`."""
    items: int = Field(100, ge=1, le=100_000)
    margin: float = Field(0.05, ge=0, le=1)
    """By how much a share may fall, and anything else in standard deviations of what its items got."""


class LoopRecipe(Frozen):
    """The whole file."""

    lineage: str = Field(pattern=rf"^{LINEAGE_PATTERN}$")
    """Of the new selves. That of the base: they are what it becomes, and letters to its future reach them."""
    base: str = Field(pattern=rf"^{ADDRESS_PATTERN}$")
    """The address that the first round goes on from; later ones go on from the last that was kept."""
    persona: str = ""
    """Of the cast: a self that is kept becomes its address in the cast file."""
    letters: bool = True
    """Whether letters that reach a new self are answered."""
    memory: FromMemory = FromMemory()
    gate: Gate = Gate()
    next: dict[str, Any] = Field(default_factory=dict)
    """`[next]`: keys of a recipe of post-training (recipes/post/): steps, batch, rate, lora, diary ..."""

    @model_validator(mode="after")
    def _is_a_recipe(self) -> LoopRecipe:
        if taken := sorted(
            {"lineage", "base", "method", "stage", "data", "held_out", "probes", "days"} & set(self.next)
        ):
            raise ValueError(f"[next] leaves {', '.join(taken)} to the loop")
        try:
            self.post(1, self.base, Path("rows"))
        except ValidationError as error:
            wrong = error.errors()[0]
            where = ".".join(str(part) for part in wrong["loc"])
            raise ValueError(f"[next] {where}: {wrong['msg']}") from error
        return self

    def post(self, number: int, base: str, rows: Path) -> PostRecipe:
        """Return the recipe of one round."""
        return PostRecipe.model_validate(
            {"keep": "merged"}
            | self.next
            | {
                "lineage": self.lineage,
                "base": base,
                "method": self.memory.format,
                "stage": f"{self.memory.format}{number}",
                "data": [Data(folder=str(rows))],
                "probes": {"suites": self.gate.suites, "items": self.gate.items},
            }
        )

    def wanted(self) -> Wanted:
        """Return what memory is asked for: all that there is, since a vote may come long after its sample. A
        scene that was put aside to test on stays aside in every round.
        """
        memory = self.memory
        return Wanted(
            format=memory.format,
            lineage=memory.lineage or None,
            scene_kind=memory.scene_kind or None,
            sources=memory.sources or (HUMAN_SOURCES if memory.format != "sft" else ()),
            test_share=memory.test_share,
        )


class Verdict(Frozen):
    """What came of a round."""

    round: int
    kept: bool
    base: str
    address: str
    """Of the last age that was made; gone if it was not kept."""
    export_id: int
    rows: int
    lost: tuple[str, ...] = ()
    """What broke."""
    figures: tuple[dict[str, Any], ...] = ()
    """Each of the self before that was best in it, and of the new one."""
    next: dict[str, Any] = Field(default_factory=dict)
    """[next], as it was."""


class Plan(Frozen):
    """What the next round would be."""

    round: int
    base: str
    rows: int
    left_out: Mapping[str, int]
    """What memory may not give, and why."""
    before: tuple[str, ...] = ()
    """The selves that a new one is held to: the first base, and all that were kept since."""
    waits: str = ""
    """Why nothing is done now."""
    passed_over: tuple[int, ...] = ()
    """Kept rounds that it does not go on from: their words were called back, or their age is gone."""
    going_on: bool = False
    """Whether it was begun before."""


def load_loop(path: Path) -> LoopRecipe:
    """Read a loop file. Raises ConfigError naming file, line, key and fix."""
    return config.load(path, LoopRecipe)


def folder_of(recipe: LoopRecipe, house: House) -> Path:
    return house.home / "loops" / recipe.lineage


def verdicts(recipe: LoopRecipe, house: House) -> list[Verdict]:
    """Return what came of all rounds that ended. Raises ConfigError if one cannot be read."""
    found = []
    for path in sorted(folder_of(recipe, house).glob(f"round-*/{VERDICT_FILE}")):
        try:
            found.append(Verdict.model_validate_json(path.read_text("utf-8")))
        except (OSError, ValidationError) as error:
            raise ConfigError(f"{path} is damaged", "put it back, or delete that round's folder") from error
    return found


async def plan(recipe: LoopRecipe, house: House, store: Store) -> Plan:
    """Return what the next round would be; nothing is written."""
    ended = verdicts(recipe, house)
    kept, passed = standing(recipe, house, ended, await _valid(store))
    number = next_round(recipe, house, ended)
    base = kept[-1].address if kept else str(find_age(house.checkpoints, recipe.base).address)
    over = tuple(verdict.round for verdict in passed)
    all_before = dict.fromkeys((recipe.base, *(verdict.address for verdict in kept)))
    before = tuple(address for address in all_before if _is_here(house, address))
    if (begun := await _begun(recipe, house, store, number)) is not None:
        return Plan(
            round=number,
            base=base,
            rows=begun.rows,
            left_out={},
            passed_over=over,
            before=before,
            going_on=True,
        )
    seen = await preview(store, recipe.wanted())
    new = seen.rows - (kept[-1].rows if kept else 0)
    waits = ""
    if new < recipe.memory.fewest:
        waits = f"{max(0, new)} new rows of {recipe.memory.format}; {recipe.memory.fewest} are wanted"
    elif ended and not ended[-1].kept and (ended[-1].rows, ended[-1].next) == (seen.rows, recipe.next):
        waits = f"nothing is new since round {ended[-1].round}, which was not kept; change [next], or wait"
    return Plan(
        round=number,
        base=base,
        rows=seen.rows,
        left_out=seen.summary["left_out"],
        passed_over=over,
        before=before,
        waits=waits,
    )


def standing(
    recipe: LoopRecipe, house: House, ended: list[Verdict], valid: set[int]
) -> tuple[list[Verdict], list[Verdict]]:
    """Return the kept rounds that a next one may go on from, and those that it may not.

    It may not where words that a self learned from, or one that it comes from, were called back meanwhile,
    nor where its age is gone.
    """
    good = {recipe.base}
    kept: list[Verdict] = []
    passed: list[Verdict] = []
    for verdict in ended:
        if not verdict.kept:
            continue
        address = Address.parse(verdict.address)
        there = _is_here(house, verdict.address) or trial.has(
            round_of(recipe, house, verdict.round), address.lineage, address.age
        )
        if verdict.base in good and verdict.export_id in valid:
            good.add(verdict.address)
        (kept if there and verdict.address in good else passed).append(verdict)
    return kept, passed


def _is_here(house: House, address: str) -> bool:
    lineage, age = Address.parse(address)
    return (house.checkpoints / lineage / age).exists()


def next_round(recipe: LoopRecipe, house: House, ended: list[Verdict]) -> int:
    """Return the number of the round that was begun and has not ended, or of a new one."""
    last = max((verdict.round for verdict in ended), default=0)
    folders = [int(path.name.partition("-")[2]) for path in folder_of(recipe, house).glob("round-[0-9]*")]
    return min((number for number in folders if number > last), default=last + 1)


async def take(recipe: LoopRecipe, house: House, store: Store, planned: Plan) -> Exported:
    """Write what memory gives for a round, or find what was written before it was broken off.

    Raises StoreError, DiskError.
    """
    begun = await _begun(recipe, house, store, planned.round)
    if begun is not None:
        return begun
    folder = rows_of(recipe, house, planned.round)
    folder.parent.mkdir(parents=True, exist_ok=True)
    return await export(store, recipe.wanted(), folder)


def round_of(recipe: LoopRecipe, house: House, number: int) -> Path:
    return folder_of(recipe, house) / f"round-{number:04d}"


def rows_of(recipe: LoopRecipe, house: House, number: int) -> Path:
    """Return the folder with what memory gave for a round."""
    return round_of(recipe, house, number) / ROWS


async def tests_of(recipe: LoopRecipe, house: House, store: Store, number: int) -> list[int]:
    """Return the rounds whose held-out rows are asked: this one, and kept ones that may still be used."""
    valid = await _valid(store)
    before = [v.round for v in verdicts(recipe, house) if v.kept and v.export_id in valid]
    return [n for n in before if rows_of(recipe, house, n).exists()] + [number]


def decide(
    recipe: LoopRecipe, house: House, planned: Plan, taken: Exported, rounds: list[int], tell: Tell
) -> Verdict:
    """Train the next self where nobody sees it, and ask it and all before it. Blocks for long.

    Raises as `training.post.run.train`; TrainingError if there is nothing that could be compared.
    """
    from training.post import data, gate
    from training.post.run import train

    folder = round_of(recipe, house, planned.round)
    post = recipe.post(planned.round, planned.base, rows_of(recipe, house, planned.round))
    told = folder / RECIPE_FILE
    now = post.model_dump_json(exclude_defaults=True)
    if told.exists() and told.read_text("utf-8") != now:
        tell(f"[next] has changed, so round {planned.round} is trained anew")
        trial.close(folder)
    write_file(told, now)
    scratch = trial.open_trial(house, recipe.lineage, folder)
    tell(f"round {planned.round}: {taken.rows} rows from memory; {post.method} from {planned.base}")
    card = train(post, scratch)[-1]
    learned = data.prepare(post).learned
    tests = [(f"round {n}", gate.held_out(post, rows_of(recipe, house, n), learned)) for n in rounds]

    def ask(address: str) -> list[Figure]:
        known = folder_of(recipe, house) / MEASURED_FILE
        return gate.measure(find_age(scratch.checkpoints, address), post, tests, known)

    new = ask(card.address)
    compared = gate.compare({address: ask(address) for address in planned.before}, new, recipe.gate.margin)
    lost = [one.after.name for one in compared if one.broken]
    return Verdict(
        round=planned.round,
        kept=not lost,
        base=planned.base,
        address=card.address,
        export_id=taken.id or 0,
        rows=taken.rows,
        lost=tuple(lost),
        figures=tuple(
            {
                "name": one.after.name,
                "than": one.than,
                "before": str(one.before),
                "after": str(one.after),
                "broken": one.broken,
            }
            for one in compared
        ),
        next=recipe.next,
    )


async def conclude(recipe: LoopRecipe, house: House, store: Store, verdict: Verdict, tell: Tell) -> None:
    """Write down what came of a round; let a self that stays be among the others, and any other one go.

    Raises ConfigError if words that it learned from were called back while it was trained, DiskError.
    """
    await _begun(recipe, house, store, verdict.round)
    folder = round_of(recipe, house, verdict.round)
    write_file(folder / VERDICT_FILE, json.dumps(verdict.model_dump(mode="json"), indent=1) + "\n")
    if not verdict.kept:
        tell(f"{verdict.address} is let go: it lost {', '.join(verdict.lost)}")
        trial.close(folder)
    await settle(recipe, house, store, tell)


async def settle(recipe: LoopRecipe, house: House, store: Store, tell: Tell) -> bool:
    """Do what is left to do for selves that were kept: move in, be known to memory, be the persona.

    Who is a self that learned from words that were called back goes back to the last that did not. Returns
    whether a self moved in. Raises DiskError, StoreError; as `selves.moving.move`.
    """
    kept, passed = standing(recipe, house, verdicts(recipe, house), await _valid(store))
    arrived = [verdict for verdict in kept if trial.is_open(round_of(recipe, house, verdict.round))]
    last = kept[-1].address if kept else recipe.base
    leave = {verdict.base for verdict in arrived} | {verdict.address for verdict in passed}
    for verdict in arrived:
        trial.move_in(house, recipe.lineage, round_of(recipe, house, verdict.round))
    if arrived:
        for age in list_ages(house.checkpoints, recipe.lineage):
            await store.register_age(age)
    if recipe.persona and load_cast(house.cast_path).find_persona(recipe.persona).address in leave:
        move(house.cast_path, recipe.persona, last)
        tell(f"{recipe.persona} is {last} now")
    for verdict in (*arrived, *passed):
        trial.close(round_of(recipe, house, verdict.round))
    return bool(arrived)


async def _valid(store: Store) -> set[int]:
    """Return the exports of which no word was called back."""
    return {one.id for one in await exports(store) if one.id is not None and one.invalid_at is None}


async def _begun(recipe: LoopRecipe, house: House, store: Store, number: int) -> Exported | None:
    """Return the export that a round was begun with, if it may still be used."""
    folder = rows_of(recipe, house, number)
    if not folder.exists():
        return None
    found = [one for one in await exports(store) if one.folder == str(folder.absolute())]
    if not found or found[-1].invalid_at is not None:
        raise ConfigError(
            f"{folder} may not be used any more" + (f": {found[-1].invalid_reason}" if found else ""),
            f"delete {folder.parent}; the round begins anew with what may be used",
        )
    return found[-1]
