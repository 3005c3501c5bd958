"""What the address measures of itself, for Prometheus: requests, how long they took, tokens.

The engine's own numbers stand beside them as it gives them; a name that ends in `_total` is a counter, any
other a gauge, and a name may carry labels: `selves_engine_up{engine="vllm-0"}`.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 120, 300)
"""Upper ends of the buckets for durations."""
HELP = {
    "selves_requests_active": "Sequences that are being drawn",
    "selves_requests_waiting": "Sequences that wait for their turn",
    "selves_ages_hot": "Ages in memory",
    "selves_ages_loaded": "Ages that were loaded",
    "selves_tokens_generated": "Tokens that the engine drew",
    "selves_prompt_tokens_read": "Tokens of prompts that went through a model",
    "selves_prompt_tokens_remembered": "Tokens of prompts that were read before, and not again",
    "selves_memory_bytes": "What weights and sequences take",
    "selves_memory_limit_bytes": "What weights and sequences may take",
    "selves_engine_up": "1 when the engine can answer",
    "selves_engine_restarts": "How often the engine was started again",
}
_NAME = re.compile(r"(?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(?P<labels>.*)\})?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="([^"]*)"')


class Meters:
    """The numbers of one application. `measures` gives the engine's own whenever they are read."""

    def __init__(self, measures: Callable[[], Mapping[str, float]]) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Engine(measures))
        self._answered = Counter(
            "selves_responses", "Requests, by answer", ("path", "status", "model"), registry=self._registry
        )
        self._first = Histogram(
            "selves_first_token_seconds",
            "From the request to the first token of a stream",
            ("path",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._whole = Histogram(
            "selves_request_seconds",
            "From the request to the end of its answer",
            ("path",),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._tokens = Counter(
            "selves_tokens",
            "Tokens in answered requests: prompt or completion",
            ("kind", "model"),
            registry=self._registry,
        )

    def expose(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def answered(self, path: str, status: int, model: str = "") -> None:
        """Count an answer. `path` and `model` must be known ones, or the labels would grow without bound."""
        self._answered.labels(path, str(status), model).inc()

    def watch(self, request: Request, response: Response, path: str, model: str, began_s: float) -> Response:
        """Count an answer to a POST and time it; a stream's when it has ended. `began_s` is monotonic.

        What an engine knows it spent it leaves in `request.state.usage`, in OpenAI's form.
        """
        self.answered(path, response.status_code, model)

        def end() -> None:
            self._whole.labels(path).observe(time.monotonic() - began_s)
            usage: Mapping[str, int] = getattr(request.state, "usage", {})
            for kind in ("prompt", "completion"):
                self._tokens.labels(kind, model).inc(usage.get(f"{kind}_tokens", 0))

        if not isinstance(response, StreamingResponse):
            end()
            return response
        chunks = response.body_iterator

        async def timed() -> AsyncIterator[str | bytes | memoryview]:
            first = True
            try:
                async for chunk in chunks:
                    if first:
                        self._first.labels(path).observe(time.monotonic() - began_s)
                        first = False
                    yield chunk
            finally:
                end()
                if hasattr(chunks, "aclose"):
                    await chunks.aclose()

        response.body_iterator = timed()
        return response


class _Sample(NamedTuple):
    name: str
    labels: dict[str, str]
    value: float


class _Engine(Collector):
    """The engine's own numbers, asked for when they are read."""

    def __init__(self, measures: Callable[[], Mapping[str, float]]) -> None:
        self._measures = measures

    def collect(self) -> Iterator[Metric]:
        families: dict[str, list[_Sample]] = {}
        for key, value in self._measures().items():
            sample = _read(key, value)
            families.setdefault(sample.name, []).append(sample)
        for name, samples in families.items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            bare = name.removesuffix("_total")
            family = kind(bare, HELP.get(bare, f"The engine's {bare}"))
            for sample in samples:
                family.add_sample(name, sample.labels, sample.value)
            yield family


def _read(key: str, value: float) -> _Sample:
    """Read `name` or `name{label="value",...}`. Raises ValueError for anything else: an engine's defect."""
    match = _NAME.fullmatch(key)
    if match is None:
        raise ValueError(f"an engine measures {key!r}, which is no name of Prometheus")
    return _Sample(match["name"], dict(_LABEL.findall(match["labels"] or "")), value)
