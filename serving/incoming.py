"""What comes in before anybody has shown who they are: keys, and bodies of bounded size, time and form."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json
from starlette.requests import Request

from selves.errors import ConfigError
from serving.wire import ApiError

MAX_BODY_BYTES = 4 * 1024 * 1024


def read_keys(setting: str) -> tuple[bytes, ...]:
    """Return the keys that may be given; none when the setting is empty. Raises ConfigError."""
    keys = tuple(key.strip().encode() for key in setting.split(",") if key.strip())
    if setting and not keys:
        raise ConfigError(
            "SELVES_API_KEY is set, but holds no key", "write one, or several with commas between"
        )
    return keys


def is_known(keys: Sequence[bytes], authorization: str) -> bool:
    """Compare with every key, in a time that does not tell which one was how near."""
    given = authorization.removeprefix("Bearer ").strip().encode()
    return sum(hmac.compare_digest(given, key) for key in keys) > 0


async def read_json(request: Request, body_s: float) -> dict[str, Any]:
    """Read a body that must be a JSON object. Raises ApiError."""
    chunks, size = [], 0
    try:
        async with asyncio.timeout(body_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise ApiError(413, f"the request is larger than {MAX_BODY_BYTES} bytes")
                chunks.append(chunk)
    except TimeoutError as error:
        raise ApiError(408, f"the request's body did not come within {body_s:g} s") from error
    try:
        body = from_json(b"".join(chunks), allow_inf_nan=False)
    except ValueError as error:
        raise ApiError(400, f"the body is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise ApiError(400, "the body must be a JSON object")
    return body
