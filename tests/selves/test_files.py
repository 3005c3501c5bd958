"""Files and folders appear whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from selves.errors import DiskError
from selves.files import new_folder, sweep_partial, write_file


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    write_file(path, "one")
    write_file(path, b"two")
    assert path.read_text() == "two"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_file(path, "old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from selves.files import write_file\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "write_file(Path(sys.argv[1]), 'x' * 100)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert "DiskError" in result.stderr
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_a_folder_that_fails_half_way_never_appears(tmp_path: Path) -> None:
    def write_half(folder: Path) -> None:
        with new_folder(folder) as partial:
            (partial / "weights").write_text("x")
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        write_half(tmp_path / "age")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_is_named_in_plain_words(tmp_path: Path) -> None:
    with pytest.raises(DiskError, match="the disk is full"), new_folder(tmp_path / "age"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_finished_folder_is_never_overwritten(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with new_folder(tmp_path / "age") as partial:
            (partial / "weights").write_text(text)
    assert (tmp_path / "age" / "weights").read_text() == "first"
    assert [p.name for p in tmp_path.iterdir()] == ["age"]


def test_what_a_killed_writer_left_is_swept(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from selves.files import new_folder\n"
        "with new_folder(Path(sys.argv[1]) / 'age') as partial:\n"
        "    (partial / 'weights').write_text('x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert result.returncode == -signal.SIGKILL
    assert not (tmp_path / "age").exists()
    assert len(list(tmp_path.iterdir())) == 1
    sweep_partial(tmp_path)
    assert list(tmp_path.iterdir()) == []
