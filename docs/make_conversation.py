"""Draw a scene from a home's memory as a picture: who spoke, at which age, and what was said.

    SELVES_HOME=home python docs/make_conversation.py 1                          the scene with this id
    SELVES_HOME=home python docs/make_conversation.py 1 --lines 8 --out x.svg    its first eight lines

No line is changed or cut. Lines of people are not drawn, since what they allowed is not asked here.
"""

from __future__ import annotations

import asyncio
import unicodedata
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from memory.show import visible
from memory.store import open_store
from memory.types import Checkpoint
from selves.cast import load_cast
from selves.files import write_file
from selves.settings import House

PICTURE = Path(__file__).with_name("images") / "conversation.svg"
WIDTH, MARGIN, LEFT = 880, 28, 88
LINE, HEAD, GAP = 22, 20, 18
TEXT_WIDTH = WIDTH - LEFT - MARGIN - 32
FONT_SIZE = 15
PAPER, BUBBLE, INK, FAINT = "#fbfaf6", "#f1eee6", "#24221f", "#857f74"
NARROW, BROAD = set("iljtfrI.,:;'!|()[] "), set("mwMW@%—…")


class Said(NamedTuple):
    """One line of the picture."""

    name: str
    about: str
    """Which age it is."""
    color: str
    text: str


def width_of(text: str) -> float:
    """Return about how broad a text is, rather too much than too little: fonts differ."""
    units = 0.0
    for letter in text:
        if unicodedata.east_asian_width(letter) in "WF":
            units += 1.05
        elif letter in NARROW:
            units += 0.36
        elif letter in BROAD or letter.isupper():
            units += 0.86
        else:
            units += 0.63
    return units * FONT_SIZE


def wrap(text: str, width: float = TEXT_WIDTH) -> list[str]:
    """Cut a text into lines that fit; a word that is too long for any line is cut too."""
    lines, line = [], ""
    for word in text.split():
        while width_of(word) > width:
            cut = next(n for n in range(len(word), 0, -1) if width_of(word[:n]) <= width or n == 1)
            lines += [line] if line else []
            lines.append(word[:cut])
            line, word = "", word[cut:]
        longer = f"{line} {word}" if line else word
        if width_of(longer) > width:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line] if line or not lines else lines


def draw(title: str, premise: str, said: Sequence[Said]) -> str:
    """Return the picture as SVG."""
    parts, y = [], MARGIN + 18
    parts.append(f'<text x="{MARGIN}" y="{y}" class="title">{escape(title)}</text>')
    for line in wrap(premise, WIDTH - 2 * MARGIN) if premise else []:
        y += LINE
        parts.append(f'<text x="{MARGIN}" y="{y}" class="about">{escape(line)}</text>')
    y += GAP
    for each in said:
        lines = wrap(each.text)
        height = len(lines) * LINE + 16
        broad = max(width_of(line) for line in lines) + 32
        parts += [
            f'<text x="{LEFT}" y="{y + 14}"><tspan class="name">{escape(each.name)}</tspan>'
            f'<tspan class="about" dx="8">{escape(each.about)}</tspan></text>',
            f'<circle cx="{MARGIN + 22}" cy="{y + HEAD + 21}" r="22" fill="{escape(each.color)}"/>',
            f'<text x="{MARGIN + 22}" y="{y + HEAD + 27}" class="letter">{escape(each.name[:2])}</text>',
            f'<rect x="{LEFT}" y="{y + HEAD + 2}" width="{broad:.0f}" height="{height}" rx="12"/>',
        ]
        parts += [
            f'<text x="{LEFT + 16}" y="{y + HEAD + 25 + n * LINE}">{escape(line)}</text>'
            for n, line in enumerate(lines)
        ]
        y += HEAD + max(height, 44) + GAP
    height = y + MARGIN - GAP
    spoken = escape(" ".join(f"{each.name}: {each.text}" for each in said))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" font-family="Helvetica, Arial, sans-serif" font-size="{FONT_SIZE}">',
            f"<title>{escape(title)}</title>",
            f"<desc>{spoken}</desc>",
            f"<style>text{{fill:{INK}}}.title{{font-size:20px;font-weight:bold}}.name{{font-weight:bold}}"
            f".about{{fill:{FAINT};font-size:13px}}rect{{fill:{BUBBLE}}}"
            ".letter{fill:#fff;font-size:17px;font-weight:bold;text-anchor:middle}</style>",
            f'<rect width="{WIDTH}" height="{height}" rx="14" style="fill:{PAPER};stroke:#ddd7ca"/>',
            *parts,
            "</svg>",
            "",
        ]
    )


def about(address: str | None, checkpoints: Mapping[str, Checkpoint]) -> str:
    """Return which age this is, in words."""
    if address is None:
        return "opens the scene"
    known = checkpoints.get(address)
    if known is None:
        return address
    if known.card.origin == "imported":
        return f"{address}, {known.card.parameters / 1e6:.0f} million parameters, raised elsewhere"
    read = known.card.tokens_seen
    return f"{address}, {f'{read:,} tokens read' if read else 'random weights'}"


async def make(scene_id: int, most: int) -> str:
    """Read a scene from this house's memory and draw it. Raises SelvesError."""
    house = House.from_environment()
    colors = {p.name: p.color for p in load_cast(house.cast_path).persona} if house.cast_path.exists() else {}
    async with open_store(house.database_url, create=False) as store:
        scene = await store.scene(scene_id)
        messages = [m for m in await store.messages(scene_id) if m.text and not m.human]
        checkpoints = {c.address: c for c in await store.checkpoints()}
    said = [
        Said(m.speaker, about(m.address, checkpoints), colors.get(m.speaker, FAINT), visible(m.text))
        for m in messages[:most]
    ]
    return draw(scene.name.replace("-", " ").capitalize(), scene.spec.premise, said)


def main() -> None:
    parser = ArgumentParser(description="Draw a scene from this house's memory.")
    parser.add_argument("scene", type=int, help="its id; `selves memory scenes` lists them")
    parser.add_argument("--lines", type=int, default=12, help="at most so many, the first (default: 12)")
    parser.add_argument("--out", type=Path, default=PICTURE)
    options = parser.parse_args()
    write_file(options.out, asyncio.run(make(options.scene, options.lines)))


if __name__ == "__main__":
    main()
