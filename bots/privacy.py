"""What people are told of what is kept, and how they decide about it: the notice, `/consent`, `/privacy`."""

from __future__ import annotations

import io
import logging
from typing import Any

import discord
from discord import app_commands, ui

from bots.buttons import Button, Press, row_of
from bots.desk import Desk, platform, tell
from bots.room import Room
from memory import consent, states
from memory.consent import PURPOSES, Purpose
from memory.forget import forget
from memory.person_export import everything_of
from memory.show import to_json
from selves.errors import UsageError

log = logging.getLogger("selves.bots")

NOTICE_VERSION = "2026-11"
"""Of the words below. Change it with them: it stands with each consent."""
MEANING: dict[Purpose, str] = {
    "context": "the selves read what you write here, also when you speak to none of them",
    "store": "your words are kept until you take this back, not for 30 days",
    "diary": "selves may write about what you said",
    "publish": "your words may be shown on public pages, under your made-up name",
    "train": "your words may train the next selves",
}
LOCKED = """\
Discord's developer policy (rule 21) forbids training on what is written here, whatever you allow, as long \
as Discord has not permitted it."""
PRIVACY = """\
**What is kept.** What you write to a self, and with `/consent context` all that you write where they live: \
for 30 days, sealed, under a made-up name (`guest-3`). Neither your name nor your id is kept. Edits and \
deletions are followed. What the selves say is kept for good, with the weights that said it.
**What is not.** A message that begins with `.` or 🙈, or that you mark with a 🙈 reaction.
**What it is for.** So that the selves can answer. Anything more only if you allow it: `/consent`.
**Yours to take.** `/privacy export` gives you all that is kept of you, `/privacy forget` erases it; both \
work here and in a private message to me.
**Silence.** `/halt`, or ✋ on any message."""
NOTICE = """\
**Selves live in this channel**: small language models, of several ages each. Speak to one by mentioning it, \
replying to it or saying its name. What you say to them is kept for 30 days under a made-up name; {hearing} \
A message that begins with `.` is nobody's business. `/privacy` says more, `/consent` decides."""
HEARING = {
    "all": "so is what else is said here, unless you refuse with `/consent`.",
    "consenting": "what else is said here they hear only from people who allowed it.",
}


async def give_notice(desk: Desk, client: discord.Client, room: Room) -> None:
    """Tell a channel, once for each version of the notice and way of listening, what is heard there."""
    hearing = await room.hearing()
    key, version = f"notice:{room.channel.channel_id}", f"{NOTICE_VERSION} {hearing}"
    if await states.get(desk.store, key) == version:
        return
    text = NOTICE.format(hearing=HEARING[hearing])
    await client.get_partial_messageable(room.channel.channel_id).send(text)
    await states.put(desk.store, key, version)


# ---------------------------------------------------------------- consent


async def permitted(desk: Desk) -> bool:
    """Whether training on what is written here can be allowed at all."""
    if platform() == "selfhosted":
        return True
    return any(
        p.granted and p.counts and p.purpose == "train"
        for p in await consent.platform_ledger(desk.store, "discord")
    )


async def consent_view(desk: Desk, user: discord.abc.User) -> tuple[str, ui.View]:
    """Return what somebody allows now, in words and as buttons that change it."""
    person = await desk.person(user)
    async with desk.store.reading() as session:
        said = (await consent.consents_of(session, [person.id]))[person.id]
    may_train = await permitted(desk)
    lines = [f"You are **{person.pseudonym}** here. What you allow:"]
    view = row_of()
    for purpose in PURPOSES:
        locked = purpose == "train" and not may_train
        allowed = said.get(purpose, False) and not locked
        sign = "🔒" if locked else "✅" if allowed else "▫️"
        lines.append(f"{sign} **{purpose}**: {LOCKED if locked else MEANING[purpose]}")
        style = discord.ButtonStyle.success if allowed else discord.ButtonStyle.secondary
        view.add_item(Button("consent", purpose, purpose, style, disabled=locked))
    lines.append("Nothing is allowed until you allow it, and everything can be taken back.")
    return "\n".join(lines), view


async def toggle(desk: Desk, user: discord.abc.User, name: str) -> None:
    """Change what somebody allows. Raises UsageError for what there is not, or is locked."""
    purpose = next((purpose for purpose in PURPOSES if purpose == name), None)
    if purpose is None or (purpose == "train" and not await permitted(desk)):
        raise UsageError(LOCKED if name == "train" else f"There is no {name!r}.")
    person = await desk.person(user)
    async with desk.store.reading() as session:
        said = (await consent.consents_of(session, [person.id]))[person.id]
    await consent.allow(
        desk.store,
        person.id,
        purpose,
        granted=not said.get(purpose, False),
        notice=NOTICE_VERSION,
        via=platform(),
    )


# ---------------------------------------------------------------- export and forget


async def forget_person(desk: Desk, user: discord.abc.User) -> str:
    """Forget somebody, and return what that took, in words."""
    person = await desk.person(user)
    report = await forget(desk.store, person.pseudonym)
    log.info("%s was forgotten, as they asked", report.person)
    return (
        f"Forgotten: {report.messages} messages, {report.prompts} prompts that held them, "
        f"{report.samples + report.lines} lines that quoted them. What stands on Discord itself is yours to "
        "delete. If you write again, you are somebody new here."
    )


def add_commands(tree: app_commands.CommandTree[Any], desk: Desk, presses: dict[str, Press]) -> None:
    """Add `/consent` and `/privacy`; both work in private messages too."""

    async def press_consent(interaction: discord.Interaction, purpose: str) -> None:
        await toggle(desk, interaction.user, purpose)
        text, view = await consent_view(desk, interaction.user)
        await interaction.response.edit_message(content=text, view=view)

    async def press_forget(interaction: discord.Interaction, _: str) -> None:
        await interaction.response.defer(ephemeral=True, thinking=True)
        await tell(interaction, await forget_person(desk, interaction.user))

    presses |= {"consent": press_consent, "forget": press_forget}

    @tree.command(name="consent", description="What the selves may do with your words: five switches")
    async def consent_command(interaction: discord.Interaction) -> None:
        text, view = await consent_view(desk, interaction.user)
        await tell(interaction, text, view=view)

    group = app_commands.Group(name="privacy", description="What is kept of you, and taking it back")

    @group.command(name="show", description="What is kept of what you write here, and what for")
    async def show(interaction: discord.Interaction) -> None:
        await tell(interaction, PRIVACY)

    @group.command(name="export", description="Everything that is kept of you, as a file")
    async def export(interaction: discord.Interaction) -> None:
        await interaction.response.defer(ephemeral=True)
        person = await desk.person(interaction.user)
        body = to_json(await everything_of(desk.store, person.pseudonym)).encode()
        file = discord.File(io.BytesIO(body), f"{person.pseudonym}.json")
        await interaction.followup.send("All that is kept of you:", file=file, ephemeral=True)

    @group.command(name="forget", description="Erase everything that is kept of you")
    async def forget_me(interaction: discord.Interaction) -> None:
        view = row_of(Button("forget", "", "Erase what is kept of me", discord.ButtonStyle.danger))
        text = "This erases your words wherever they went here, and nobody can bring them back. Sure?"
        await tell(interaction, text, view=view)

    tree.add_command(group)
