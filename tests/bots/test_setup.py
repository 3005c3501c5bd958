"""A newcomer is walked to selves on Discord: in a terminal, with every answer checked, and nothing shown."""

from __future__ import annotations

import asyncio
import os
import pty
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.castfile import new_cast, read_variables, with_accounts, with_variables
from selves.cast import Cast, load_cast
from selves.doctor import check_tokens
from selves.errors import ConfigError
from selves.settings import House
from tests.bots.discord_house import DiscordHouse, open_house

CAST = """\
# My cast. [[persona]] begins each self.
[serving]
port = 8640  # as ever

[[persona]]
name = "Ember"
address = "tiny@chat-000008"   # the newest
sampling = { max_tokens = 12 }

# the youngest
[[persona]]
name = "Spark"
token = "OLD_NAME"  # to be changed
address = "tiny@base-000000"

[persona.sampling]
max_tokens = 12

[[scene]]
name = "meeting"
cast = ["Ember", "Spark"]
"""


@pytest.fixture
async def house(tmp_path: Path, serving_url: str) -> AsyncIterator[DiscordHouse]:
    async with open_house(tmp_path, serving_url) as opened:
        (tmp_path / "selves.toml").write_text(CAST, "utf-8")
        yield opened


class Terminal:
    """A real terminal with `selves bots setup` in it, and somebody who reads and types."""

    def __init__(self, house: DiscordHouse) -> None:
        self.shown = ""
        self._read = 0
        self._more = asyncio.Event()
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SELVES_", "TOKEN_"))}
        environment = clean | house.double.environment
        environment |= {"SELVES_HOME": str(house.path), "SELVES_CAST": str(house.path / "selves.toml")}
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.execve(sys.executable, [sys.executable, "-m", "selves", "bots", "setup"], environment)
        os.set_blocking(self.terminal, False)
        asyncio.get_running_loop().add_reader(self.terminal, self._more.set)

    async def interrupt(self, shown: str) -> None:
        """Press Ctrl-C, and again: one that comes just before a line is read is seen only after that line."""
        for _ in range(6):
            os.write(self.terminal, b"\x03")
            with suppress(TimeoutError):
                return await self.until(shown, 15)
        raise AssertionError(f"it goes on: {self.shown}")

    async def until(self, words: str, seconds: float = 600) -> None:
        """Read until these words are shown, after those that were waited for before."""
        async with asyncio.timeout(seconds):
            while (found := self.shown.find(words, self._read)) < 0:
                await self._more.wait()
                self._more.clear()
                try:
                    self.shown += os.read(self.terminal, 4096).decode()
                except BlockingIOError:
                    continue
                except OSError:
                    raise AssertionError(f"it ended without {words!r}: {self.shown}") from None
        self._read = found + len(words)

    async def answer(self, question: str, line: str) -> None:
        await self.until(question)
        os.write(self.terminal, f"{line}\n".encode())

    async def ended(self) -> int:
        asyncio.get_running_loop().remove_reader(self.terminal)
        _, status = await asyncio.to_thread(os.waitpid, self.process, 0)
        os.close(self.terminal)
        return os.waitstatus_to_exitcode(status)


async def test_a_newcomer_is_walked_from_nothing_to_selves_that_are_ready(house: DiscordHouse) -> None:
    house.registrar.message_content = False
    ember, registrar = house.selves["Ember"], house.registrar
    terminal = Terminal(house)
    await terminal.answer("SELVES_REGISTRAR_TOKEN (paste", "MTA1.wrong.secretsecretsecret")
    await terminal.until("✗ Discord refuses the token")
    await terminal.answer("SELVES_REGISTRAR_TOKEN (paste", registrar.token)
    await terminal.until("the Message Content intent is off")
    registrar.message_content = True
    await terminal.answer("Enter looks again", "")
    await terminal.until(f"client_id={registrar.id}")
    await terminal.answer("An account for Ember", "y")
    await terminal.answer("SELVES_TOKEN_EMBER (paste", registrar.token)
    await terminal.until("the token of another of your bots")
    await terminal.answer("SELVES_TOKEN_EMBER (paste", ember.token)
    await terminal.answer("An account for Spark", "n")
    await terminal.answer("Enter when they are all in", "")
    await terminal.answer("In which do the selves live?", "7")
    await terminal.answer("In which do the selves live?", "1")
    await terminal.answer("✗ Spark", "")
    await terminal.answer("Enter looks again, q stops", "q")
    assert await terminal.ended() == 1  # Spark still has its old name for a token
    cast = load_cast(house.path / "selves.toml")
    assert cast.discord.channels == (house.room.id,)
    assert [p.token for p in cast.persona] == ["SELVES_TOKEN_EMBER", "OLD_NAME"]
    kept = house.path / ".env"
    assert read_variables(kept.read_text()) == {
        "SELVES_REGISTRAR_TOKEN": registrar.token,
        "SELVES_TOKEN_EMBER": ember.token,
    }
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert not [token for token in (registrar.token, ember.token, "MTA1.wrong") if token in terminal.shown]

    # the second time it goes on where it ended
    terminal = Terminal(house)
    await terminal.answer("An account for Spark", "y")
    await terminal.answer("OLD_NAME (paste", house.selves["Spark"].token)
    await terminal.answer("Enter when they are all in", "")
    await terminal.answer("In which do the selves live?", "")
    await terminal.until("All is ready: selves bots run")
    assert await terminal.ended() == 0


async def test_whoever_stops_in_the_middle_goes_on_there(house: DiscordHouse) -> None:
    terminal = Terminal(house)
    await terminal.answer("SELVES_REGISTRAR_TOKEN (paste", house.registrar.token)
    await terminal.until("An account for Ember")
    await terminal.interrupt("what was accepted is kept")
    assert await terminal.ended() == 130
    assert (house.path / "selves.toml").read_text("utf-8") == CAST
    assert house.registrar.token in (house.path / ".env").read_text()


def test_a_cast_file_keeps_its_remarks_and_all_else() -> None:
    made = with_accounts(CAST, registrar="MINE", channels=[7, 8], tokens={"Ember": "A", "Spark": "B"})
    assert (
        made
        == CAST.replace(
            "sampling = { max_tokens = 12 }\n", 'sampling = { max_tokens = 12 }\ntoken = "A"\n'
        ).replace('"OLD_NAME"', '"B"')
        + '\n[discord]\nregistrar_token = "MINE"\nchannels = [7, 8]\n'
    )
    again = with_accounts(made, registrar="OTHER", channels=[9], tokens={})
    assert again == made.replace('"MINE"', '"OTHER"').replace("[7, 8]", "[9]")
    spread = made.replace("[7, 8]", "[\n  7, # here\n  8,\n] # both")
    assert with_accounts(spread, registrar="MINE", channels=[9], tokens={}).endswith(
        "channels = [9] # both\n"
    )


def test_a_cast_file_that_cannot_be_added_to_is_left_alone() -> None:
    odd = 'persona = [{ name = "Ember", address = "tiny@base-000000" }]\n'
    with pytest.raises(ConfigError, match="cannot be added to"):
        with_accounts(odd, registrar="MINE", channels=[7], tokens={"Ember": "A"})
    with pytest.raises(ConfigError, match="not TOML"):
        with_accounts("[", registrar="MINE", channels=[7], tokens={})


@given(st.text(), st.lists(st.integers(1, 2**63), min_size=1), st.booleans())
def test_whatever_a_remark_says_only_what_was_asked_for_changes(
    remark: str, channels: list[int], before: bool
) -> None:
    line = "".join(letter for letter in remark if letter.isprintable())
    text = new_cast({"Ember": "tiny@base-000000"}) + f"# {line}\n" + ("[discord] # here\n" if before else "")
    made = with_accounts(text, registrar="MINE", channels=channels, tokens={"Ember": "A"})
    assert f"# {line}" in made


@given(
    st.dictionaries(
        st.from_regex(r"[A-Z_]{1,9}", fullmatch=True), st.from_regex(r"[\w.-]{1,9}", fullmatch=True)
    )
)
def test_variables_are_read_as_they_were_written(variables: dict[str, str]) -> None:
    assert read_variables(with_variables("# mine\nOTHER-1=x\n", variables)) == {"OTHER-1": "x", **variables}


def test_the_doctor_finds_tokens_where_the_bots_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = House.from_environment({"SELVES_CAST": str(tmp_path / "selves.toml")})
    cast = Cast.model_validate(
        {"persona": [{"name": "Ash", "address": "ash@base-000001", "token": "TOKEN_ASH"}]}
    )
    monkeypatch.setenv("SELVES_REGISTRAR_TOKEN", "from the environment")
    monkeypatch.delenv("TOKEN_ASH", raising=False)
    assert check_tokens(house, cast).detail == "not set: TOKEN_ASH"
    (tmp_path / ".env").write_text("TOKEN_ASH=from-the-file\n")
    assert check_tokens(house, cast).state == "ok"
