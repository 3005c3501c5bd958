"""`/vote`: which of two samples is better, not knowing who or what said which. And reactions as opinions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import discord
from discord import app_commands, ui

from bots import filters
from bots.buttons import Button, Press, row_of
from bots.desk import Choice, Desk, choices, platform, tell
from memory import feedback
from memory.ballots import Ballot, find_ballots
from memory.posted import message_at
from memory.types import Generation
from selves.errors import UsageError
from selves.lineage import Address

LOOKED_AT = 50
"""Among so many pairs one is looked for that may be shown."""
SHOWN = 800
"""Characters of each sample."""
REACTIONS = {"👍": "up", "❤️": "up", "👎": "down"}
"""What a reaction to a self's message says of it. No reaction says nothing."""
REPORT = "🚩"


async def next_ballot(desk: Desk, lineage: str, barred: Collection[str]) -> Ballot | None:
    """Return two samples to compare: none from private conversations, of ages that are `barred`, or that a
    filter refused.
    """
    for ballot in await find_ballots(desk.store, lineage=lineage or None, limit=LOOKED_AT):
        if any(_is_unfit(desk, sample, barred) for sample in ballot):
            continue
        scene_id = ballot.first.scene_id
        if scene_id is None or not (await desk.store.scene(scene_id)).place.startswith("private:"):
            return ballot
    return None


def _is_unfit(desk: Desk, sample: Generation, barred: Collection[str]) -> bool:
    if sample.address in barred:
        return True
    return filters.refuse(desk.cast.filter, sample.speaker or "", sample.text) is not None


async def ballot_view(desk: Desk, interaction: discord.Interaction, lineage: str) -> tuple[str, ui.View]:
    """Return the next ballot in words, and as buttons."""
    ballot = await next_ballot(desk, lineage, await desk.barred(interaction))
    if ballot is None:
        return "There is nothing to vote on now. Scenes bring forth new samples.", row_of()
    first, second = ballot
    about = f"{first.id}:{second.id}"
    labels = {"first": "The first", "second": "The second", "both": "Both are good", "neither": "Neither is"}
    buttons = [Button("vote", f"{about}:{value}:{lineage}", label) for value, label in labels.items()]
    text = f"{_before(first)}**First**\n{_shown(first)}\n\n**Second**\n{_shown(second)}"
    return text, row_of(*buttons)


def _shown(sample: Generation) -> str:
    return "\n".join(f"> {line}" for line in sample.text.strip()[:SHOWN].splitlines())


def _before(sample: Generation) -> str:
    """What both answer, if no person's words are in it."""
    if sample.prompt is None or sample.prompt_has_human:
        return "Two answers to what somebody said. Which is better?\n\n"
    if sample.prompt.form == "chat":
        last = sample.prompt.messages[-1].content
    else:
        last = next((line for line in sample.prompt.text.splitlines()[-2::-1] if line.strip()), "")
    return f"Which goes on better after this?\n*{last[:300]}*\n\n" if last else "Which is better?\n\n"


async def keep_vote(desk: Desk, user: discord.abc.User, about: str) -> str:
    """Keep a vote, and return the lineage that was voted on."""
    first, second, value, lineage = about.split(":")
    person = await desk.person(user)
    lower, upper = sorted((int(first), int(second)))
    await feedback.keep(
        desk.store,
        "vote",
        int(first),
        other_id=int(second),
        value=value,
        shown_first=int(first),
        blind=True,
        person_id=person.id,
        via=platform(),
        key=f"{person.id}:vote:{lower}:{upper}",
    )
    return lineage


async def note_reaction(
    desk: Desk, message_id: int, user: discord.abc.Snowflake, emoji: str, *, removed: bool
) -> None:
    """Keep what a reaction to a self's message says of it, or that it was taken back."""
    value = REACTIONS.get(emoji) or (REPORT if emoji.startswith(REPORT) else None)
    if value is None:
        return
    message = await message_at(desk.store, message_id)
    if message is None or message.generation_id is None:
        return
    person = await desk.person_with(user.id)
    kind: feedback.Kind = "reported" if value == REPORT else "reaction"
    key = f"{person.id}:{kind}:{message.generation_id}"
    if kind == "reaction":
        key = f"{key}:{value}"
    if removed:
        await feedback.withdraw(desk.store, key)
        return
    await feedback.keep(
        desk.store,
        kind,
        message.generation_id,
        value=value if kind == "reaction" else None,
        person_id=person.id,
        via=platform(),
        key=key,
    )


def add_commands(tree: app_commands.CommandTree[Any], desk: Desk, presses: dict[str, Press]) -> None:
    """Add `/vote`."""

    async def press_vote(interaction: discord.Interaction, about: str) -> None:
        lineage = await keep_vote(desk, interaction.user, about)
        text, view = await ballot_view(desk, interaction, lineage)
        await interaction.response.edit_message(content=f"Noted.\n\n{text}", view=view)

    presses["vote"] = press_vote

    @tree.command(name="vote", description="Which of two samples is better? You do not see who said which")
    @app_commands.describe(lineage="Only samples of this lineage")
    @app_commands.guild_only()
    async def vote(interaction: discord.Interaction, lineage: str = "") -> None:
        if lineage:
            try:
                Address.parse(f"{lineage}@base-000000")
            except UsageError as error:
                raise UsageError(f"{lineage!r} is no lineage.") from error
        text, view = await ballot_view(desk, interaction, lineage)
        await tell(interaction, text, view=view)

    @vote.autocomplete("lineage")
    async def suggest(_: discord.Interaction, typed: str) -> list[Choice]:
        return choices(typed, (Address.parse(age).lineage for age in await desk.voice.models()))
