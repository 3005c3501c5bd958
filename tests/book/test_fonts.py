"""Which characters a typeface has is read from the file itself."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from book.fonts import codes_of, letters_of
from book.glyphs import printed
from selves.errors import UsageError


def typeface(*tables: bytes) -> bytes:
    """Return a font file that has nothing but these tables of characters."""
    offset, records, bodies = 4 + 8 * len(tables), b"", b""
    for table in tables:
        records += struct.pack(">HHI", 3, 1, offset + len(bodies))
        bodies += table
    cmap = struct.pack(">HH", 0, len(tables)) + records + bodies
    head = b"\x00\x01\x00\x00" + struct.pack(">HHHH", 1, 16, 0, 0)
    return head + struct.pack(">4sIII", b"cmap", 0, 28, len(cmap)) + cmap


def segments(*ranges: tuple[int, int, int, list[int]]) -> bytes:
    """Return a table of form 4: first, last, delta, and the glyphs where they are listed."""
    ends = b"".join(struct.pack(">H", last) for _, last, _, _ in ranges)
    starts = b"".join(struct.pack(">H", first) for first, _, _, _ in ranges)
    deltas = b"".join(struct.pack(">h", delta) for _, _, delta, _ in ranges)
    reaches, glyphs = b"", b""
    for number, (_, _, _, listed) in enumerate(ranges):
        reaches += struct.pack(">H", 2 * (len(ranges) - number) + len(glyphs) if listed else 0)
        glyphs += b"".join(struct.pack(">H", glyph) for glyph in listed)
    body = ends + b"\0\0" + starts + deltas + reaches + glyphs
    return struct.pack(">HHHHHHH", 4, 14 + len(body), 0, 2 * len(ranges), 0, 0, 0) + body


def groups(*ranges: tuple[int, int]) -> bytes:
    """Return a table of form 12."""
    body = b"".join(struct.pack(">III", first, last, 1) for first, last in ranges)
    return struct.pack(">HHIII", 12, 0, 16 + len(body), 0, len(ranges)) + body


def test_letters_are_read_from_both_forms_of_table() -> None:
    data = typeface(segments((0x41, 0x43, 5, []), (0x4E00, 0x4E02, 0, [7, 0, 9]), (0xFFFF, 0xFFFF, 1, [])))
    assert sorted(codes_of(data)) == [0x41, 0x42, 0x43, 0x4E00, 0x4E02]
    assert sorted(codes_of(typeface(groups((0x1F600, 0x1F602))))) == [0x1F600, 0x1F601, 0x1F602]


def test_what_the_authors_typeface_has_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "mine.ttf").write_bytes(typeface(groups((0x4E00, 0x4E02))))
    (tmp_path / "OFL.txt").write_text("a licence")
    assert printed(("a\u4e00\u4e03",), letters_of(tmp_path)) == ("a\u4e00", "U+4E03", "")


def test_a_file_that_is_no_typeface_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.otf").write_bytes(b"GIF89a")
    with pytest.raises(UsageError, match=r"mine\.otf is no typeface"):
        letters_of(tmp_path)


def test_without_a_folder_there_are_none(tmp_path: Path) -> None:
    assert letters_of(tmp_path / "fonts") == frozenset()
