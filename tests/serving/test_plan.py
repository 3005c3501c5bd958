"""What is served where, decided without starting anything: three machines, and what always holds."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from selves.cast import Cast, Persona, Serving
from serving.facts import AgeFacts
from serving.machine import Gpu, Machine, find_vllm, read_gpus, visible
from serving.plan import Plan, make_plan
from serving.rooms import GIB, deal

VLLM = "/opt/vllm/bin/vllm"
PORTS = tuple(range(8641, 8700))


def age(address: str, parameters: float = 10e6, **changes: Any) -> AgeFacts:
    """Facts of an age that is shaped like a small Qwen3 with so many parameters."""
    facts = AgeFacts(
        address=address,
        lineage=address.partition("@")[0],
        context_tokens=2048,
        parameters=int(parameters),
        stored_bytes=int(4 * parameters),
        key=address.partition("@")[0],
        model_type="qwen3",
        layers=8,
        heads=8,
        kv_heads=8,
        head_dim=64,
        hidden=512,
    )
    return facts.model_copy(update=changes)


def adapter(address: str, on: AgeFacts, rank: int = 8) -> AgeFacts:
    changes = {"address": address, "lineage": address.partition("@")[0], "adapter_of": on.address}
    return on.model_copy(update={**changes, "rank": rank, "stored_bytes": 10**6, "key": "adapter"})


def machine(gpus: int = 0, gpu_gb: float = 80, **changes: Any) -> Machine:
    size = int(gpu_gb * 1e9)
    listed = tuple(Gpu(index=n, name="H100", total_bytes=size, free_bytes=size) for n in range(gpus))
    has = Machine(gpus=listed, ram_bytes=64 * 10**9, cores=tuple(range(16)), vllm=VLLM, free_ports=PORTS)
    return has.model_copy(update=changes)


def cast(*addresses: str) -> Cast:
    return Cast(persona=tuple(Persona(name=f"Self {n}", address=a) for n, a in enumerate(addresses)))


def engines_of(plan: Plan) -> dict[str, tuple[str, ...]]:
    return {placed.address: placed.engines for placed in plan.ages}


def test_a_laptop_without_vllm_brings_everything_in_on_the_embedded_engine() -> None:
    ages = [age("ember@base-000100"), age("ember@chat-000150")]
    laptop = machine(vllm="", ram_bytes=8 * 10**9, cores=(0, 1))
    plan = make_plan(cast("ember@chat-000150"), ages, laptop, Serving())
    assert engines_of(plan) == {"ember@base-000100": ("embedded",), "ember@chat-000150": ("embedded",)}
    assert [engine.kind for engine in plan.engines] == ["embedded"]
    assert plan.left_out == ()
    assert "no vLLM was found" in plan.notes[0]


def test_without_a_gpu_vllm_is_started_only_when_it_is_asked_for() -> None:
    ages = [age("ember@chat-000150")]
    assert engines_of(make_plan(None, ages, machine(), Serving())) == {"ember@chat-000150": ("embedded",)}
    plan = make_plan(None, ages, machine(), Serving(engine="vllm"))
    assert engines_of(plan) == {"ember@chat-000150": ("vllm-1", "embedded")}
    assert plan.engines[0].url == "http://127.0.0.1:8641"
    assert plan.engines[0].kv_bytes % GIB == 0


def test_two_vllms_on_one_processor_have_cores_of_their_own() -> None:
    ages = [age("ember@chat-000150"), age("wren@chat-000150")]
    plan = make_plan(None, ages, machine(cores=(0, 1, 2, 3, 4)), Serving(engine="vllm"))
    assert [engine.cores for engine in plan.engines[:2]] == [((1, 2),), ((3, 4),)]


def test_on_two_cores_the_ages_of_one_lineage_take_turns_on_one_vllm() -> None:
    ages = [age("ember@base-000100"), age("ember@base-000200"), age("wren@base-000100")]
    named = [facts.address for facts in ages]
    plan = make_plan(None, ages, machine(cores=(0, 1)), Serving(engine="vllm"), named=named)
    assert plan.engines[0].ages == ("ember@base-000100", "ember@base-000200")
    assert plan.engines[0].walks
    assert engines_of(plan)["wren@base-000100"] == ("embedded",)
    whys = {placed.address: placed.why for placed in plan.ages}
    assert whys["ember@base-000200"].startswith("takes turns with ember@base-000100: ")
    assert "too few for a further vLLM" in whys["wren@base-000100"]


def test_one_gpu_holds_the_cast_and_walks_through_the_rest_of_each_lineage() -> None:
    base = age("ember@chat-000150")
    ages = [age("ember@base-000100"), age("ember@base-000200"), base, adapter("gruff@import-000000", base)]
    ages += [age("wren@chat-000010")]
    plan = make_plan(cast("ember@chat-000150", "wren@chat-000010"), ages, machine(1), Serving())
    assert engines_of(plan) == {
        "ember@base-000100": ("vllm-3", "embedded"),
        "ember@base-000200": ("vllm-3", "embedded"),
        "ember@chat-000150": ("vllm-1", "embedded"),
        "gruff@import-000000": ("vllm-1", "embedded"),
        "wren@chat-000010": ("vllm-2", "embedded"),
    }
    first, _, walker, _ = plan.engines
    assert (first.lora_slots, first.lora_rank, first.walks) == (4, 16, False)
    assert (walker.lora_slots, walker.walks) == (0, True)
    assert [placed.address for placed in plan.ages if placed.hot] == ["ember@chat-000150", "wren@chat-000010"]


def test_eight_gpus_spread_what_does_not_fit_one_and_leave_out_what_fits_nowhere() -> None:
    large = age("oak@chat-000001", 70e9, layers=80, heads=64, kv_heads=8, head_dim=128, hidden=8192)
    odd = age("fir@chat-000001", 70e9, layers=80, heads=71, kv_heads=71, head_dim=64, hidden=8192)
    huge = age("elm@chat-000001", 900e9, layers=120, heads=64, kv_heads=8, head_dim=128, hidden=16384)
    small = age("ember@chat-000150")
    host = machine(8, ram_bytes=256 * 10**9)
    plan = make_plan(
        cast(*(a.address for a in (large, odd, huge, small))), [large, odd, huge, small], host, Serving()
    )
    engines = {engine.ages[0]: engine for engine in plan.engines if engine.ages}
    assert (engines[large.address].tensor_parallel, engines[large.address].pipeline_parallel) == (2, 1)
    assert (engines[odd.address].tensor_parallel, engines[odd.address].pipeline_parallel) == (1, 2)
    assert not set(engines[large.address].devices) & set(engines[odd.address].devices)
    (left,) = plan.left_out
    assert left.address == huge.address
    assert "on each of 8 GPUs" in left.why
    assert "the embedded engine has" in left.why


def test_parallel_settings_are_taken_as_they_are() -> None:
    serving = Serving(tensor_parallel=2, data_parallel=2)
    plan = make_plan(None, [age("ember@chat-000150")], machine(8), serving)
    assert len(plan.engines[0].devices) == 4
    too_many = make_plan(None, [age("ember@chat-000150")], machine(2), serving)
    assert "asks for more GPUs than the 2 there are" in too_many.ages[0].why


def test_what_vllm_computes_otherwise_stays_on_the_embedded_engine() -> None:
    plan = make_plan(None, [age("duck@import-000001", model_type="selves_nanochat")], machine(1), Serving())
    assert plan.ages[0].engines == ("embedded",)
    assert "a nanochat of 2026" in plan.ages[0].why


def test_a_vllm_elsewhere_is_asked_first_and_none_is_started() -> None:
    plan = make_plan(None, [age("ember@chat-000150")], machine(1, vllm="http://gpu:8000"), Serving())
    assert [(engine.kind, engine.url) for engine in plan.engines] == [
        ("remote", "http://gpu:8000"),
        ("embedded", ""),
    ]
    assert plan.ages[0].engines == ("remote", "embedded")


def test_a_self_whose_age_was_not_made_is_named() -> None:
    plan = make_plan(cast("ember@chat-000150"), [age("wren@chat-000150")], machine(), Serving())
    assert [(left.address, left.why) for left in plan.left_out] == [
        ("ember@chat-000150", "it is in the cast and has not been made; train or import it")
    ]


def test_a_damaged_age_is_left_out_with_what_is_wrong() -> None:
    plan = make_plan(
        None, [age("ember@chat-000150", problem="config.json cannot be read")], machine(1), Serving()
    )
    assert [left.why for left in plan.left_out] == ["config.json cannot be read"]


def test_gpus_are_read_and_hidden_as_cuda_hides_them() -> None:
    listing = (
        "0, GPU-aa11, NVIDIA H100, 81559, 80000\n"
        "1, GPU-bb22, NVIDIA H100, 81559, 70000\n"
        "2, GPU-cc33, NVIDIA H100, [N/A], [N/A]\n"
    )
    gpus = read_gpus(listing)
    assert [(gpu.index, gpu.free_bytes // 2**20) for gpu, _ in gpus] == [(0, 80000), (1, 70000)]
    assert [gpu.index for gpu in visible(gpus, None)] == [0, 1]
    assert [gpu.index for gpu in visible(gpus, "1")] == [1]
    assert [gpu.index for gpu in visible(gpus, "GPU-aa")] == [0]
    assert visible(gpus, "") == ()


def test_a_vllm_elsewhere_may_be_named_with_or_without_v1() -> None:
    assert find_vllm("http://gpu:8000/v1", {}) == "http://gpu:8000"
    assert find_vllm("", {"SELVES_VLLM": "https://gpu/"}) == "https://gpu"


@st.composite
def lineages(draw: st.DrawFn) -> list[AgeFacts]:
    """Ages of a few lineages, some of them far too large for anything, and adapters on some of them."""
    ages = []
    for name in draw(st.lists(st.sampled_from("abcd"), unique=True, max_size=4)):
        size = draw(st.sampled_from([1e6, 135e6, 8e9, 70e9, 2e12]))
        heads = draw(st.sampled_from([1, 6, 8, 64]))
        shape = {
            "heads": heads,
            "kv_heads": draw(st.sampled_from([1, heads])),
            "layers": draw(st.integers(1, 90)),
        }
        ages += [age(f"{name}@base-{n:06}", size, **shape) for n in range(draw(st.integers(1, 5)))]
    for n in range(draw(st.integers(0, 4)) if ages else 0):
        on = draw(st.sampled_from(ages))
        if on.adapter_of is None:
            ages.append(adapter(f"lora{n}@import-000000", on, draw(st.sampled_from([4, 64, 513]))))
    return ages


@st.composite
def machines(draw: st.DrawFn) -> Machine:
    return machine(
        draw(st.integers(0, 8)),
        draw(st.sampled_from([4, 24, 80])),
        ram_bytes=draw(st.sampled_from([2, 16, 512])) * 10**9,
        cores=tuple(range(draw(st.sampled_from([1, 2, 16])))),
        vllm=draw(st.sampled_from(["", VLLM, "http://gpu:8000"])),
        free_ports=PORTS[: draw(st.sampled_from([0, 1, 50]))],
    )


settings_of_serving = st.builds(
    Serving,
    engine=st.sampled_from(["auto", "embedded", "vllm"]),
    tensor_parallel=st.sampled_from([0, 1, 2]),
    pipeline_parallel=st.sampled_from([0, 2]),
    data_parallel=st.sampled_from([1, 2]),
    lora_slots=st.sampled_from([0, 4]),
)


@given(lineages(), machines(), settings_of_serving, st.data())
def test_a_plan_keeps_to_the_machine_and_forgets_nobody(
    ages: list[AgeFacts], host: Machine, serving: Serving, data: st.DataObject
) -> None:
    named = data.draw(st.lists(st.sampled_from([a.address for a in ages]), unique=True)) if ages else []
    plan = make_plan(None, ages, host, serving, named=named)
    assert plan == make_plan(None, ages, host, serving, named=named)
    started = [engine for engine in plan.engines if engine.kind == "vllm"]

    taken: Counter[int] = Counter()
    for engine in started:
        taken.update(dict.fromkeys(engine.devices, engine.device_bytes))
        workers = engine.tensor_parallel * engine.pipeline_parallel * engine.data_parallel
        assert len(engine.devices or engine.cores) == workers
    assert all(taken[gpu.index] <= gpu.free_bytes for gpu in host.gpus)
    assert sum(engine.ram_bytes for engine in started) <= host.ram_bytes
    cores = [core for engine in started for group in engine.cores for core in group]
    assert len(cores) == len(set(cores))
    assert set(cores) <= set(host.cores)

    urls = [engine.url for engine in started]
    assert len(urls) == len(set(urls))
    for placed in plan.ages:
        assert placed.engines
        assert placed.why
    assert all(left.why for left in plan.left_out)
    assert Counter([p.address for p in plan.ages] + [left.address for left in plan.left_out]) == Counter(
        facts.address for facts in ages
    )

    bases = {facts.address: facts.adapter_of for facts in ages}
    for engine in started:
        assert all((bases[address],) == engine.ages for address in engine.adapters)
        assert all(bases[address] is None for address in engine.ages)
        assert not (engine.walks and engine.lora_slots)


@pytest.mark.parametrize("groups", range(1, 6))
def test_cores_are_dealt_out_without_giving_one_away_twice(groups: int) -> None:
    dealt = deal((0, 1, 2, 3, 4), groups)
    given_away = [core for group in dealt for core in group]
    assert len(dealt) == groups
    assert all(dealt)
    assert len(given_away) == len(set(given_away))
