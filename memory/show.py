"""How kept things look in a terminal and in JSON.

What a model or a person wrote is shown, never obeyed: characters that would move the cursor, hide text or
turn its direction are written out.
"""

from __future__ import annotations

import dataclasses
import json
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel
from rich.color import Color, ColorParseError
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.style import Style
from rich.table import Table
from rich.text import Text

from memory.types import Generation, Message, Provenance, Scene, Stats, StoredWriting

Styles = Mapping[str, str]
"""Speaker -> colour, as the cast file has it."""

_JOINER = "\u200d"
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")


def make_console() -> Console:
    """Return a console that shows text as it is: no markup, no emoji names, no guessing at numbers."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=False)


def visible(text: str) -> str:
    r"""Return a text that can do nothing to a terminal: what is not seen is written out, as in `\x1b`.

    Line breaks stay, tabs become spaces, and the joiner inside emoji stays.
    """
    return "".join(
        letter
        if letter in ("\n", _JOINER) or unicodedata.category(letter) not in _HIDDEN
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text.replace("\t", "    ")
    )


def to_json(value: Any) -> str:
    """Return a value of this room as JSON in plain ASCII: times in ISO 8601, snowflakes as strings."""
    return json.dumps(_plain(value), indent=2)


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case BaseModel():
            return {name: _plain(getattr(value, name)) for name in type(value).model_fields}
        case Mapping():
            return {str(key): _plain(item) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _ if dataclasses.is_dataclass(value):
            fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
            for name in ("platform_id", "thread_id"):
                if fields.get(name) is not None:
                    # larger than what JavaScript's numbers hold
                    fields[name] = str(fields[name])
            return fields
        case _:
            return value


def style_of(color: str) -> Style:
    """Turn a CSS colour name or #rrggbb into a bold style; an unknown colour is just bold."""
    from prompt_toolkit.styles.named_colors import NAMED_COLORS

    by_name = {name.lower(): value for name, value in NAMED_COLORS.items()}
    try:
        return Style(color=Color.parse(by_name.get(color.lower(), color.lower())), bold=True)
    except ColorParseError:
        return Style(bold=True)


_ERASED = {
    "deleted": "[deleted]",
    "expired": "[a person's words, erased after their time]",
    "forgotten": "[erased, because somebody asked to be forgotten]",
}
UNPOSTED = {"pending": "not posted yet", "undelivered": "refused by Discord, never posted"}
"""What is said of lines that stand nowhere, by status."""


def words_of(message: Message) -> str:
    """Return a message's text, or in brackets why it has none."""
    if message.shut:
        return "[a person's words, whose key is not here]"
    return visible(message.text) or _ERASED.get(message.status, "")


def print_transcript(console: Console, scene: Scene, messages: Sequence[Message], colors: Styles) -> None:
    """Write a scene: who is who, then each line with its message id, then why it ended."""
    who, changes = _weights_of(messages)
    ending = f"ended: {scene.stop_reason}" if scene.status == "ended" else "not ended yet"
    about = f"scene {scene.id}, {scene.kind} at {scene.place}, {show_time(scene.started_at)}"
    if not console.is_terminal:
        lines = [f"{scene.name}: {visible(scene.premise)}" if scene.premise else scene.name, about]
        lines += [
            f"  {visible(speaker)} is {', then '.join(addresses)}" for speaker, addresses in who.items()
        ]
        lines.append("")
        for m in messages:
            if m.id in changes:
                lines.append(f"  {visible(m.speaker)} is {m.address} now")
            lines.append(f"{m.id}\t{visible(m.speaker)}: {words_of(m)}")
        write_lines(console, [*lines, "", f"({ending})"])
        return
    width = max((len(visible(m.speaker)) for m in messages), default=0)
    console.print()
    console.print(Padding(Text(scene.name, style="bold"), (0, 2)))
    console.print(Padding(Text(about, style="dim"), (0, 2)))
    if scene.premise:
        console.print(Padding(Text(visible(scene.premise), style="italic"), (0, 2)))
    console.print()
    for speaker, addresses in who.items():
        console.print(_row(width, "", speaker, Text(", then ".join(addresses), style="dim"), colors))
    console.print()
    for message in messages:
        if message.id in changes:
            now = Text(f"is {message.address} now", style="dim")
            console.print(_row(width, "", message.speaker, now, colors))
        text = Text(words_of(message), style="" if message.text else "dim italic")
        if message.status in UNPOSTED:
            text.append(f"  ({UNPOSTED[message.status]})", style="dim")
        console.print(_row(width, str(message.id), message.speaker, text, colors))
    console.print()
    hint = "" if not messages else f" · `selves memory show {messages[-1].id}` tells what made the last line"
    console.print(Padding(Text(f"{ending}{hint}", style="dim"), (0, 2)))


def _weights_of(messages: Sequence[Message]) -> tuple[dict[str, dict[str, None]], set[int]]:
    """Return with which addresses each spoke, in order, and the messages by which one changed."""
    who: dict[str, dict[str, None]] = {}
    last: dict[str, str] = {}
    changes = set()
    for message in messages:
        if message.address:
            if last.get(message.speaker, message.address) != message.address:
                changes.add(message.id)
            last[message.speaker] = message.address
            who.setdefault(message.speaker, {})[message.address] = None
    return who, changes


def _row(width: int, number: str, speaker: str, what: RenderableType, colors: Styles) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=6, justify="right", no_wrap=True)
    grid.add_column(width=width, justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    style = style_of(colors[speaker]) if speaker in colors else Style(bold=True)
    grid.add_row(Text(number, style="dim"), Text(visible(speaker), style=style), what)
    return grid


def print_scenes(console: Console, scenes: Sequence[Scene]) -> None:
    """Write one row a scene."""
    table = make_table("id", "name", "kind", "place", "started", "lines", "stopped by")
    for scene in scenes:
        stopped = visible(scene.stop_reason or "") if scene.status == "ended" else "(open)"
        cells = (
            scene.id,
            scene.name,
            scene.kind,
            scene.place,
            show_time(scene.started_at),
            scene.messages,
            stopped,
        )
        table.add_row(*map(str, cells))
    print_table(console, table, "no scene was played yet")


def print_provenance(console: Console, what: Provenance) -> None:
    """Write what produced a message: enough to say it again."""
    message, generation = what.message, what.generation
    facts = [
        (
            "message",
            f"{message.id}, number {message.sequence} of scene {message.scene_id} ({what.scene.name})",
        ),
        ("speaker", visible(message.speaker)),
        ("text", words_of(message)),
        ("origin", message.origin),
        ("status", f"{message.status}, kept {show_time(message.created_at)}"),
    ]
    if message.platform_id is not None:
        facts.append(("platform id", str(message.platform_id)))
    if generation is None:
        facts.append(("made by", "no self said this"))
    else:
        facts += _generation_facts(generation)
        if what.checkpoint:
            card = what.checkpoint.card
            facts.append(("age", f"{card.parameters:,} parameters, {card.tokens_seen:,} tokens seen"))
        else:
            facts.append(("age", "not registered here; `selves memory register` does that"))
        facts += [
            (f"sibling {g.id}", visible(g.text) + (f" (error: {visible(g.error)})" if g.error else ""))
            for g in what.siblings
        ]
    print_facts(console, facts)


def _generation_facts(generation: Generation) -> list[tuple[str, str]]:
    sampling = ", ".join(f"{name} {value!r}" for name, value in generation.sampling.model_dump().items())
    prompt = generation.prompt
    if prompt is None:
        shown = "erased, because it held a person's words"
    elif prompt.form == "transcript":
        shown = visible(prompt.text)
    else:
        shown = "\n".join(f"{m.role}: {visible(m.content)}" for m in prompt.messages)
    logprob = "" if generation.mean_logprob is None else f", mean logprob {generation.mean_logprob:.4f}"
    return [
        ("generation", f"{generation.id}, turn {generation.turn}"),
        ("address", generation.address),
        ("weights", f"sha256 {generation.weights_sha256}"),
        ("engine", f"{generation.engine} {generation.engine_version}"),
        ("sampling", sampling),
        ("sample", visible(generation.text)),
        ("token ids", " ".join(map(str, generation.token_ids))),
        ("finished", f"{generation.finish_reason}{logprob}, after {generation.duration_s:.2f} s"),
        ("prompt", shown),
        ("prompt sha256", generation.prompt_sha256),
        ("prompt from", ", ".join(f"message {i}" for i in generation.prompt_message_ids) or "no messages"),
    ]


def print_writings(console: Console, writings: Sequence[StoredWriting]) -> None:
    """Write what selves wrote while they were trained, age by age."""
    if not writings:
        write_lines(console, ["nothing yet; `selves memory register` reads what the ages on disk wrote"])
    address = ""
    for writing in writings:
        text = visible(writing.generation.text.strip())
        kind = f"{writing.kind} to {writing.to}" if writing.to else writing.kind
        if not console.is_terminal:
            write_lines(console, [f"{writing.address}\t{kind}: {text}"])
            continue
        if writing.address != address:
            address = writing.address
            console.print(Text(f"\n{address}", style="bold"))
        console.print(Text(f"  {kind}", style="dim"))
        console.print(Padding(Text(text), (0, 0, 0, 4)))


def print_stats(console: Console, stats: Stats) -> None:
    """Write how much is kept."""
    origins = ", ".join(f"{number} {origin}" for origin, number in stats.by_origin.items())
    print_facts(
        console,
        [
            ("ages", str(stats.ages)),
            ("writings", str(stats.writings)),
            ("scenes", f"{stats.scenes}, {stats.open_scenes} of them open"),
            ("messages", f"{stats.messages}" + (f": {origins}" if origins else "")),
            ("not posted", str(stats.unposted)),
            ("generations", f"{stats.generations}, {stats.candidates} of them candidates"),
            ("people", str(stats.people)),
            ("size", f"{stats.size_bytes / 1e6:.1f} MB"),
        ],
    )


def print_facts(console: Console, facts: Sequence[tuple[str, str]]) -> None:
    """Write one fact a line: its name, and what it is."""
    if not console.is_terminal:
        write_lines(console, [f"{name}: {value}" for name, value in facts])
        return
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts:
        grid.add_row(name, Text(value))
    console.print(grid)


def make_table(*columns: str) -> Table:
    """Return an empty table for `print_table`."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in ("id", "lines") else "left")
    return table


def print_table(console: Console, table: Table, empty: str) -> None:
    """Write a table, tabs between its columns where a program may read it; `empty` when it has no rows."""
    if not table.row_count:
        write_lines(console, [empty])
    elif console.is_terminal:
        console.print(table)
    else:
        header = [str(column.header) for column in table.columns]
        rows = zip(*(column.cells for column in table.columns), strict=True)
        write_lines(console, ["\t".join(header), *("\t".join(map(str, row)) for row in rows)])


def write_lines(console: Console, lines: Sequence[str]) -> None:
    """Write bare lines, never folded: other programs may read them."""
    console.file.write("".join(f"{line}\n" for line in lines))


def show_time(moment: datetime) -> str:
    """Return a moment as people read it, to the minute."""
    return moment.strftime("%Y-%m-%d %H:%M UTC")
