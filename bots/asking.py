"""`/ask-ages`: one question to several ages at once, their answers side by side and unsigned.

Whoever reads may say which is the best; when the asker does, the answers are signed. Each vote is kept as
comparisons between two ages.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import discord
from discord import app_commands, ui

from bots import filters
from bots.buttons import Button, Press
from bots.desk import Choice, Desk, choices, platform, tell
from bots.hearing import is_kept_out, plain_text
from bots.parlor import choose_persona
from bots.purse import Purse
from bots.scene import finish, utc_now
from memory import feedback
from memory.types import Generation, Message
from selves.cast import Persona, SceneSpec
from selves.errors import EngineError, UsageError
from selves.lineage import Address
from selves.speech import Prompt, Sampling, Utterance, seed_from
from serving.prompt import Line, clean
from serving.voice import ModelInfo, unfinished

FEWEST, MOST, USUAL = 2, 6, 4
SHOWN = 3400
"""Characters of all answers together; Discord shows 4000 in one message."""
SCENE = "ask-ages"
NONE = 0
IN_A_ROW = 4


class Answer(NamedTuple):
    """What one age said."""

    address: str
    generation: int
    text: str


async def ask_ages(desk: Desk, question: Message, ages: Sequence[str]) -> list[Answer]:
    """Let every age answer the same question, keep all of it, and return what came of it."""
    seed = seed_from(SCENE, question.id)
    infos = await desk.voice.models()
    personas = [choose_persona(desk.cast, age) for age in ages]
    drawn = await asyncio.gather(*(_draw(desk, infos[p.address], p, question, seed) for p in personas))
    for persona, utterance in zip(personas, drawn, strict=True):
        said = finish(clean(utterance.text, persona.name), was_cut=utterance.finish_reason == "length")
        text = filters.plain(said)
        refused = utterance.error or filters.refuse(desk.cast.filter, persona.name, text)
        # it is posted by the registrar, together with the others'
        kept = await desk.store.keep_turn(
            question.scene_id,
            speaker=persona.name,
            utterances=[utterance],
            chosen=0 if text and not refused else None,
            spent_in=Purse(desk.store, desk.cast.budget, question.place).scopes(persona.name),
            text=text,
            place=f"{SCENE}:{question.place}",
            reply_to=question.id,
        )
        if kept is not None:
            await desk.store.mark_posted(kept.id)
    return await answers_of(desk, question.scene_id)


async def _draw(desk: Desk, info: ModelInfo, persona: Persona, question: Message, seed: int) -> Utterance:
    started = utc_now()
    lines = [Line(question.speaker, question.text, question.id, question.human)]
    prompt, sampling = Prompt(form=info.form), Sampling(seed=seed)
    try:
        prompt, sampling = await desk.voice.compose(persona, lines, names=(question.speaker,), seed=seed)
        return await desk.voice.say(persona.address, prompt, sampling)
    except EngineError as error:
        return unfinished(info, prompt, sampling, started, error=error.problem)


async def answers_of(desk: Desk, scene_id: int) -> list[Answer]:
    """Return the answers of a question, in the order in which they are shown."""
    said = {m.generation_id: m.text for m in await desk.store.messages(scene_id) if m.generation_id}
    made: list[Generation] = [g for g in await desk.store.generations(scene_id) if said.get(g.id)]
    answers = [Answer(g.address, g.id, said[g.id]) for g in sorted(made, key=lambda g: g.id)]
    random.Random(seed_from(SCENE, "order", scene_id)).shuffle(answers)
    return answers


def spread(ages: Sequence[str], count: int) -> list[str]:
    """Return `count` of some ages, from the youngest to the oldest, at even distances."""
    if len(ages) <= count:
        return list(ages)
    return [ages[round(i * (len(ages) - 1) / (count - 1))] for i in range(count)]


def choose_ages(desk: Desk, served: Sequence[str], wanted: str, lineage: str, count: int) -> list[str]:
    """Return whom to ask: those that are named, or some of a lineage. Raises UsageError."""
    if names := [name.strip() for name in wanted.split(",") if name.strip()]:
        addresses = [choose_persona(desk.cast, name).address for name in names]
    else:
        lineage = lineage.strip() or desk.cast.persona[0].address.partition("@")[0]
        addresses = spread([a for a in served if a.partition("@")[0] == lineage], count)
    addresses = list(dict.fromkeys(addresses))
    if unknown := [a for a in addresses if a not in served]:
        raise UsageError(f"Nobody answers to {', '.join(unknown)} in this channel.")
    if not FEWEST <= len(addresses) <= MOST:
        raise UsageError(f"Between {FEWEST} and {MOST} ages can be asked, not {len(addresses)}.")
    return addresses


# ---------------------------------------------------------------- what is shown


class AnswersView(ui.LayoutView):
    """The answers side by side: unsigned with a button each, or signed."""

    def __init__(
        self,
        question: str,
        scene_id: int,
        answers: Sequence[Answer],
        *,
        votes: dict[int, int] | None = None,
        best: int = NONE,
    ) -> None:
        super().__init__(timeout=None)
        self.add_item(ui.TextDisplay(f"> {question[:400]}"))
        each = SHOWN // max(1, len(answers))
        for number, answer in enumerate(answers):
            letter = chr(ord("A") + number)
            text = answer.text if len(answer.text) <= each else f"{answer.text[: each - 1]}…"
            signed = votes is not None
            head = f"**{letter}** · `{answer.address}`" if signed else f"**{letter}**"
            if votes is not None and (count := votes.get(answer.generation, 0)):
                head += f" · {count} {'vote' if count == 1 else 'votes'}"
            color = discord.Colour.green() if answer.generation == best else None
            self.add_item(ui.Container(ui.TextDisplay(f"{head}\n{text}"), accent_colour=color))
        if votes is not None:
            return
        buttons = [
            Button("best", f"{scene_id}:{answer.generation}", f"{chr(ord('A') + number)} is best")
            for number, answer in enumerate(answers)
        ]
        buttons.append(Button("best", f"{scene_id}:{NONE}", "None of them"))
        for start in range(0, len(buttons), IN_A_ROW):
            self.add_item(ui.ActionRow(*buttons[start : start + IN_A_ROW]))


async def keep_votes(desk: Desk, person_id: int, answers: Sequence[Answer], best: int) -> None:
    """Keep a choice among several as comparisons between two; a new choice takes the former's place."""
    ids = [answer.generation for answer in answers]
    if best not in (NONE, *ids):
        raise UsageError("That answer is gone.")

    def key(one: int, other: int) -> str:
        lower, upper = sorted((one, other))
        return f"{person_id}:vote:{lower}:{upper}"

    for position, one in enumerate(ids):
        for other in ids[position + 1 :]:
            if best not in (one, other):
                await feedback.withdraw(desk.store, key(one, other))
    for other in ids if best != NONE else ():
        if other != best:
            first = min(best, other, key=ids.index)
            await feedback.keep(
                desk.store,
                "vote",
                best,
                other_id=other,
                value="first",
                shown_first=first,
                blind=True,
                person_id=person_id,
                via=platform(),
                key=key(best, other),
            )


async def count_best(desk: Desk, answers: Sequence[Answer]) -> dict[int, int]:
    """Return how many people said of each answer that it is the best."""
    ids = {answer.generation for answer in answers}
    async with desk.store.reading() as session:
        said = await feedback.find_opinions(session, ["vote"])
    wins = [
        o.generation_id for o in said if o.kind == "vote" and o.generation_id in ids and o.other_id in ids
    ]
    return {g: wins.count(g) // max(1, len(ids) - 1) for g in ids}


def add_commands(tree: app_commands.CommandTree[Any], desk: Desk, presses: dict[str, Press]) -> None:
    """Add `/ask-ages`."""

    async def press_best(interaction: discord.Interaction, about: str) -> None:
        scene_id, best = map(int, about.split(":"))
        question = (await desk.store.messages(scene_id))[0]
        person = await desk.person(interaction.user)
        answers = await answers_of(desk, scene_id)
        await keep_votes(desk, person.id, answers, best)
        if question.person_id != person.id:
            await tell(interaction, "Noted. The answers are signed when the asker has chosen, too.")
            return
        votes = await count_best(desk, answers)
        view = AnswersView(question.text, scene_id, answers, votes=votes, best=best)
        await interaction.response.edit_message(view=view)

    presses["best"] = press_best

    @tree.command(
        name="ask-ages", description="Ask several ages the same, and see their answers side by side"
    )
    @app_commands.describe(
        prompt="What to ask",
        ages="Which ages, with commas between; by default some of one lineage",
        lineage="Of which lineage",
        count="How many of its ages",
    )
    @app_commands.guild_only()
    async def ask(
        interaction: discord.Interaction,
        prompt: app_commands.Range[str, 1, 1000],
        ages: str = "",
        lineage: str = "",
        count: app_commands.Range[int, FEWEST, MOST] = USUAL,
    ) -> None:
        room = desk.room(interaction)
        if is_kept_out(prompt):
            raise UsageError("A question that begins with a `.` is kept from the selves.")
        await interaction.response.defer()
        barred = await desk.barred(interaction)
        served = [age for age in await desk.voice.models() if age not in barred]
        addresses = choose_ages(desk, served, ages, lineage, count)
        spec = SceneSpec(name=SCENE, cast=("Guests", *addresses))
        scene = await desk.store.begin_scene(spec, place=room.channel.place, key=f"command:{interaction.id}")
        question = await desk.store.hear(
            scene.id,
            platform_id=interaction.id,
            user_id=interaction.user.id,
            text=plain_text(prompt, room.selves),
            created_at=interaction.created_at,
            origin="selfhosted" if platform() == "selfhosted" else "interaction",
        )
        answers = await ask_ages(desk, question, addresses)
        await desk.store.end_scene(scene.id, "max_turns")
        if len(answers) < FEWEST:
            raise EngineError("Too few of them gave an answer.", "Try again, or ask others.")
        await interaction.followup.send(view=AnswersView(question.text, scene.id, answers))

    @ask.autocomplete("ages")
    async def suggest(interaction: discord.Interaction, typed: str) -> list[Choice]:
        before, comma, last = typed.rpartition(",")
        found = await desk.suggest_ages(interaction, last)
        full = [f"{before}{comma}{' ' if comma else ''}{choice.value}" for choice in found]
        return choices("", full)

    @ask.autocomplete("lineage")
    async def suggest_lineage(_: discord.Interaction, typed: str) -> list[Choice]:
        return choices(typed, (Address.parse(age).lineage for age in await desk.voice.models()))
