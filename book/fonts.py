"""Typefaces that an author lays beside the outline, for languages that those inside typst do not have.

All that is read of a typeface is which characters it has (its `cmap` table), so that the rest can be named.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from selves.errors import UsageError

FONTS_FOLDER = "fonts"
"""The folder beside the outline."""
_ENDINGS = (".ttf", ".otf", ".ttc", ".otc")


def letters_of(folder: Path) -> frozenset[str]:
    """Return every character that some typeface in a folder has; none if there is no such folder.

    Raises UsageError naming the file that is no typeface.
    """
    found: set[str] = set()
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    for path in paths:
        if path.suffix.lower() in _ENDINGS:
            try:
                found.update(map(chr, codes_of(path.read_bytes())))
            except (struct.error, ValueError, IndexError) as error:
                raise UsageError(
                    f"{path} is no typeface that can be read ({error})", "use TrueType or OpenType files"
                ) from error
    return frozenset(found)


def codes_of(data: bytes) -> Iterator[int]:
    """Yield the code points that a font file has; of a collection, those of its first typeface."""
    start = struct.unpack_from(">I", data, 12)[0] if data[:4] == b"ttcf" else 0
    kind, tables = struct.unpack_from(">4sH", data, start)
    if kind not in (b"\x00\x01\x00\x00", b"OTTO", b"true"):
        raise ValueError("it does not begin as one")
    for number in range(tables):
        name, _, offset, _ = struct.unpack_from(">4sIII", data, start + 12 + 16 * number)
        if name == b"cmap":
            yield from _codes(data, offset)


def _codes(data: bytes, cmap: int) -> Iterator[int]:
    (count,) = struct.unpack_from(">H", data, cmap + 2)
    for number in range(count):
        platform, _, offset = struct.unpack_from(">HHI", data, cmap + 4 + 8 * number)
        (form,) = struct.unpack_from(">H", data, cmap + offset)
        if platform in (0, 3) and form == 4:
            yield from _segments(data, cmap + offset)
        elif platform in (0, 3) and form == 12:
            (groups,) = struct.unpack_from(">I", data, cmap + offset + 12)
            for group in range(groups):
                first, last, _ = struct.unpack_from(">III", data, cmap + offset + 16 + 12 * group)
                yield from (code for code in range(first, min(last, 0x10FFFF) + 1))


def _segments(data: bytes, table: int) -> Iterator[int]:
    (twice,) = struct.unpack_from(">H", data, table + 6)
    ends, starts = table + 14, table + 16 + twice
    for at in range(0, twice, 2):
        (end,), (start,) = (
            struct.unpack_from(">H", data, ends + at),
            struct.unpack_from(">H", data, starts + at),
        )
        (delta,) = struct.unpack_from(">h", data, starts + twice + at)
        place = starts + 2 * twice + at
        (reach,) = struct.unpack_from(">H", data, place)
        for code in range(start, min(end, 0xFFFE) + 1):
            glyph = code + delta
            if reach:
                (glyph,) = struct.unpack_from(">H", data, place + reach + 2 * (code - start))
            if glyph & 0xFFFF:
                yield code
