"""The compose file and the image, as far as they can be checked without Docker.

(`make check` validates docker-compose.yml against the compose specification's JSON schema.)
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from selves.__main__ import main
from selves.cast import load_cast

HOUSE = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((HOUSE / "docker-compose.yml").read_text())["services"]
OURS = [name for name, service in SERVICES.items() if service.get("image") == "selves:local"]


@pytest.mark.parametrize("name", OURS)
def test_each_service_runs_a_command_that_exists(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = SERVICES[name]["command"]
    verb = [part for part in command[1:2] if not part.startswith("-")]
    with pytest.raises(SystemExit) as stop:
        main([command[0], *verb, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in (part for part in command if part.startswith("--")):
        assert option in text


def test_the_image_copies_only_what_is_there() -> None:
    for line in re.findall(r"^COPY (.+)$", (HOUSE / "Dockerfile").read_text(), re.MULTILINE):
        *sources, _target = line.split()
        for source in sources:
            assert (HOUSE / source).exists(), source


def test_every_room_is_in_the_image() -> None:
    text = (HOUSE / "Dockerfile").read_text()
    for room in ("selves", "training", "serving", "memory", "bots", "book", "app"):
        assert f"COPY {room} {room}\n" in text


def test_the_example_environment_names_every_token_of_the_cast() -> None:
    cast = load_cast(HOUSE / "selves.toml")
    names = set(re.findall(r"^([A-Z_]+)=", (HOUSE / ".env.example").read_text(), re.MULTILINE))
    assert {cast.discord.registrar_token, *(p.token for p in cast.persona)} <= names


def test_no_secret_has_a_value_in_the_example_environment() -> None:
    for name, value in re.findall(r"^([A-Z_]+)=(.*)$", (HOUSE / ".env.example").read_text(), re.MULTILINE):
        assert value in ("", "change-me"), name
