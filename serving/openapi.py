"""The address described by OpenAPI 3.1, made from the models that check what comes in. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from types import MappingProxyType
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from serving import reading, replies, wire

Json = dict[str, Any]

ALWAYS = {
    408: "the request's body did not come in time",
    413: "the request is too large",
    500: "the age is damaged, or Selves has a defect",
    501: "the engine here cannot run this age: it is of another kind, or too large",
    503: "no engine can answer now; Retry-After says when to try again",
}
REFUSED = {400: "the request is refused; `param` names what is wrong", 404: "there is no such age"}
KEY = {401: "the address needs an API key"}


class Operation(NamedTuple):
    """One thing that can be done at the address."""

    method: str
    path: str
    what: str
    answer: type[BaseModel] | str
    """A model of JSON, or a media type."""
    asks: type[BaseModel] | None = None
    errors: Mapping[int, str] = MappingProxyType({})
    """Status -> what it means."""
    streams: bool = False


OPERATIONS = (
    Operation("get", "/v1/models", "All ages", replies.Models, None, KEY | {503: ALWAYS[503]}),
    Operation(
        "get",
        "/v1/models/{address}",
        "One age",
        replies.Model,
        None,
        KEY | {404: REFUSED[404], 503: ALWAYS[503]},
    ),
    Operation(
        "post",
        "/v1/completions",
        "Continue texts",
        replies.Completion,
        wire.CompletionAsked,
        REFUSED | KEY | ALWAYS,
        streams=True,
    ),
    Operation(
        "post",
        "/v1/chat/completions",
        "Answer a chat",
        replies.Chat,
        wire.ChatAsked,
        REFUSED | KEY | ALWAYS,
        streams=True,
    ),
    Operation(
        "post",
        "/tokenize",
        "The token ids of a text, or of a chat through the age's template",
        replies.Tokens,
        wire.TokenizeAsked,
        REFUSED | KEY | ALWAYS,
    ),
    Operation(
        "post",
        "/detokenize",
        "The text of token ids",
        replies.Text,
        wire.DetokenizeAsked,
        REFUSED | KEY | ALWAYS,
    ),
    Operation("get", "/health", "Whether it can answer", replies.Health),
    Operation("get", "/metrics", "Measures for Prometheus", "text/plain"),
)


def make_document() -> Json:
    """Return the document as JSON values."""
    asked = [(operation.asks, "validation") for operation in OPERATIONS if operation.asks]
    answered = [(o.answer, "validation") for o in OPERATIONS if not isinstance(o.answer, str)]
    _, schemas = models_json_schema(
        [*asked, *answered, (replies.Error, "validation")],  # type: ignore[list-item]
        ref_template="#/components/schemas/{model}",
    )
    definitions: Json = schemas["$defs"]
    for model in (wire.CompletionAsked, wire.ChatAsked):
        _add_neutral(definitions[model.__name__])
    paths: Json = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _describe(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Selves",
            "version": metadata.version("selves"),
            "description": "Every age of every lineage, at one OpenAI-compatible address.",
        },
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _describe(operation: Operation) -> Json:
    answer = (
        {operation.answer: {"schema": {"type": "string"}}}
        if isinstance(operation.answer, str)
        else _json(operation.answer.__name__)
    )
    if operation.streams:
        answer["text/event-stream"] = {"schema": {"description": "Chunks, as OpenAI streams them."}}
    error = _json(replies.Error.__name__)
    described: Json = {
        "summary": operation.what,
        "responses": {
            "200": {"description": operation.what, "content": answer},
            **{
                str(status): {"description": why, "content": error}
                for status, why in operation.errors.items()
            },
        },
    }
    if operation.path == "/health":
        described["responses"]["503"] = {"description": "It cannot answer now", "content": answer}
    if operation.errors:
        described["security"] = [{}, {"key": []}]
    if operation.asks:
        described["requestBody"] = {"required": True, "content": _json(operation.asks.__name__)}
    if "{address}" in operation.path:
        described["parameters"] = [
            {"name": "address", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        ]
    return described


def _json(model: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{model}"}}}


def _add_neutral(schema: Json) -> None:
    """Say of a request that is checked by `reading.read_asked` which further parameters it may have."""
    for name in sorted(reading.HARMLESS):
        schema["properties"].setdefault(name, {"description": "Accepted, and not used."})
    for name, values in reading.NEUTRAL.items():
        schema["properties"].setdefault(name, {"enum": [*values, None]})
    schema["additionalProperties"] = False
