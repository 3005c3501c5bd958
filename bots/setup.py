"""`selves bots setup`: from nothing to selves on Discord, step by step, with every answer checked at once.

Tokens go into `.env` beside the cast file, which only its owner may read, as soon as Discord has accepted
them: whoever stops in the middle goes on there the next time.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from getpass import getpass
from pathlib import Path
from typing import NamedTuple

import aiohttp
import discord

from bots.account import explain
from bots.castfile import new_cast, read_variables, with_accounts, with_variables
from bots.checkup import Finding, examine, needs_of
from bots.discord_api import Endpoints
from bots.speaker import Speaker
from selves.cast import Cast, load_cast
from selves.errors import DiscordError, UsageError
from selves.files import write_file
from selves.settings import House

PORTAL = "https://discord.com/developers/applications"
REGISTRAR_STEPS = f"""\
First the registrar: the one bot that listens. In a browser, at {PORTAL}
  1. New Application; its name is what people will see ("The Registrar").
  2. Bot > Privileged Gateway Intents > Message Content Intent: on, and save.
  3. Bot > Reset Token, and copy the token. It is a password: only this house needs it."""
SELF_STEPS = f"""\
An application of its own, at {PORTAL}
  1. New Application, with its name; on Bot, give it a picture if you like.
  2. Bot > Reset Token, and copy the token. It needs no privileged intent."""


class Bot(NamedTuple):
    """What Discord says of a token."""

    name: str
    invite: str
    listens: bool
    """Whether the Message Content intent is on."""


class Place(NamedTuple):
    """A text channel that the registrar can see."""

    id: int
    title: str


class Setup:
    """The walk. `say` shows a line, `ask` reads one, `ask_secret` reads one that is not shown."""

    def __init__(
        self,
        house: House,
        endpoints: Endpoints,
        say: Callable[[str], None] = print,
        ask: Callable[[str], str] = input,
        ask_secret: Callable[[str], str] = getpass,
    ) -> None:
        self.house, self.endpoints = house, endpoints
        self.say, self.ask, self.ask_secret = say, ask, ask_secret
        self.env_path = env_path(house)
        self.tokens: dict[str, str] = {}

    def walk(self) -> int:
        """Go through all steps; return 0 when everything is ready. Raises SelvesError."""
        cast = self._cast()
        self.tokens = known_tokens(cast, self.house, os.environ)
        registrar = cast.discord.registrar_token
        self.say(REGISTRAR_STEPS)
        self._account("The registrar", registrar, cast, listens=True)
        chosen = self._selves(cast)
        if not chosen and not cast.discord.guests:
            raise UsageError("no self has an account yet", "run this again when you have one for one of them")
        channels = self._channels(cast, registrar)
        text = self.house.cast_path.read_text("utf-8")
        text = with_accounts(text, registrar=registrar, channels=channels, tokens=chosen)
        write_file(self.house.cast_path, text)
        self.say(f"\nWritten: {self.house.cast_path} and {self.env_path}\n")
        return self._check(load_cast(self.house.cast_path))

    def _cast(self) -> Cast:
        """The cast; a house without one gets the newest age of each lineage. Raises UsageError."""
        if not self.house.cast_path.exists():
            from bots.parlor import choose_persona
            from selves.lineage import list_ages

            newest = {age.address.lineage: str(age.address) for age in list_ages(self.house.checkpoints)}
            if not newest:
                raise UsageError("there is no age yet to bring to Discord", "`make demo` raises the first")
            personas = [choose_persona(None, address) for address in newest.values()]
            write_file(self.house.cast_path, new_cast({p.name: p.address for p in personas}))
            self.say(f"A first cast: {', '.join(p.name for p in personas)} in {self.house.cast_path}\n")
        return load_cast(self.house.cast_path)

    def _selves(self, cast: Cast) -> dict[str, str]:
        """Make accounts for who shall have one; return the variables' names by persona."""
        chosen = {}
        for persona in cast.persona:
            variable = persona.token or f"SELVES_TOKEN_{_capitals(persona.name)}"
            self.tokens |= known_tokens(cast, self.house, os.environ, (variable,))
            known = bool(self.tokens.get(variable))
            if not known and not self._agrees(f"\nAn account for {persona.name} ({persona.address})?"):
                continue
            if not known:
                self.say(SELF_STEPS)
            self._account(persona.name, variable, cast, listens=False)
            chosen[persona.name] = variable
        return chosen

    def _account(self, name: str, variable: str, cast: Cast, *, listens: bool) -> None:
        """Ask for a token until Discord accepts it, keep it, and show the bot's invite link."""
        needs = needs_of(cast, listens=listens)
        while True:
            token = self.tokens.get(variable, "")
            if not token:
                token = self.ask_secret(f"{variable} (paste the token of {name}; it is not shown): ").strip()
            try:
                if token in {value for other, value in self.tokens.items() if other != variable}:
                    raise DiscordError("this is the token of another of your bots")
                bot = asyncio.run(look_at(token, variable, self.endpoints, needs, listens=listens))
            except DiscordError as error:
                self.say(f"✗ {error}")
                self.tokens.pop(variable, None)
                continue
            self.tokens[variable] = token
            self._keep(variable, token)
            if listens and not bot.listens:
                self.say("✗ the Message Content intent is off: Bot > Privileged Gateway Intents, and save")
                self.ask("Enter looks again: ")
                continue
            self.say(f"✓ {bot.name}\n  invite it to your server: {bot.invite}")
            return

    def _keep(self, variable: str, token: str) -> None:
        """Put a token into `.env`, unless it comes from the environment."""
        if os.environ.get(variable, "").strip() == token:
            return
        before = self.env_path.read_text("utf-8") if self.env_path.exists() else ""
        write_secret(self.env_path, with_variables(before, {variable: token}))

    def _channels(self, cast: Cast, registrar: str) -> list[int]:
        """Let the channels be chosen among those that the registrar sees."""
        self.ask("\nOpen the invite links and choose your server. Enter when they are all in: ")
        while True:
            places = asyncio.run(look_around(self.tokens[registrar], registrar))
            if places:
                break
            self.ask("✗ the registrar sees no text channel yet. Enter looks again: ")
        before = [str(n) for n, place in enumerate(places, 1) if place.id in cast.discord.channels]
        for number, place in enumerate(places, 1):
            self.say(f"  {number}. {place.title}")
        default = f" [{' '.join(before)}]" if before else ""
        while True:
            answer = self.ask(f"In which do the selves live? Numbers{default}: ").replace(",", " ").split()
            numbers = [int(word) for word in answer or before if word.isdecimal()]
            if numbers and all(1 <= number <= len(places) for number in numbers):
                return [places[number - 1].id for number in dict.fromkeys(numbers)]
            self.say(f"✗ numbers from 1 to {len(places)}, such as: 1")

    def _check(self, cast: Cast) -> int:
        """Look whether everybody can do what it is for; again as long as somebody wants to."""
        while True:
            findings = asyncio.run(examine(cast, self.tokens, self.endpoints))
            for finding in findings:
                self._show(finding)
            if not any(finding.problems for finding in findings):
                self.say("\nAll is ready: selves bots run")
                return 0
            if self.ask("Enter looks again, q stops: ").strip().lower() == "q":
                return 1

    def _show(self, finding: Finding) -> None:
        self.say(f"{'✗' if finding.problems else '✓'} {finding.name}")
        for problem in finding.problems:
            self.say(f"    {problem}")
        if finding.problems and finding.invite:
            self.say(f"    invite: {finding.invite}")

    def _agrees(self, question: str) -> bool:
        return self.ask(f"{question} [Y/n] ").strip().lower() not in ("n", "no")


async def look_at(
    token: str, variable: str, endpoints: Endpoints, needs: discord.Permissions, *, listens: bool
) -> Bot:
    """Ask Discord whose token this is. Raises DiscordError when it does not say."""
    async with Speaker(lambda: None) as client:
        try:
            await client.login(token)
        except (discord.LoginFailure, discord.HTTPException, aiohttp.ClientError, OSError) as error:
            raise DiscordError(explain(error, variable)[1]) from error
        assert client.application_id is not None
        assert client.user is not None
        flags = client.application_flags
        return Bot(
            client.user.display_name,
            endpoints.invite_url(client.application_id, needs.value, commands=listens),
            flags.gateway_message_content or flags.gateway_message_content_limited,
        )


async def look_around(token: str, variable: str) -> list[Place]:
    """Return the text channels of all servers that a bot is in. Raises DiscordError."""
    places = []
    async with Speaker(lambda: None) as client:
        try:
            await client.login(token)
            async for guild in client.fetch_guilds(limit=20, with_counts=False):
                for channel in await guild.fetch_channels():
                    if isinstance(channel, discord.TextChannel):
                        places.append(Place(channel.id, f"{guild.name} #{channel.name}"))
        except (discord.LoginFailure, discord.HTTPException, aiohttp.ClientError, OSError) as error:
            raise DiscordError(explain(error, variable)[1]) from error
    return places


def env_path(house: House) -> Path:
    """Where tokens lie that are not in the environment."""
    return house.cast_path.with_name(".env")


def known_tokens(
    cast: Cast, house: House, environment: Mapping[str, str], more: tuple[str, ...] = ()
) -> dict[str, str]:
    """Return the tokens that there are, by variable: the environment's, else those in `.env`."""
    path = env_path(house)
    kept = read_variables(path.read_text("utf-8")) if path.is_file() else {}
    variables = [cast.discord.registrar_token, *(p.token for p in cast.persona if p.token), *more]
    both = {name: environment.get(name, "").strip() or kept.get(name, "") for name in variables}
    return {name: value for name, value in both.items() if value}


def write_secret(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    before = os.umask(0o077)
    try:
        write_file(path, text)
    finally:
        os.umask(before)


def _capitals(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in name).upper()
