"""A manuscript as Markdown (pure), for cards on the Hub: every word a self said stands as text."""

from __future__ import annotations

from collections.abc import Iterator

from book.manuscript import Alone, Chapter, Columns, Facsimile, Item, Manuscript, Passage, Played, Prose
from book.passage import Runs, plain
from selves.markdown import block, inline


def title_page(manuscript: Manuscript, page: str) -> str:
    """Return title, contents and the whole text. `page` is where the repository is on the Hub."""
    contents = []
    for number, chapter in enumerate(manuscript.chapters, 1):
        name = f"{number}. {_inline(chapter.title)}"
        if chapter.opener is not None:
            name += f" ([`{chapter.opener.age}`]({page}/tree/{chapter.opener.age}))"
        contents.append(name)
    figures = manuscript.figures
    said = [f"{figures.passages:,} passages"]
    if figures.contribution is not None:
        said.append(f"{figures.contribution:.0%} of the characters are the selves' own")
    if figures.selectivity_bits is not None:
        said.append(f"selectivity {figures.selectivity_bits:.1f} bits")
    parts = [
        f"# {_inline(manuscript.title)}",
        f"*{_inline(manuscript.subtitle)}*" if plain(manuscript.subtitle) else "",
        _inline(manuscript.author),
        f"Edition {inline(manuscript.edition)}, {manuscript.date:%Y-%m-%d}: {'; '.join(said)}.",
        "## Contents\n\n" + "\n".join(contents),
        *(chapter_text(chapter, number) for number, chapter in enumerate(manuscript.chapters, 1)),
        _inline(manuscript.rule),
    ]
    return "\n\n".join(filter(None, parts))


def chapter_text(chapter: Chapter, number: int) -> str:
    """Return one chapter."""
    parts = [f"## {number}. {_inline(chapter.title)}"]
    if opener := chapter.opener:
        measured = f" · {opener.bits_per_byte:.2f} bits per byte" if opener.bits_per_byte is not None else ""
        parts.append(f"`{opener.address}` · {opener.tokens_seen:,} tokens{measured}")
    for item in chapter.items:
        parts += _item(item)
    return "\n\n".join(filter(None, parts))


def _item(item: Item) -> Iterator[str]:
    match item:
        case Prose():
            yield "\n\n".join(inline(part) for part in plain(item.text).split("\n\n"))
        case Alone():
            yield _passage(item.passage)
        case Facsimile():
            yield _passage(item.passage)
            if item.siblings:
                yield "*not chosen:*"
            for sibling in item.siblings:
                yield _passage(sibling)
        case Columns():
            yield f"**{_inline(item.given)}**"
            for passage in item.passages:
                yield _passage(passage, named=passage.source.address)
        case Played():
            yield f"### {_inline(item.title)}"
            if premise := _inline(item.premise):
                yield f"*{premise}*"
            for line in item.lines:
                yield f"**{inline(line.label)}**<sup>{line.source.message_id or ''}</sup>\n\n{_words(line)}"
            if item.ending:
                yield f"*{inline(item.ending)}*"


def _passage(passage: Passage, named: str | None = None) -> str:
    given = _inline(passage.given)
    lead = f"{inline(named or passage.label)}" + (f": {given}" if given and not named else "")
    note = f"\n\n{_inline(passage.note)}" if passage.note else ""
    return f"**{lead}**\n\n{_words(passage)}\n\n{_colophon(passage)}{note}"


def _words(passage: Passage) -> str:
    return block(plain(passage.text))


def _colophon(passage: Passage) -> str:
    source = passage.source
    said = [source.address or source.origin]
    if "seed" in source.sampling:
        said.append(f"seed {source.sampling['seed']}")
    if source.message_id is not None:
        said.append(f"message {source.message_id}")
    said.append(f"sha256 {source.text_sha256[:12]}")
    if source.drawn > 1:
        said.append(f"one of {source.drawn}")
    if source.edited:
        said.append("edited by the author")
    return f"<sub>{inline(' · '.join(said))}</sub>"


def _inline(runs: Runs) -> str:
    return inline(plain(runs))
