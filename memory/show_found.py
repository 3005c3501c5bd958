"""How what was found and what was picked look in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from memory.curate import Pick, Picked
from memory.figures import Figures
from memory.search import Hit, Page
from memory.show import Styles, style_of, visible
from memory.types import Scene


def print_page(console: Console, page: Page, colors: Styles) -> None:
    """Write what was found: which message it is, who spoke, and the words around what was looked for."""
    if not page.hits:
        _line(console, "nothing was found")
    for hit in page.hits:
        _print_hit(console, hit, colors)


def _print_hit(console: Console, hit: Hit, colors: Styles) -> None:
    found, name = hit.found, name_of(hit.found.message_id, hit.found.generation_id)
    speaker = visible(found.speaker or found.address or "somebody")
    if not console.is_terminal:
        alike = f"\t(and {len(hit.alike)} like it)" if hit.alike else ""
        _line(console, f"{name}\t{speaker}: {visible(hit.snippet.text)}{alike}")
        return
    style = style_of(colors[speaker]) if speaker in colors else "bold"
    about = [f"{found.at:%Y-%m-%d %H:%M}", found.kind if found.kind != "line" else f"scene {found.scene_id}"]
    if found.address and found.speaker:
        about.append(found.address)
    about += [f"{score} {value:.2f}" for score, value in hit.scores.items()]
    if hit.alike:
        about.append(f"and {len(hit.alike)} like it")
    console.print(Text.assemble((f"{name:>8}  ", "dim"), (speaker, style), (f"  {' · '.join(about)}", "dim")))
    console.print(Padding(_marked(hit), (0, 0, 1, 10)))


def _marked(hit: Hit) -> Text:
    """The snippet with what was looked for underlined, made visible piece by piece."""
    text, at = Text(), 0
    for start, end in hit.snippet.marks:
        if start >= at:
            text.append(visible(hit.snippet.text[at:start]))
            text.append(visible(hit.snippet.text[start:end]), style="bold underline")
            at = end
    return text.append(visible(hit.snippet.text[at:]))


def print_pick(console: Console, pick: Pick) -> None:
    """Write that a pick was made, or ended."""
    what = pick.kind if pick.retracts is None else f"{pick.kind} of pick {pick.retracts}"
    _line(console, f"pick {pick.id}: {what} on {name_of(pick.message_id, pick.generation_id)}")


def print_picks(console: Console, picked: Sequence[Picked]) -> None:
    """Write picks, each with its number, what it says and the text it is about."""
    if not picked:
        _line(console, "nothing was picked yet; `selves memory pick MESSAGE` does that")
    for one in picked:
        pick = one.pick
        says = pick.kind if pick.value is None else f"{pick.kind} {visible(pick.value)}"
        where = name_of(pick.message_id, pick.generation_id)
        speaker = visible(one.speaker or one.address or "somebody")
        text = visible(one.text) if one.intact else "[changed or erased since it was quoted]"
        _line(console, f"{pick.id}\t{says}\t{where}\t{speaker}: {text}\t({figures_in_words(one.figures)})")


def print_figures(console: Console, scene: Scene, figures: Figures) -> None:
    """Write a scene's figures in one line."""
    _line(console, f"scene {scene.id}, {scene.name}: {figures_in_words(figures)}")


def figures_in_words(figures: Figures) -> str:
    """Return both figures as they may be printed under a text."""
    share = figures.contribution
    wrote = "no words" if share is None else f"{share:.0%} by a model"
    if figures.selectivity_bits is None:
        return wrote
    return f"{wrote}, {figures.published} of {figures.generated} drawn: {figures.selectivity_bits:.1f} bits"


def name_of(message_id: int | None, generation_id: int | None) -> str:
    """Return how a text is named on the command line: `42` is a message, `g7` a sample that became none."""
    return f"{message_id}" if message_id is not None else f"g{generation_id}"


def _line(console: Console, text: str) -> None:
    console.file.write(f"{text}\n")
