"""The terminal as a place where selves speak: names in colour, or plain lines where colour is not wanted.

What a model says is shown, never obeyed: no markup, no escape codes, no bidirectional tricks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from io import TextIOWrapper

from rich.console import Console, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.spinner import Spinner
from rich.style import Style
from rich.table import Table
from rich.text import Text

from bots.kinds import premise_of
from memory.show import style_of, visible
from memory.types import Message
from selves.cast import Persona, SceneSpec
from selves.endings import ending


def is_plain(console: Console) -> bool:
    """Whether to write bare lines: into a file or pipe, or because NO_COLOR asks for it."""
    return not console.is_terminal or bool(os.environ.get("NO_COLOR"))


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that takes text as it is, and never fails on a letter that it cannot show."""
    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def row(name: str, style: Style, what: RenderableType, *, width: int) -> Table:
    """Return a name in its style, and beside it what it says, however many lines that takes."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=width, justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(name, style=style), what)
    return grid


class TerminalChannel:
    """A scene on a terminal. Satisfies `bots.channel.Channel`."""

    place = "terminal"

    def __init__(self, personas: Iterable[Persona], console: Console | None = None) -> None:
        self.console = console or make_console()
        self.plain = is_plain(self.console)
        self._styles = {p.name: style_of(p.color) for p in personas}
        self._width = 8

    def open(self, spec: SceneSpec, cast: Iterable[Persona], said: Iterable[Message] = ()) -> None:
        """Write the header: the scene's name, its premise, who is who, and what was `said` already."""
        present = list(cast)
        self._width = max(len(p.name) for p in present)
        self._header(spec, present)
        for message in said:
            self.show(message)

    def _header(self, spec: SceneSpec, present: Iterable[Persona]) -> None:
        premise = visible(premise_of(spec))
        if self.plain:
            self._line(f"{spec.name}: {premise}" if premise else spec.name)
            for persona in present:
                self._line(f"  {persona.name} is {persona.address}")
            self._line("")
            return
        self.console.print()
        self.console.print(Padding(Text(spec.name, style="bold"), (0, 2)))
        if premise:
            self.console.print(Padding(Text(premise, style="italic"), (0, 2)))
        self.console.print()
        for persona in present:
            self.console.print(self._grid(persona.name, Text(persona.address, style="dim")))
        self.console.print()

    async def post(self, message: Message) -> None:
        """Write one message."""
        self.show(message)

    def show(self, message: Message) -> None:
        """Write one message; several lines are set below each other, with room after them."""
        text = visible(message.text)
        if self.plain:
            self._line(f"{message.speaker}: {text}")
        else:
            self.console.print(self._grid(message.speaker, Text(text)))
        if "\n" in text:
            self._line("")

    @asynccontextmanager
    async def thinking(self, persona: Persona) -> AsyncIterator[None]:
        """Show a spinner beside the name while the block runs."""
        if self.plain:
            yield
            return
        spinner = Spinner("simpleDots", style="dim")
        with Live(self._grid(persona.name, spinner), console=self.console, transient=True):
            yield

    def halted(self) -> bool:
        """Never: whoever sits at a terminal presses Ctrl-C."""
        return False

    def close(self, stop_reason: str | None, winner: str | None = None) -> None:
        """Write the footer: why the scene ended, and who won if it was a debate."""
        words = f"{ending(stop_reason)}; {winner} has won" if winner else ending(stop_reason)
        if self.plain:
            self._line(f"\n({words})")
        else:
            self.console.print()
            self.console.print(Padding(Text(words, style="dim italic"), (0, 2)))

    def _grid(self, name: str, what: RenderableType) -> Table:
        return row(name, self._styles.get(name, Style(bold=True)), what, width=self._width + 2)

    def _line(self, text: str) -> None:
        self.console.file.write(text + "\n")
        self.console.file.flush()
