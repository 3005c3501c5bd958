"""A persona's colour, made readable on light and on dark paper."""

from __future__ import annotations

import re
from typing import NamedTuple

LIGHT_PAPER = "#fbf8f2"
DARK_PAPER = "#191613"
READABLE = 4.5
"""Contrast that WCAG 2.2 asks of text (level AA)."""


class Ink(NamedTuple):
    """One colour as #rrggbb for light paper and for dark."""

    light: str
    dark: str


def make_ink(color: str) -> Ink | None:
    """Return the two shades of a CSS colour name or #rrggbb; None for what is neither.

    The colour is mixed with black (on light paper) or with white until it contrasts enough, so its hue stays.
    """
    rgb = _parse(color)
    if rgb is None:
        return None
    return Ink(
        light=_until_readable(rgb, (0, 0, 0), LIGHT_PAPER),
        dark=_until_readable(rgb, (255, 255, 255), DARK_PAPER),
    )


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two #rrggbb colours, 1 to 21, as WCAG 2.2 defines it."""
    a, b = sorted((_luminance(_hex(one)), _luminance(_hex(other))))
    return (b + 0.05) / (a + 0.05)


RGB = tuple[int, int, int]


def _parse(color: str) -> RGB | None:
    from prompt_toolkit.styles.named_colors import NAMED_COLORS

    by_name = {name.lower(): value for name, value in NAMED_COLORS.items()}
    color = by_name.get(color.strip().lower(), color.strip())
    if short := re.fullmatch(r"#([0-9a-fA-F])([0-9a-fA-F])([0-9a-fA-F])", color):
        color = f"#{short[1] * 2}{short[2] * 2}{short[3] * 2}"
    return _hex(color) if re.fullmatch(r"#[0-9a-fA-F]{6}", color) else None


def _hex(color: str) -> RGB:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _until_readable(rgb: RGB, towards: RGB, paper: str) -> str:
    for part in range(21):
        share = part / 20
        mixed = [round(a + (b - a) * share) for a, b in zip(rgb, towards, strict=True)]
        color = "#{:02x}{:02x}{:02x}".format(*mixed)
        if contrast(color, paper) >= READABLE:
            return color
    raise AssertionError(f"black and white contrast with every paper, but not with {paper}")


def _luminance(rgb: RGB) -> float:
    red, green, blue = (
        value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
        for value in (part / 255 for part in rgb)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
