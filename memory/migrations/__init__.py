"""The schema's history. Alembic is loaded only when a database is new or older than this version."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from sqlalchemy import Connection


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    # a percent sign in a folder's name would be read as an interpolation
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def known_versions() -> set[str]:
    """Return every schema version that this Selves can upgrade from."""
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def newest_version() -> str:
    """Return the schema version that `upgrade` leads to."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None
    return head


def upgrade(connection: Connection, version: str = "head") -> None:
    """Bring the database up to `version`, within the connection's own transaction."""
    command.upgrade(_config(connection), version)


def downgrade(connection: Connection, version: str) -> None:
    """Take the database back to `version`, within the connection's own transaction; `base` is empty."""
    command.downgrade(_config(connection), version)
