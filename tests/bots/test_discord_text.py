"""What becomes of texts between Discord and the house."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bots.account import part_nonce
from bots.discord_api import Endpoints, pointed_at, words_origin
from bots.hearing import is_kept_out, plain_text
from bots.splitting import length, split
from selves.errors import UsageError

SELVES = {11: "Ember", 12: "Spark"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("hi <@11> and <@!12>", "hi @Ember and @Spark"),
        ("<@999> said so", "@someone said so"),
        ("<@&5> look at <#77> <:wave:123> <a:dance:456>", "@someone look at #channel :wave: :dance:"),
        ("try </scene:998877>", "try /scene"),
        ("  3 < 4 and <b> ", "3 < 4 and <b>"),
    ],
)
def test_ids_do_not_enter_the_house(content: str, expected: str) -> None:
    assert plain_text(content, SELVES) == expected


@pytest.mark.parametrize(("text", "out"), [(".secret", True), ("🙈 secret", True), ("not. secret", False)])
def test_a_sign_at_the_beginning_keeps_a_message_out(text: str, out: bool) -> None:
    assert is_kept_out(text) is out


@given(st.text(max_size=300), st.integers(20, 60))
@example("a" * 100, 40)
@example("🎈" * 100, 41)
@example("```\n" + "code\n" * 30 + "```\nend", 40)
@example("\ud800 lone", 40)
def test_parts_fit_and_nothing_but_space_is_lost(text: str, limit: int) -> None:
    parts = split(text, limit)
    assert parts
    assert all(0 < len(part.encode("utf-16-le")) // 2 <= limit for part in parts)
    whole = text.encode("utf-8", "replace").decode().strip() or "…"
    assert "".join("".join(parts).split()).replace("```", "") == "".join(whole.split()).replace("```", "")


def test_texts_are_cut_where_people_would_cut_them() -> None:
    assert split("one two three\nfour five six", 20) == ["one two three", "four five six"]
    assert split("one two three four five", 20) == ["one two three four", "five"]
    assert split("One two. Three four five", 20) == ["One two. Three four", "five"]
    assert split("Once upon a time. And", 20) == ["Once upon a time.", "And"]
    assert split("short") == ["short"]


def test_a_code_block_stays_one_in_its_language() -> None:
    parts = split("Look:\n```python\n" + "line of code\n" * 12 + "```\nThat was it.", 80)
    assert len(parts) > 2
    assert all(part.count("```") in (0, 2) for part in parts)
    assert [part.count("```python\n") for part in parts[:-1]] == [1] * (len(parts) - 1)
    assert parts[-1].endswith("That was it.")


@pytest.mark.parametrize(
    "whole", ["<@123456789012345678>", "<:wave:123456789>", "https://example.org/a/b", "👩‍👩‍👧‍👦", "é"]
)
def test_what_means_nothing_when_it_is_cut_is_not_cut(whole: str) -> None:
    for before in range(60 - length(whole), 60):
        parts = split("x" * before + whole + "y" * 30, 60)
        assert any(whole in part for part in parts), before


def test_the_first_part_of_a_long_message_has_the_nonce_of_the_whole() -> None:
    nonces = [part_nonce("n" * 25, number) for number in range(3)]
    assert nonces[0] == "n" * 25
    assert len(set(nonces)) == 3
    assert {len(nonce) for nonce in nonces} == {25}


# ---------------------------------------------------------------- which Discord


def test_without_variables_it_is_discord_itself() -> None:
    from discord.http import Route

    endpoints = Endpoints.from_environment({})
    with pointed_at(endpoints):
        assert Route.BASE.startswith("https://discord.com/api")
    assert endpoints.invite_url(1, 8, commands=False).startswith("https://discord.com/oauth2/authorize?")


def test_a_server_of_ones_own_is_pointed_at_and_left_again() -> None:
    from discord.gateway import DiscordWebSocket
    from discord.http import Route

    before = Route.BASE
    endpoints = Endpoints.from_environment(
        {
            "SELVES_DISCORD_API": "https://chat.example.org/api/v9/",
            "SELVES_DISCORD_GATEWAY": "wss://gateway.example.org",
        }
    )
    with pointed_at(endpoints):
        assert Route.BASE == "https://chat.example.org/api/v9"
        assert str(DiscordWebSocket.DEFAULT_GATEWAY) == "wss://gateway.example.org"
        # Discord's own rules hold there no longer
        assert words_origin() == "selfhosted"
    assert before == Route.BASE
    assert words_origin() == "discord"
    assert endpoints.invite_url(1, 8, commands=True).startswith("https://chat.example.org/oauth2/authorize?")


@pytest.mark.parametrize(
    "environment",
    [
        {"SELVES_DISCORD_API": "https://chat.example.org/api/v10"},
        {"SELVES_DISCORD_GATEWAY": "wss://gateway.example.org"},
        {"SELVES_DISCORD_API": "https://chat.example.org", "SELVES_DISCORD_GATEWAY": "wss://x.example.org"},
        {"SELVES_DISCORD_API": "https://x.example.org/v9", "SELVES_DISCORD_GATEWAY": "https://x.example.org"},
    ],
)
def test_half_or_wrong_addresses_are_refused(environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="SELVES_DISCORD"):
        Endpoints.from_environment(environment)
