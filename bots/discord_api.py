"""Which Discord to talk to: Discord itself, or a self-hosted server that speaks its protocol.

    SELVES_DISCORD_API       REST base with version, such as https://chat.example.org/api/v10
    SELVES_DISCORD_GATEWAY   websocket address, such as wss://gateway.chat.example.org
    SELVES_DISCORD_CDN       where pictures lie (optional; the selves load none)

discord.py keeps these addresses in class attributes, so they hold for the whole process.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode, urlsplit

from selves.errors import UsageError
from selves.speech import Frozen

if TYPE_CHECKING:
    from aiohttp import ClientResponse

API, GATEWAY, CDN = "SELVES_DISCORD_API", "SELVES_DISCORD_GATEWAY", "SELVES_DISCORD_CDN"


class Endpoints(Frozen):
    """The addresses of one server; empty ones are Discord's own."""

    api: str = ""
    gateway: str = ""
    cdn: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Endpoints:
        """Read the three variables. Raises UsageError for one that cannot be right or is missing."""
        api, gateway, cdn = (environment.get(name, "").rstrip("/") for name in (API, GATEWAY, CDN))
        if bool(api) != bool(gateway):
            missing = GATEWAY if api else API
            raise UsageError(
                f"{missing} is missing: a server of one's own needs both {API} and {GATEWAY}",
                "set both, or neither to use Discord itself",
            )
        if api and not re.fullmatch(r"https?://\S+/v\d+", api):
            raise UsageError(
                f"{API} is {api!r}", "it is a web address ending in the API's version: https://HOST/api/v10"
            )
        if gateway and not re.fullmatch(r"wss?://\S+", gateway):
            raise UsageError(f"{GATEWAY} is {gateway!r}", "it is a websocket address: wss://HOST")
        return cls(api=api, gateway=gateway, cdn=cdn)

    def invite_url(self, application_id: int, permissions: int, *, commands: bool) -> str:
        """Where the owner of a server lets this bot in."""
        base = "https://discord.com"
        if self.api:
            parts = urlsplit(self.api)
            base = f"{parts.scheme}://{parts.netloc}"
        scope = "bot applications.commands" if commands else "bot"
        query = urlencode({"client_id": application_id, "scope": scope, "permissions": permissions})
        return f"{base}/oauth2/authorize?{query}"


@contextmanager
def pointed_at(endpoints: Endpoints) -> Iterator[None]:
    """Point every discord.py client of this process at these addresses while the block runs."""
    import yarl
    from discord import http
    from discord.asset import Asset
    from discord.gateway import DiscordWebSocket
    from discord.http import Route
    from discord.webhook import async_ as webhook

    before = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY, Asset.BASE
    read_body = http.json_or_text
    try:
        if endpoints.api:
            Route.BASE = endpoints.api
            DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(endpoints.gateway)
            http.json_or_text = webhook.json_or_text = _read_body  # type: ignore[attr-defined]
        if endpoints.cdn:
            Asset.BASE = endpoints.cdn
        yield
    finally:
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY, Asset.BASE = before
        http.json_or_text = webhook.json_or_text = read_body  # type: ignore[attr-defined]


async def _read_body(response: ClientResponse) -> Any:
    """Return an answer's JSON, or its text if it is none.

    discord.py takes for JSON only what is `application/json` to the letter; other servers name a charset.
    """
    text = await response.text("utf-8")
    return json.loads(text) if text and response.content_type == "application/json" else text


def words_origin() -> Literal["discord", "selfhosted"]:
    """Where words come from that clients of this process hear.

    Discord's rules about what may be done with them hold for Discord's own server alone.
    """
    from discord.http import Route

    host = urlsplit(Route.BASE).hostname or ""
    return "discord" if host == "discord.com" or host.endswith(".discord.com") else "selfhosted"


class HideSecrets(logging.Filter):
    """Takes tokens out of log lines, tracebacks included: ours, and those of interactions and webhooks."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        self._secrets = sorted((s for s in secrets if s), key=len, reverse=True)
        self._formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite the record; it is always let through."""
        record.msg, record.args = self.hide(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = self._formatter.formatException(record.exc_info)
        record.exc_text = self.hide(record.exc_text) if record.exc_text else None
        return True

    def hide(self, text: str) -> str:
        """Return `text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "[token]")
        return re.sub(
            r"(/(?:webhooks|interactions)/\d+/|['\"]token['\"]: ['\"])[^/\s?'\"]+", r"\1[token]", text
        )
