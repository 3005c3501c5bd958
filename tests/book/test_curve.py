"""The curve of a life is drawn to scale."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from book.curve import Curve, Mark, draw_curve
from book.metrics import Metric
from book.opener import draw_opener

BASE = [
    Mark(f"base-{step:06d}", "base", step, bits, None) for step, bits in ((0, 4.0), (10, 3.0), (100, 2.0))
]
CHAT = [Mark("chat-000050", "chat", 50, 1.9, None)]


def drawn(marks: list[Mark], metrics: list[Metric] | None = None) -> Curve:
    curve = draw_curve(marks, metrics or [], width=720, height=330)
    assert curve is not None
    return curve


def test_without_measured_ages_there_is_no_curve() -> None:
    assert draw_curve([], [Metric(stage="base", step=1, loss=2.0)], width=720, height=330) is None


def test_later_ages_stand_to_the_right_and_better_ones_lower() -> None:
    dots = drawn(BASE + CHAT).dots
    assert [dot.name for dot in dots] == ["base-000000", "base-000010", "base-000100", "chat-000050"]
    assert all(a.x < b.x and a.y < b.y for a, b in itertools.pairwise(dots))


def test_equal_steps_down_in_bits_are_equal_steps_down_on_paper() -> None:
    first, second, third = drawn(BASE).dots
    assert second.y - first.y == pytest.approx(third.y - second.y, abs=0.1)


def test_steps_run_on_a_logarithmic_scale() -> None:
    first, second, third = drawn(BASE).dots
    assert (third.x - second.x) / (second.x - first.x) == pytest.approx(0.92, abs=0.02)


def test_stages_do_not_touch() -> None:
    base, chat = drawn(BASE + CHAT).panels
    assert base.right < chat.left


def test_the_loss_runs_through_the_dots_when_it_is_proportional_to_them() -> None:
    metrics = [Metric(stage="base", step=m.step, loss=m.bits_per_byte * 2, bits_per_byte=None) for m in BASE]
    marks = [mark._replace(train_loss=mark.bits_per_byte * 2) for mark in BASE]
    panel = drawn(marks, metrics).panels[0]
    assert panel.loss_path == panel.path


def test_at_a_chapters_head_an_age_stands_on_the_curve_of_the_loss() -> None:
    logged = [Metric(stage="base", step=step, loss=8.0 - step / 50) for step in range(0, 101, 5)]
    curve = drawn(BASE, logged)
    (at,) = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="6"', draw_opener(curve, "base-000010"))
    on_curve = re.findall(r"([\d.]+) ([\d.]+)", curve.panels[0].loss_path)
    before = [float(y) for x, y in on_curve if float(x) <= float(at[0])]
    after = [float(y) for x, y in on_curve if float(x) >= float(at[0])]
    assert before[-1] <= float(at[1]) <= after[0]
    assert float(at[1]) != curve.dots[1].y


def test_a_loss_that_is_no_number_is_left_out() -> None:
    metrics = [
        Metric(stage="base", step=step, loss=loss) for step, loss in ((1, 5.0), (2, float("nan")), (9, 4.0))
    ]
    assert "nan" not in drawn(BASE, metrics).panels[0].loss_path


bits = st.floats(0.01, 20, allow_nan=False)
marks = st.lists(
    st.tuples(st.sampled_from(["base", "chat", "dpo"]), st.integers(0, 10**7), bits),
    min_size=1,
    max_size=20,
    unique_by=lambda mark: mark[:2],
).map(lambda found: [Mark(f"{stage}-{step:06d}", stage, step, value, None) for stage, step, value in found])
losses = st.lists(st.tuples(st.integers(0, 10**7), st.just(0.0) | st.floats(1e-9, 1e4)), max_size=30)


@given(marks, losses)
def test_everything_stays_inside_the_picture(marks: list[Mark], losses: list[tuple[int, float]]) -> None:
    metrics = [
        Metric(stage=marks[0].stage, step=step, loss=loss) for step, loss in sorted(dict(losses).items())
    ]
    for width, height in ((720, 330), (360, 300)):
        curve = draw_curve(marks, metrics, width=width, height=height)
        assert curve is not None
        assert len(curve.dots) == len(marks)
        numbers = [float(n) for p in curve.panels for n in re.findall(r"[\d.]+", p.loss_path)]
        for x, y in [(dot.x, dot.y) for dot in curve.dots] + list(
            zip(numbers[::2], numbers[1::2], strict=True)
        ):
            assert 0 <= x <= width
            assert curve.top <= y <= curve.bottom
        for tick in (*curve.ticks, *curve.loss_ticks):
            assert curve.top - 0.1 <= tick.at <= curve.bottom + 0.1
        assert 2 <= len(curve.ticks) <= 12
