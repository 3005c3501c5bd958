"""All files of a book, from its manuscript, as bytes; and writing them where an older book may be.

The same manuscript gives the same bytes: nothing here asks the clock, the machine or the network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from book.fonts import FONTS_FOLDER
from book.manuscript import MANUSCRIPT_FILE, Manuscript
from selves.files import write_file

SUMS_FILE = "SHA256SUMS"
"""Lines as `sha256sum` writes and checks them."""


def build(manuscript: Manuscript, forms: Sequence[str], folder: Path | None = None) -> dict[str, bytes]:
    """Return every file of a book by its name within the book's folder.

    The author's own typefaces may be in `folder`. Where typst is not installed, an EPUB has no cover.
    Raises SettingError.
    """
    files = {MANUSCRIPT_FILE: manuscript.to_json().encode()}
    own = folder / FONTS_FOLDER if folder else None
    fonts = own if own and own.is_dir() else None
    if "pdf" in forms:
        from book.pdf import make_pdf

        files["book.pdf"] = make_pdf(manuscript, fonts)
    if "epub" in forms:
        from book.epub import make_epub
        from book.pdf import can_set, make_cover

        files["book.epub"] = make_epub(manuscript, make_cover(manuscript, fonts) if can_set() else None)
    if "site" in forms:
        from book.site import make_site

        files |= {f"site/{name}": data for name, data in make_site(manuscript).items()}
    return files


def used(manuscript: Manuscript) -> tuple[set[int], set[int]]:
    """Return the samples and the lines that are printed, those in the appendix and not chosen too."""
    sources = [passage.source for passage in manuscript.passages()]
    samples = {s.generation_id for s in sources if s.generation_id is not None and s.message_id is None}
    return samples, {s.message_id for s in sources if s.message_id is not None}


def hash_of(data: bytes) -> str:
    """Return the lowercase hex sha256 of a file's bytes."""
    return hashlib.sha256(data).hexdigest()


def write_book(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a book's files. Raises DiskError.

    Files of another form stay if they are of the same manuscript; others that only an older build had go.
    """
    before = read_sums(folder)
    sums = {name: hash_of(data) for name, data in files.items()}
    same = before.get(MANUSCRIPT_FILE) == sums[MANUSCRIPT_FILE]
    made = {_form(name) for name in files}
    for name, data in files.items():
        write_file(folder / name, data)
    for name in before.keys() - files.keys():
        if same and _form(name) not in made:
            sums[name] = before[name]
        else:
            (folder / name).unlink(missing_ok=True)
    write_file(folder / SUMS_FILE, "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)))


def _form(name: str) -> str:
    """`site` of whatever is in its folder; of other files the name."""
    return name.partition("/")[0]


def read_sums(folder: Path) -> dict[str, str]:
    """Return the names of the files that were built here with their sha256; empty if there is no book."""
    path = folder / SUMS_FILE
    if not path.exists():
        return {}
    pairs = (line.split("  ", 1) for line in path.read_text("utf-8").splitlines() if "  " in line)
    return {
        name: sha256 for sha256, name in pairs if ".." not in Path(name).parts and not name.startswith("/")
    }
