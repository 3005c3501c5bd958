"""Pointing the real huggingface_hub at a Hub of one's own: in this process, or in a child's environment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.hub_double.server import Hub


def point_at(hub: Hub, token: str | None, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub in this process speak to `hub`, as whose token it is, without waiting to retry."""
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    patch.setattr(constants, "ENDPOINT", hub.url)
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    patch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
    patch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
    patch.setattr(_http.time, "sleep", lambda _: None)
    if transformers := sys.modules.get("transformers.utils.hub"):
        patch.setattr(
            transformers, "_hf_api", None, raising=False
        )  # it keeps the endpoint of an earlier test
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        patch.delenv(name, raising=False)
    if token is not None:
        patch.setenv("HF_TOKEN", token)


def environment(hub: Hub, token: str, folder: Path) -> dict[str, str]:
    """Return the variables that point a child process at `hub`."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_TOKEN": token,
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "0",
        "TRANSFORMERS_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
