"""Where the house keeps its things, and what it reads from the environment. Read once, passed along.

| variable | meaning | default |
| --- | --- | --- |
| SELVES_HOME | folder for checkpoints, database, pages | `home` in the current folder |
| SELVES_CAST | the cast file | `selves.toml` in the current folder |
| SELVES_DATABASE_URL | SQLAlchemy URL | SQLite in the home folder |
| SELVES_URL | the serving address | `[serving]` in the cast file |
| SELVES_VLLM | the `vllm` program of its own environment, or a URL | `vllm` in `[serving]` |
| VLLM_API_KEY | key that is sent to a vLLM elsewhere | none |
| SELVES_API_KEY | keys that the serving address takes, commas between; clients send the first | none |
| SELVES_PARLOR_PASSWORD | what visitors of the parlor must know (`app/` reads it) | none |
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from selves.speech import Frozen


class House(Frozen):
    """The folders of one house."""

    home: Path
    cast_path: Path
    database_url_setting: str = ""
    serving_url_setting: str = ""
    api_key: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> House:
        """Read the variables above; empty ones count as unset."""
        env = os.environ if environment is None else environment
        return cls(
            home=Path(env.get("SELVES_HOME") or "home").absolute(),
            cast_path=Path(env.get("SELVES_CAST") or "selves.toml").absolute(),
            database_url_setting=env.get("SELVES_DATABASE_URL", ""),
            serving_url_setting=env.get("SELVES_URL", ""),
            api_key=env.get("SELVES_API_KEY", ""),
        )

    @property
    def checkpoints(self) -> Path:
        return self.home / "checkpoints"

    @property
    def corpora(self) -> Path:
        """Downloaded and tokenized text; may be deleted and is made again."""
        return self.home / "corpora"

    @property
    def pages(self) -> Path:
        return self.home / "pages"

    @property
    def database_url(self) -> str:
        return self.database_url_setting or f"sqlite+aiosqlite:///{self.home / 'selves.db'}"
