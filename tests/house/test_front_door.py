"""`selves` itself: quick, helpful, and without tracebacks for what the user got wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from selves.__main__ import COMMANDS


def selves(*arguments: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "selves", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "SELVES_HOME": str(folder / "home"), **environment},
        check=False,
        stdin=subprocess.DEVNULL,
    )


def test_help_names_every_command_and_loads_none(tmp_path: Path) -> None:
    code = (
        "import sys; from selves.__main__ import main; main(['--help']); "
        "heavy = {'torch', 'transformers', 'sqlalchemy', 'discord', 'pydantic', 'rich'} & set(sys.modules); "
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    for command in COMMANDS:
        assert f"\n  {command} " in result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_examples_and_without_torch(command: str, tmp_path: Path) -> None:
    code = (
        "import sys; from selves.__main__ import main\n"
        f"try: main([{command!r}, '--help'])\n"
        "except SystemExit as stop: assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "examples:" in result.stdout
    assert f"selves {command}" in result.stdout


def test_an_unknown_command_is_misuse_and_shows_the_page(tmp_path: Path) -> None:
    result = selves("tlak", folder=tmp_path)
    assert result.returncode == 2
    assert "there is no command 'tlak'" in result.stderr
    assert "talk" in result.stderr


def test_a_wrong_key_in_the_cast_file_is_named_with_file_line_and_fix(tmp_path: Path) -> None:
    cast = tmp_path / "selves.toml"
    cast.write_text('[[persona]]\nname = "Ash"\naddress = "ash@base-000001"\ntalkativnes = 1\n')
    result = selves("scene", "list", folder=tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == (
        f"selves: {cast}:4: unknown key 'persona.1.talkativnes'; did you mean 'talkativeness'?"
    )
    assert "Traceback" not in result.stderr


def test_the_doctor_says_what_is_wrong_and_what_to_do(tmp_path: Path) -> None:
    result = selves("doctor", "--json", folder=tmp_path)
    assert result.returncode == 1
    checks = {check["name"]: check for check in json.loads(result.stdout)}
    assert checks["python"]["state"] == "ok"
    assert checks["cast"]["state"] == "wrong"
    assert "selves.toml does not exist" in checks["cast"]["detail"]
    assert checks["ages"]["state"] == "optional"
    assert "make demo" in checks["ages"]["fix"]


def test_in_a_pipe_no_bars_of_the_libraries_below_are_drawn(tmp_path: Path, checkpoints: Path) -> None:
    model = shutil.copytree(checkpoints / "tiny/base-000000", tmp_path / "model")
    (model / "age.json").unlink()
    imported = selves("ages", "import", str(model), "--as", "guest@import-000000", folder=tmp_path)
    assert imported.returncode == 0, imported.stderr
    assert "%|" not in imported.stderr


@pytest.mark.parametrize("verb", ["setup", "run", "check", "schedule"])
def test_without_the_packages_for_discord_it_says_how_to_get_them(verb: str, tmp_path: Path) -> None:
    code = (
        "import sys; from selves.__main__ import main\n"
        "sys.modules['discord'] = None\n"
        f"sys.exit(main(['bots', {verb!r}]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert result.returncode == 2
    assert result.stderr == (
        f'selves: `selves bots {verb}` needs discord\n  fix: pip install "selves[discord]"\n'
    )


def test_rooms_are_ours_and_not_another_package_of_the_same_name() -> None:
    from importlib import import_module

    house = Path(import_module("selves").__file__ or "").parents[1]
    for room in ("bots", "memory", "serving", "training", "book", "app"):
        assert Path(import_module(room).__file__ or "").parents[1] == house
