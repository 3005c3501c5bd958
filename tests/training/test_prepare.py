"""Text is prepared in little memory and at one moment: killed, full or crowded, nothing is half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from selves.errors import CorpusError, DiskError
from selves.files import PARTIAL_PREFIX
from selves.settings import House
from training import corpus, preparing, shards, spool
from training.documents import Document, Turn
from training.recipe import Recipe, Source

MakeRecipe = Callable[..., Recipe]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PREPARE = """
import sys
from pathlib import Path
from selves.settings import House
from training import shards
from training.recipe import Recipe
house = House(home=Path(sys.argv[1]), cast_path=Path("none"))
recipe = Recipe.model_validate_json(sys.argv[2])
"""


def silent(_: str) -> None:
    pass


def run(house: House, recipe: Recipe, code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", PREPARE + code, str(house.home), recipe.model_dump_json()]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_killed_in_the_middle_it_leaves_what_the_next_one_sweeps(
    house: House, make_recipe: MakeRecipe
) -> None:
    code = """
import os, signal
def tell(line):
    if line == "writing the text as tokens":
        os.kill(os.getpid(), signal.SIGKILL)
shards.prepare(recipe, house, tell)
"""
    recipe = make_recipe()
    assert run(house, recipe, code).returncode == -signal.SIGKILL
    assert all(path.name.startswith(PARTIAL_PREFIX) for path in house.corpora.iterdir())
    assert len(list(house.corpora.iterdir())) == 1
    prepared = shards.prepare(recipe, house, silent)
    assert list(house.corpora.iterdir()) == [prepared.folder]
    assert {path.name for path in prepared.folder.iterdir()} == {
        "tokenizer.json",
        "train.bin",
        "heldout.bin",
        "corpus.json",
        "chat.jsonl",
        "chat.bin",
    }


@pytest.mark.parametrize("room", [1_000, 60_000])
def test_where_the_disk_refuses_nothing_is_left(house: House, make_recipe: MakeRecipe, room: int) -> None:
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))
shards.prepare(recipe, house, print)
"""
    done = run(house, make_recipe(), code)
    assert DiskError.__name__ in done.stderr
    assert list(house.corpora.iterdir()) == []


def test_a_long_preparation_says_how_far_it_is(
    house: House, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "TELL_EVERY_BYTES", 20_000)
    told: list[str] = []
    shards.prepare(make_recipe(), house, told.append)
    assert sum("MB are read" in line for line in told) > 1
    assert sum("MB are tokens" in line for line in told) > 1


def test_two_processes_prepare_a_text_once(house: House, make_recipe: MakeRecipe) -> None:
    """The second one waits, and finds it made."""
    recipe, lines = make_recipe(), []
    begun, go_on = threading.Event(), threading.Event()

    def first(line: str) -> None:
        lines.append(line)
        begun.set()
        go_on.wait()

    def second(line: str) -> None:
        lines.append(line)
        go_on.set()

    folders: list[Path] = []
    threads = [
        threading.Thread(target=lambda tell=tell: folders.append(shards.prepare(recipe, house, tell).folder))
        for tell in (first, second)
    ]
    threads[0].start()
    begun.wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    assert folders[0] == folders[1]
    assert lines.count("waiting for another process that prepares text") == 1
    assert lines.count("writing the text as tokens") == 1


def many_documents(number: int) -> Iterator[Document]:
    for n in range(number):
        said = f"The number {n} is a number, and the next is {n + 1}. " * 10
        yield Document(turns=(Turn("a", said), Turn("b", "Yes."))) if n % 3 else Document(said)


def test_a_longer_text_does_not_take_more_memory(
    tmp_path: Path, house: House, make_recipe: MakeRecipe
) -> None:
    peaks = []
    for number in (800, 2_400):
        folder = tmp_path / str(number)
        folder.mkdir()
        with (folder / "texts.jsonl").open("w") as file:
            for document in many_documents(number):
                row = {"turns": document.turns} if document.turns else {"text": document.text}
                file.write(json.dumps(row) + "\n")
        recipe = make_recipe(corpus=[{"folder": str(folder)}])
        shards.prepare(make_recipe(), house, silent)  # imports are done before memory is measured
        tracemalloc.start()
        try:
            prepared = shards.prepare(recipe, house, silent)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert prepared.card["documents"] + prepared.card["heldout_documents"] == number
    assert peaks[1] < 1.3 * peaks[0]


def test_a_spool_gives_back_what_was_put_into_it(tmp_path: Path) -> None:
    documents = [*many_documents(300), Document("\ud800 half of a character"), Document("two\nlines\u2028")]
    spooled = spool.Spool(tmp_path / "documents.jsonl")
    with spooled.path.open("wb") as file:
        for document in documents:
            spooled.add(document, file)
    spooled.split()
    train, heldout = list(spooled.train()), list(spooled.heldout())
    assert train == [document for document in documents if not document.held_out]
    assert heldout == sorted((d for d in documents if d.held_out), key=lambda d: d.digest)
    assert spooled.train_documents == len(train)
    assert list(spooled.sample(spooled.characters)) == train
    assert list(spooled.sample(spooled.characters // 3)) in (train[::3], train[::4])


@pytest.mark.parametrize("held_out", [False, True])
def test_there_is_always_something_to_learn_and_something_held_out(tmp_path: Path, held_out: bool) -> None:
    texts = [f"text {number}" for number in range(2000)]
    few = [d for d in map(Document, texts) if d.held_out is held_out][:3]
    spooled = spool.Spool(tmp_path / "documents.jsonl")
    with spooled.path.open("wb") as file:
        for document in few:
            spooled.add(document, file)
    spooled.split()
    train, heldout = list(spooled.train()), list(spooled.heldout())
    assert len(heldout if not held_out else train) == 1
    assert sorted(train + heldout) == sorted(few)


def test_conversations_are_read_when_they_are_asked_for(raised: House, make_recipe: MakeRecipe) -> None:
    prepared = shards.prepare(make_recipe(), raised, silent)
    talks = shards.conversations(prepared)
    lines = (prepared.folder / "chat.jsonl").read_text("utf-8").splitlines()
    assert len(talks.documents) == len(lines) == prepared.card["conversations"] > 100
    for number in (0, 7, len(lines) - 1, -1):
        assert [list(turn) for turn in talks.documents[number].turns] == json.loads(lines[number])
    assert list(talks.documents[3:5]) == [talks.documents[3], talks.documents[4]]
    with pytest.raises(IndexError):
        talks.documents[len(lines)]
    assert len(talks.tokens) == len(lines)
    assert 20 < np.median(talks.tokens) < 200


def test_conversations_that_are_cut_off_are_named(raised_copy: House, make_recipe: MakeRecipe) -> None:
    prepared = shards.prepare(make_recipe(), raised_copy, silent)
    path = prepared.folder / "chat.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(CorpusError, match="is damaged: conversations are missing"):
        shards.conversations(prepared)


def test_a_system_message_is_no_persons_line_and_alone_no_conversation(
    tmp_path: Path, house: House, make_recipe: MakeRecipe
) -> None:
    told = {"role": "system", "content": "They meet."}
    rows = [{"messages": [told]}]
    rows += [{"messages": [told, {"role": "user", "content": f"Hi, {n} " * 20}]} for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    prepared = shards.prepare(make_recipe(corpus=[{"folder": str(tmp_path)}]), house, silent)
    assert prepared.card["conversations"] < prepared.card["documents"] + prepared.card["heldout_documents"]
    text = prepared.tokenizer.decode(prepared.train[:40].tolist(), skip_special_tokens=True)
    assert text.startswith("They meet.\n")


class Hub(BaseHTTPRequestHandler):
    """Says of any data set which commit a revision is, as huggingface.co does."""

    def do_GET(self) -> None:
        name, _, revision = self.path.removeprefix("/api/datasets/").partition("/revision/")
        body = json.dumps({"id": name, "sha": COMMIT if revision in ("main", "") else None}).encode()
        self.send_response(200 if revision in ("main", "") else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_commit_of_a_data_set_is_recorded(hub: str) -> None:
    code = (
        "from training import corpus; from training.recipe import Source; import sys\n"
        "for revision in ('', 'main', 'gone'):\n"
        "    print(corpus.pinned(Source(hub='someone/stories', revision=revision)).revision, flush=True)\n"
    )
    env = os.environ | {"HF_ENDPOINT": hub, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.split() == [COMMIT, COMMIT]
    assert "the data set someone/stories@gone cannot be read" in done.stderr


def test_a_commit_or_a_folder_is_not_asked_for(tmp_path: Path) -> None:
    for source in (Source(hub="someone/stories", revision=COMMIT), Source(hub=str(tmp_path))):
        assert corpus.pinned(source) == source
