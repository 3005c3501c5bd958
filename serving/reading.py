"""Requests checked: what is known is read, what the embedded engine does not have is refused by name. Pure.

Nothing is ignored: an answer drawn in another way than was asked for is a wrong answer that looks right.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ValidationError

from serving.wire import ApiError, Asked

HARMLESS = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "request_id"}
)
"""Parameters that do not change what is said; accepted and not used."""

NEUTRAL: dict[str, tuple[object, ...]] = {
    "add_generation_prompt": (True,),
    "best_of": (1,),
    "continue_final_message": (False,),
    "function_call": ("none",),
    "functions": ([],),
    "include_stop_str_in_output": (False,),
    "parallel_tool_calls": (True, False),
    "response_format": ({"type": "text"},),
    "skip_special_tokens": (True,),
    "suffix": ("",),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
}
"""Parameters that are accepted only with a value that changes nothing."""


def read_asked(kind: type[Asked], body: dict[str, Any]) -> Any:
    """Check a request's body. Raises ApiError (400) that names the parameter.

    Its code is `unsupported_parameter` where another engine might do it.
    """
    structured = body.get("structured_outputs")
    if isinstance(structured, dict) and structured.keys() - {"choice"}:
        raise _unsupported("structured_outputs", "choice")
    asked = read_body(kind, body)
    for name, value in (asked.model_extra or {}).items():
        if value is None or name in HARMLESS or value in NEUTRAL.get(name, ()):
            continue
        raise _unsupported(name, *NEUTRAL.get(name, ())[:1])
    return asked


def read_body(kind: type[BaseModel], body: dict[str, Any]) -> Any:
    """Check a body against a model. Raises ApiError (400) that names the parameter."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(map(str, problem["loc"])) or None
        raise ApiError(400, f"{param}: {problem['msg'].lower()}", param=param) from error


def _unsupported(name: str, *but: object) -> ApiError:
    return ApiError(
        400,
        f"the embedded engine does not support {name!r}" + "".join(f" other than {value!r}" for value in but),
        param=name,
        code="unsupported_parameter",
    )
