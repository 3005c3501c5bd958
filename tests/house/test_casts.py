"""The casts that people copy are right, and each kind of scene has an example."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bots.filters import load
from bots.kinds import KINDS
from bots.schedule import upcoming
from selves.cast import load_cast

HOUSE = Path(__file__).parents[2]
CASTS = sorted((HOUSE / "casts").glob("*.toml"))


@pytest.mark.parametrize("path", [*CASTS, HOUSE / "selves.toml"], ids=lambda path: path.name)
def test_a_cast_can_be_used_as_it_is(path: Path) -> None:
    cast = load_cast(path)
    load(cast.filter)
    assert len(upcoming(cast.schedule, datetime(2026, 1, 1, tzinfo=UTC), 20)) == (20 if cast.schedule else 0)
    assert {schedule.channel for schedule in cast.schedule} <= set(cast.discord.channels)


def test_there_is_an_example_of_every_kind_of_scene() -> None:
    shown = {scene.kind for path in CASTS for scene in load_cast(path).scene}
    assert shown == set(KINDS) - {"answer"}
