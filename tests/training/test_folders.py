"""A folder of one's own texts: every kind of file, of any size; whatever is wrong with one is named."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from selves.errors import CorpusError, UsageError
from selves.settings import House
from training import corpus, shards
from training.documents import PASSAGE_CHARACTERS, Document, Turn, cut, passages
from training.recipe import Recipe, Source

MakeRecipe = Callable[..., Recipe]


def read(source: Source, house: House) -> list[Document]:
    return list(corpus.read(source, house))


def test_a_parquet_file_is_read_row_by_row(tmp_path: Path, house: House) -> None:
    stories = [f"Story {number}." for number in range(700)]
    table = pyarrow.table({"id": range(700), "story": stories})
    parquet.write_table(table, tmp_path / "stories.parquet", row_group_size=100)
    found = read(Source(folder=str(tmp_path), field="story"), house)
    assert [document.text for document in found] == stories


def test_a_parquet_file_may_hold_conversations(tmp_path: Path, house: House) -> None:
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    rows = [{"text": "not this", "messages": messages}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    parquet.write_table(
        pyarrow.Table.from_pylist([{"turns": [["x", "hi"], ["y", "ho"]]}]), tmp_path / "b.parquet"
    )
    parquet.write_table(pyarrow.Table.from_pylist([{"chat": messages}]), tmp_path / "c.parquet")
    found = read(Source(folder=str(tmp_path), field="chat"), house)
    spoken = (Turn("user", "Q"), Turn("assistant", "A"))
    assert [document.turns for document in found] == [spoken, (Turn("x", "hi"), Turn("y", "ho")), spoken]


def test_compressed_texts_are_read_as_texts(tmp_path: Path, house: House) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("One.\r\nTwo.".encode("utf-8-sig")))
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "Three."}\n'))
    (tmp_path / "archive.tar.gz").write_bytes(b"not for us")
    assert [document.text for document in read(Source(folder=str(tmp_path)), house)] == [
        "One.\nTwo.",
        "Three.",
    ]


def test_what_a_message_has_besides_text_is_left_out(tmp_path: Path, house: House) -> None:
    parts = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": "x"}}]
    row = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "I see"}]}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row), "utf-8")
    assert read(Source(folder=str(tmp_path)), house)[0].turns[0] == Turn("user", "Look")


def test_a_line_of_json_may_hold_any_character(tmp_path: Path, house: House) -> None:
    text = "one\u2028two\x85three"
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": text}, ensure_ascii=False), "utf-8")
    assert read(Source(folder=str(tmp_path)), house) == [Document(text)]


def broken_parquet() -> bytes:
    table = pyarrow.table({"text": ["a" * 1000] * 10})
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(table, sink)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("late.txt", b"fine\n" * 9999 + b"caf\xe9\n", r"late\.txt is not UTF-8: byte 49998 "),
        ("late.jsonl", b'{"text": "fine"}\n{"text": "caf\xe9"}\n', r"late\.jsonl is not UTF-8: byte 30 "),
        ("late.txt.gz", gzip.compress(b"caf\xe9", mtime=0), r"late\.txt\.gz is not UTF-8: byte 3 "),
        ("cut.txt.gz", gzip.compress(b"fine " * 999, mtime=0)[:-20], r"cut\.txt\.gz cannot be read: "),
        ("no.md.gz", b"not gzip", r"no\.md\.gz cannot be read: Not a gzipped file"),
        ("cut.parquet", broken_parquet()[:-20], r"cut\.parquet is no whole parquet file"),
        (
            "hole.parquet",
            broken_parquet()[:40] + bytes(40) + broken_parquet()[80:],
            r"hole\.parquet cannot be read: Corrupt",
        ),
        ("none.parquet", b"", r"none\.parquet is no whole parquet file"),
        (
            "rows.jsonl",
            b'{"messages": [{"role": "user"}]}',
            r"rows\.jsonl:1: 'messages' is no conversation: Key",
        ),
        ("rows.jsonl", b'{"messages": [{"role": "assistant", "content": null}]}', "says is NoneType"),
        (
            "rows.jsonl",
            b'{"turns": ["Hi"]}',
            r"rows\.jsonl:1: 'turns' is no conversation: .*'Hi' has no speaker",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_named(
    tmp_path: Path, house: House, make_recipe: MakeRecipe, name: str, content: bytes, complaint: str
) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "z.txt").write_text("A text that is as it should be.", "utf-8")
    with pytest.raises(CorpusError, match=complaint) as caught:
        shards.prepare(make_recipe(corpus=[{"folder": str(tmp_path)}]), house, lambda _: None)
    assert caught.value.fix
    assert list(house.corpora.iterdir()) == []


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, house: House) -> None:
    parquet.write_table(pyarrow.table({"story": ["a"], "id": [1]}), tmp_path / "stories.parquet")
    with pytest.raises(CorpusError, match=r"stories\.parquet: no field 'text' in story, id"):
        read(Source(folder=str(tmp_path)), house)
    with pytest.raises(CorpusError, match=r"stories\.parquet row 1: 'id' is int, not text"):
        read(Source(folder=str(tmp_path), field="id"), house)


@pytest.fixture(autouse=True)
def same_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where modules are found is put back after each test."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@contextmanager
def nobody() -> Iterator[None]:
    """Be a user who may not read everything; root may."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("closed", ["shut", "shut/a.txt"])
def test_what_one_may_not_read_is_named(
    tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    texts = tmp_path / "texts"
    (texts / "shut").mkdir(parents=True)
    (texts / "shut" / "a.txt").write_text("A secret.", "utf-8")
    (texts / "b.txt").write_text("None.", "utf-8")
    tmp_path.chmod(0o755)
    monkeypatch.chdir(texts)  # the folders above may not be open to nobody
    source, path = Source(folder="."), texts / closed
    path.chmod(0)
    try:
        for look in (read, corpus.fingerprint):
            with nobody(), pytest.raises(CorpusError, match=f"{closed} cannot be read: Permission denied"):
                look(source, house)
    finally:
        path.chmod(0o755)


@pytest.mark.parametrize("content", ["", " \n\t\n", "\ufeff"])
def test_files_without_a_word_are_no_corpus(
    tmp_path: Path, house: House, make_recipe: MakeRecipe, content: str
) -> None:
    for name in ("a.txt", "b.md", "c.jsonl"):
        (tmp_path / name).write_text(content, "utf-8")
    with pytest.raises(CorpusError, match="has no text in it"):
        shards.prepare(make_recipe(corpus=[{"folder": str(tmp_path)}]), house, lambda _: None)
    assert list(house.corpora.iterdir()) == []


def test_an_empty_folder_is_no_corpus(tmp_path: Path, house: House) -> None:
    with pytest.raises(CorpusError, match="has no text in it"):
        read(Source(folder=str(tmp_path)), house)


def test_a_text_is_cut_the_same_whether_it_is_in_memory_or_comes_line_by_line() -> None:
    lines = ["\n", "\n", "x" * 7000 + "\n", "\n", "\n", "y\n", "\n", "z" * PASSAGE_CHARACTERS]
    found = [document.text for document in passages(lines)]
    assert found == [document.text for document in cut(Document("".join(lines)))]
    assert [len(text) for text in found] == [6000, 1001 + 1 + 2, 6000]


def test_the_function_of_a_person_is_found_where_they_are(
    tmp_path: Path, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example is the one that the documentation of `training.corpus` gives."""
    before, _, example = (corpus.__doc__ or "").partition("    import csv\n")
    assert "`my_texts.py`" in before
    code = "    import csv\n" + example.partition("and in the recipe:")[0]
    (tmp_path / "my_texts.py").write_text("\n".join(line[4:] for line in code.splitlines()), "utf-8")
    letters = 'from,letter,to,answer\nAda,Are you well?,Ben,"Yes, I am."\nAda,Nobody answers this.,,\n'
    (tmp_path / "letters.csv").write_text(letters, "utf-8")
    monkeypatch.chdir(tmp_path)
    assert read(Source(function="my_texts:documents"), house) == [
        Document(turns=(Turn("Ada", "Are you well?"), Turn("Ben", "Yes, I am."))),
        Document("Nobody answers this."),
    ]


@pytest.mark.parametrize(
    ("name", "body", "error", "complaint"),
    [
        (
            "raises",
            "def documents():\n    yield 'one'\n    raise KeyError('two')",
            CorpusError,
            "after 1 documents: Key",
        ),
        (
            "returns",
            "def documents():\n    return 3",
            CorpusError,
            "returns:documents failed after 0 documents: Type",
        ),
        ("typo", "def documents(:", UsageError, "typo:documents cannot be imported: SyntaxError"),
        ("fails", "1 / 0", UsageError, "fails:documents cannot be imported: ZeroDivisionError"),
        ("value", "documents = 3", UsageError, "value:documents is int, not a function"),
    ],
)
def test_a_function_that_goes_wrong_is_named(
    tmp_path: Path,
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    make_recipe: MakeRecipe,
    name: str,
    body: str,
    error: type[Exception],
    complaint: str,
) -> None:
    (tmp_path / f"wrong_{name}.py").write_text(body + "\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=complaint):
        shards.prepare(make_recipe(corpus=[{"function": f"wrong_{name}:documents"}]), house, lambda _: None)
    assert not house.corpora.exists() or list(house.corpora.iterdir()) == []
