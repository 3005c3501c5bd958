"""Buttons that go on working after a restart: what a press means stands in the button's own id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Self

import discord
from discord import ui

from bots.desk import explain_failure

Press = Callable[[discord.Interaction, str], Awaitable[None]]
"""What is done when a button is pressed; it is given what the button says it is about."""


class Button(ui.DynamicItem[ui.Button[Any]], template=r"selves:(?P<action>[a-z]+):(?P<about>[\w:-]*)"):
    """A button on a message of the registrar, which knows what each action does (`presses`)."""

    def __init__(
        self,
        action: str,
        about: str = "",
        label: str = "…",
        style: discord.ButtonStyle = discord.ButtonStyle.secondary,
        *,
        disabled: bool = False,
    ) -> None:
        name = f"selves:{action}:{about}"
        super().__init__(ui.Button(label=label, style=style, disabled=disabled, custom_id=name))
        self.action, self.about = action, about

    @classmethod
    async def from_custom_id(cls, _interaction: discord.Interaction, _item: Any, match: Any, /) -> Self:
        """Make it from what Discord sends."""
        return cls(match["action"], match["about"])

    async def callback(self, interaction: discord.Interaction) -> None:
        """Do what it is for. A failure is told to who pressed it."""
        presses: Mapping[str, Press] = interaction.client.presses  # type: ignore[attr-defined]
        try:
            await presses[self.action](interaction, self.about)
        except Exception as error:  # noqa: BLE001 (logged there)
            await explain_failure(interaction, error)


def row_of(*buttons: Button) -> ui.View:
    """Return a view with some buttons that never ends."""
    view = ui.View(timeout=None)
    for button in buttons:
        view.add_item(button)
    return view
