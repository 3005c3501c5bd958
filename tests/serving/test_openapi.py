"""The address keeps what its OpenAPI document promises, whatever is sent: schemathesis, a real server."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode

from serving.openapi import OPERATIONS, make_document

BASE, CHAT = "tiny@base-000016", "tiny@chat-000008"
EXAMPLES = 20
"""For each operation and each kind of data: what fits its schema, and what does not."""
TOKEN = {"type": "integer", "minimum": 0, "maximum": 319}
TEXT = {"type": "string", "minLength": 1, "maxLength": 20}
NARROW: dict[str, dict[str, Any]] = {
    "model": {"enum": [BASE, CHAT]},
    "max_tokens": {"type": "integer", "minimum": 1, "maximum": 4},
    "max_completion_tokens": {"type": "null"},
    "min_tokens": {"type": "integer", "minimum": 0, "maximum": 1},
    "n": {"type": "integer", "minimum": 1, "maximum": 2},
    "tokens": {"type": "array", "items": TOKEN},
    "stop_token_ids": {"type": "array", "items": TOKEN},
    "logit_bias": {
        "type": "object",
        "patternProperties": {"^[0-9]{2}$": {"type": "number", "minimum": -100, "maximum": 100}},
        "additionalProperties": False,
    },
    "prompt": {
        "anyOf": [
            TEXT,
            *({"type": "array", "minItems": 1, "maxItems": 4, "items": items} for items in (TEXT, TOKEN)),
        ]
    },
    "stream_options": {"type": "null"},
    "structured_outputs": {"type": "null"},
}
"""What is said where most of what the document allows would be refused before it gets to the engine."""


@pytest.fixture(scope="module")
def document(url: str) -> Any:
    return httpx.get(f"{url}/openapi.json", timeout=600, trust_env=False).json()


def aim(document: Any, mode: GenerationMode) -> Any:
    """Narrow the requests to ages that exist and, if they are to be right, to short answers."""
    narrow = NARROW if mode is GenerationMode.POSITIVE else {"model": NARROW["model"]}
    document = deepcopy(document)
    for operation in OPERATIONS:
        if operation.asks:
            schema = document["components"]["schemas"][operation.asks.__name__]
            known = schema["properties"].keys()
            schema["properties"] |= {name: narrow[name] for name in narrow if name in known}
            schema["required"] = [*schema["required"], *({"max_tokens"} & known)]
    return document


def test_the_document_that_is_served_is_the_pure_functions(document: Any) -> None:
    assert document == make_document()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) >= {"/v1/models", "/v1/chat/completions", "/metrics"}


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [
        *((o.method, o.path, GenerationMode.POSITIVE) for o in OPERATIONS),
        *((o.method, o.path, GenerationMode.NEGATIVE) for o in OPERATIONS if o.asks),
    ],
)
def test_nothing_that_is_sent_gets_an_answer_that_is_not_documented(
    document: Any, url: str, method: str, path: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_dict(aim(document, mode))
    with requests.Session() as session:
        session.trust_env = False

        @settings(
            max_examples=EXAMPLES if method == "post" else 3,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=schema[path][method.upper()].as_strategy(generation_mode=mode))
        def keeps_its_promise(case: Case) -> None:
            case.call_and_validate(
                base_url=url,
                session=session,
                timeout=600,
                excluded_checks=[schemathesis.checks.positive_data_acceptance],
            )

        keeps_its_promise()
