"""A person talks with a tiny self: in a pipe, on a real pseudo-terminal, and under the hood."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pytest

from bots.parlor import Parlor, as_text, choose_persona
from bots.talk import main
from memory.store import Store, open_store
from selves.cast import Cast, Persona, PersonaSampling
from selves.errors import EngineError, UsageError
from serving.voice import Voice

EMBER = Persona(name="Ember", address="tiny@chat-000008", sampling=PersonaSampling(temperature=1.0))
SPARK = Persona(name="Spark", address="tiny@base-000000", sampling=PersonaSampling(max_tokens=10))
CAST = Cast(persona=(EMBER, SPARK))


def ignore(_: str) -> None:
    """For whoever does not watch the answer grow."""


async def test_an_answer_comes_piece_by_piece_and_is_kept(store: Store, voice: Voice) -> None:
    parlor, grown = Parlor(store, voice, EMBER, seed=1), list[str]()
    said = await parlor.say("Hi! How are you?")
    answer = await parlor.answer(grown.append)
    assert answer is not None
    assert len(grown) > 1
    assert grown[-1].strip() == answer.text
    assert all(later.startswith(earlier.strip()) for earlier, later in pairwise(grown))
    assert (said.origin, said.human, answer.reply_to) == ("parlor", True, said.id)
    born = await store.provenance(answer.id)
    assert born.generation is not None
    assert born.generation.prompt_has_human


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("I like tea.\n<Rosa> So do I!", "I like tea."),
        ("I like tea.\n<Ro", "I like tea."),
        ("I like tea.\n<", "I like tea."),
        ("Two lines,\nof which both are mine.", "Two lines,\nof which both are mine."),
        ("This is a list:\n<ul>\n<li>tea</li>", "This is a list:\n<ul>\n<li>tea</li>"),
        ("<Rosa> is a name", "<Rosa> is a name"),
    ],
)
async def test_a_chat_selfs_words_end_where_it_speaks_as_another(
    store: Store, voice: Voice, said: str, kept: str
) -> None:
    parlor = Parlor(store, voice, EMBER)
    assert parlor._read(await voice.info(EMBER.address), said) == kept


async def test_another_answer_keeps_the_former_as_its_sibling(store: Store, voice: Voice) -> None:
    parlor = Parlor(store, voice, EMBER, seed=1)
    said = await parlor.say("Hi!")
    first, second = await parlor.answer(ignore), await parlor.answer(ignore)
    assert first is not None
    assert second is not None
    assert first.text != second.text
    assert first.reply_to == second.reply_to == said.id
    assert [m.id for m in await parlor.messages()] == [said.id, second.id]
    asked = (await store.provenance(second.id)).generation
    assert asked is not None
    assert asked.prompt_message_ids == (said.id,)


async def test_another_age_goes_on_with_the_same_talk(store: Store, voice: Voice) -> None:
    parlor = Parlor(store, voice, EMBER)
    hello = await parlor.say("Hi!")
    first = await parlor.answer(ignore)
    assert first is not None
    parlor.persona = choose_persona(CAST, "tiny@base-000016")
    again = await parlor.say("And you?")
    second = await parlor.answer(ignore)
    assert second is not None
    assert (second.address, second.speaker) == ("tiny@base-000016", "Tiny")
    asked = (await store.provenance(second.id)).generation
    assert asked is not None
    assert asked.prompt_message_ids == (hello.id, first.id, again.id)
    assert "You: Hi!\nEmber (tiny@chat-000008): " in as_text(await parlor.messages())


async def test_an_answer_that_is_stopped_is_kept_as_far_as_it_came(store: Store, voice: Voice) -> None:
    parlor = Parlor(store, voice, EMBER, seed=1)
    await parlor.say("Hi!")
    grown: list[str] = []

    def stop_at_the_first_words(text: str) -> None:
        grown.append(text)
        if text:
            parlor.stop()

    answer = await parlor.answer(stop_at_the_first_words)
    assert answer is not None
    kept = (await store.provenance(answer.id)).generation
    assert kept is not None
    assert kept.finish_reason == "cancelled"
    assert answer.text == grown[-1]
    assert answer.status == "posted"


async def test_a_failed_answer_is_an_error_and_is_kept(store: Store, voice: Voice) -> None:
    parlor = Parlor(store, voice, choose_persona(None, "broken@base-000000"))
    await parlor.say("Hi!")
    with pytest.raises(EngineError, match="broken@base-000000"):
        await parlor.answer(ignore)
    assert parlor.scene is not None
    (failed,) = await store.generations(parlor.scene.id)
    assert failed.finish_reason == "error"


async def test_without_a_line_there_is_no_answer_and_nothing_is_kept(store: Store, voice: Voice) -> None:
    parlor = Parlor(store, voice, EMBER)
    with pytest.raises(UsageError, match="nothing has been said"):
        await parlor.answer(ignore)
    await parlor.leave()
    assert await store.scenes() == []


def test_whom_to_talk_with() -> None:
    assert choose_persona(CAST, "ember") == EMBER
    assert choose_persona(CAST, "tiny@base-000000") == SPARK
    assert choose_persona(None, "my-model@base-000100").name == "My Model"
    with pytest.raises(UsageError, match="nobody is called 'Ash'"):
        choose_persona(CAST, "Ash")
    with pytest.raises(UsageError, match="is not an address"):
        choose_persona(None, "Ash")


def test_a_name_is_nobodys_without_a_cast_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SELVES_CAST", str(tmp_path / "mine.toml"))
    with pytest.raises(UsageError, match=r"there is no cast file .*mine\.toml, so 'Ember' is nobody's name"):
        main(["Ember"])


@pytest.fixture
def environment(serving_url: str, serving_home: Path, tmp_path: Path) -> Mapping[str, str]:
    """A home of its own, for a talk with the running engine."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SELVES_")}
    return kept | {"SELVES_HOME": str(tmp_path), "SELVES_URL": serving_url, "TERM": "xterm", "COLUMNS": "80"}


def test_a_pipe_gets_one_answer_a_line(environment: Mapping[str, str], tmp_path: Path) -> None:
    asked = "Hi!\n/regen\n/seed 5\nHow are you?\n/save talk.txt\n"
    done = subprocess.run(
        [sys.executable, "-m", "selves", "talk", "tiny@base-000016"],
        input=asked,
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    answers = done.stdout.splitlines()
    saved = (tmp_path / "talk.txt").read_text("utf-8").splitlines()
    assert len(answers) == 3
    assert [line.partition(":")[0] for line in saved] == ["You", "Tiny (tiny@base-000016)"] * 2


def test_a_wrong_command_in_a_pipe_is_said_and_fails(environment: Mapping[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "selves", "talk", "tiny@base-000016"],
        input="/sing\n",
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=600,
    )
    assert done.returncode == 1
    assert "there is no command /sing" in done.stderr


async def test_on_a_terminal_one_can_talk_switch_and_leave(
    environment: Mapping[str, str], tmp_path: Path
) -> None:
    """Ctrl-C at the prompt only clears the line; Ctrl-D leaves."""
    near, far = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "selves", "talk", "tiny@base-000016",
        stdin=far, stdout=far, stderr=far, env=environment, cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    os.close(far)
    screen = _Screen(near)
    try:
        await screen.wait_for("/help shows")
        await screen.wait_for("You")
        screen.type("Hi!\r")
        await screen.wait_for("Tiny  .*You")
        screen.type("half a thou\x03")
        await screen.wait_for("You")
        screen.type("/age tiny@chat-000008\r")
        await screen.wait_for(r"tiny@chat-000008 \(chat.*You")
        screen.type("\x04")
        assert await asyncio.wait_for(process.wait(), 600) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(near)
    assert "+Hi!" in (tmp_path / "talk-history").read_text("utf-8")
    async with open_store(f"sqlite+aiosqlite:///{tmp_path / 'selves.db'}") as store:
        (scene,) = await store.scenes()
        assert (scene.name, scene.stop_reason, scene.messages) == ("talk", "left", 2)


class _Screen:
    """The near end of a pseudo-terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._text = ""

    def type(self, text: str) -> None:
        self._text = ""
        os.write(self._descriptor, text.encode())

    async def wait_for(self, pattern: str) -> None:
        """Read until what was shown since the last `type` matches, colours and cursor moves left out."""
        while not re.search(pattern, re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", self._text), re.DOTALL):
            try:
                piece = await asyncio.wait_for(asyncio.to_thread(os.read, self._descriptor, 4096), 600)
            except TimeoutError:
                pytest.fail(f"{pattern!r} did not come; the screen showed {self._text!r}")
            # prompt_toolkit asks where the cursor is
            if b"\x1b[6n" in piece:
                os.write(self._descriptor, b"\x1b[1;1R")
            self._text += piece.decode("utf-8", "replace")
