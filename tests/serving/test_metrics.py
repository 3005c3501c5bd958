"""What the address measures, read as Prometheus reads it."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as read_families

from serving.metrics import Meters

BASE = "tiny@base-000016"


def values(text: str) -> dict[tuple[str, frozenset[str]], float]:
    """Return (name, label values) -> value of everything that is exposed."""
    return {
        (sample.name, frozenset(sample.labels.values())): sample.value
        for family in read_families(text)
        for sample in family.samples
    }


def test_the_engines_own_numbers_keep_their_labels_and_get_their_types() -> None:
    measures = {
        'selves_engine_up{engine="vllm-0"}': 1.0,
        'selves_engine_up{engine="vllm-1"}': 0.0,
        "selves_engine_up": 1.0,
        "selves_tokens_generated_total": 7,
        "selves_ages_hot": 3,
    }
    text = Meters(lambda: measures).expose().decode()
    families = {family.name: family for family in read_families(text)}
    assert {name: families[name].type for name in ("selves_engine_up", "selves_tokens_generated")} == {
        "selves_engine_up": "gauge",
        "selves_tokens_generated": "counter",
    }
    assert values(text)["selves_engine_up", frozenset({"vllm-0"})] == 1
    assert values(text)["selves_engine_up", frozenset({"vllm-1"})] == 0
    assert values(text)["selves_engine_up", frozenset()] == 1
    assert values(text)["selves_tokens_generated_total", frozenset()] == 7
    assert all(family.documentation for family in families.values())


def test_an_engine_that_measures_nonsense_is_a_defect() -> None:
    with pytest.raises(ValueError, match="no name of Prometheus"):
        Meters(lambda: {"two words": 1}).expose()


async def test_requests_are_counted_and_timed_with_their_tokens(url: str) -> None:
    asked = {"model": BASE, "prompt": "Hi", "max_tokens": 5, "ignore_eos": True}
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=600) as http:

        async def read() -> dict[tuple[str, frozenset[str]], float]:
            answer = await http.get("/metrics")
            assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
            return values(answer.text)

        before = await read()
        whole = (await http.post("/v1/completions", json=asked)).json()["usage"]
        await http.post("/v1/completions", json={**asked, "stream": True})
        await http.post("/v1/completions", json={**asked, "max_tokens": -1})
        after = await read()

    def grown(name: str, *labels: str) -> float:
        key = name, frozenset(labels)
        return after[key] - before.get(key, 0)

    path = "/v1/completions"
    assert grown("selves_responses_total", path, "200", BASE) == 2
    assert grown("selves_responses_total", path, "400", "") == 1
    assert grown("selves_tokens_total", "completion", BASE) == 10
    assert grown("selves_tokens_total", "prompt", BASE) == 2 * whole["prompt_tokens"]
    assert grown("selves_request_seconds_count", path) == 2
    assert grown("selves_first_token_seconds_count", path) == 1
    assert grown("selves_tokens_generated_total") == 10
