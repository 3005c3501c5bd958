"""The terminal shows what selves say, and obeys none of it."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime

import pytest
from rich.console import Console

from bots.terminal import TerminalChannel
from memory.types import Message
from selves.cast import Persona, SceneSpec

EMBER = Persona(name="Ember", address="ember@chat-000150", color="darkorange")
SPEC = SceneSpec(name="meeting", cast=("Ember", "Elder"), premise="They meet.")


def message(text: str, speaker: str = "Ember") -> Message:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return Message(
        id=1,
        scene_id=1,
        sequence=1,
        speaker=speaker,
        address=EMBER.address,
        origin="self",
        text=text,
        generation_id=None,
        reply_to=None,
        nonce="n",
        place="terminal",
        platform_id=None,
        status="pending",
        created_at=now,
        posted_at=None,
        edited_at=None,
        deleted_at=None,
        expires_at=None,
    )


def terminal(monkeypatch: pytest.MonkeyPatch, *, colors: bool) -> tuple[TerminalChannel, io.StringIO]:
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=colors, color_system="truecolor" if colors else None, width=60, markup=False
    )
    return TerminalChannel([EMBER], console), out


async def test_a_name_is_written_in_its_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    channel, out = terminal(monkeypatch, colors=True)
    await channel.post(message("Hello."))
    assert "\x1b[1;38;2;255;140;0m" in out.getvalue()
    assert re.sub(r"\x1b\[[\d;]*m", "", out.getvalue()).split() == ["Ember", "Hello."]


async def test_in_a_file_there_are_only_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    channel, out = terminal(monkeypatch, colors=False)
    channel.open(SPEC, [EMBER])
    async with channel.thinking(EMBER):
        pass
    await channel.post(message("Hello. " * 20))
    channel.close("max_turns")
    assert out.getvalue() == (
        "meeting: They meet.\n  Ember is ember@chat-000150\n\n"
        f"Ember: {'Hello. ' * 20}\n\n(all turns are played)\n"
    )


async def test_no_color_means_plain_lines_on_a_terminal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setenv("NO_COLOR", "1")
    channel = TerminalChannel([EMBER], Console(file=out, force_terminal=True))
    await channel.post(message("Hello."))
    assert out.getvalue() == "Ember: Hello.\n"


@pytest.mark.parametrize("colors", [True, False])
async def test_what_a_self_says_is_no_markup(monkeypatch: pytest.MonkeyPatch, *, colors: bool) -> None:
    channel, out = terminal(monkeypatch, colors=colors)
    await channel.post(message("[red]stop[/red] :smile: [/]"))
    assert "[red]stop[/red] :smile: [/]" in out.getvalue()


@pytest.mark.parametrize("colors", [True, False])
async def test_what_a_self_says_controls_no_terminal(
    monkeypatch: pytest.MonkeyPatch, *, colors: bool
) -> None:
    channel, out = terminal(monkeypatch, colors=colors)
    await channel.post(message("\x1b[2J\x07 evil \u202etxt half \ud83d"))
    assert "\\x1b[2J\\x07 evil \\u202etxt half \\ud83d" in out.getvalue()
