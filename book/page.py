"""A life as one HTML file: text, style and pictures in it, and nothing asked of anybody else."""

from __future__ import annotations

from datetime import UTC, datetime

from jinja2 import Environment, PackageLoader, StrictUndefined

from book.colour import DARK_PAPER, LIGHT_PAPER
from book.life import Life
from book.passage import passage
from memory.show import visible


def render_page(life: Life) -> str:
    """Return the page as HTML. What selves wrote appears as text whatever it contains."""
    return render("page.html", life=life)


def render(template: str, **what: object) -> str:
    """Return a page made by a template of this room."""
    environment = Environment(
        loader=PackageLoader("book"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        passage=passage, visible=visible, many=many, few=few, thin=thin, date=date, bits=bits, share=share
    )
    return environment.get_template(template).render(**what, light_paper=LIGHT_PAPER, dark_paper=DARK_PAPER)


def many(number: int) -> str:
    """Return a number as people say it: 950, 12.4 thousand, 1.33 million."""
    for size, name in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (10**4, "thousand")):
        unit = 10**3 if name == "thousand" else size
        if number >= size:
            return f"{number / unit:.3g} {name}"
    return thin(number)


def few(number: int) -> str:
    """Return a number in few characters: 950, 12.4k, 1.33M."""
    for size, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return str(number)


def thin(number: int) -> str:
    """Return a number with thin spaces between its thousands."""
    return f"{number:,}".replace(",", "\u2009")


def date(moment: datetime) -> str:
    """Return `22 November 2026, 21:05 UTC`."""
    return f"{moment.astimezone(UTC):%-d %B %Y, %H:%M} UTC"


def share(value: float) -> str:
    """Return a share as percent, without the sign."""
    return f"{value * 100:.0f}"


def bits(bits_per_byte: float | None) -> str:
    """Return bits per byte with two decimals, a dash when they are not known."""
    return "–" if bits_per_byte is None else f"{bits_per_byte:.2f}"
