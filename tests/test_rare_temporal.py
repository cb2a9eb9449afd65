"""Formulas over time are events: their severity is what the formula means, moment after moment."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("rtamt")

from gensim.envs.events import Seen
from gensim.rare.dreams import rows_of
from gensim.rare.temporal import temporal

FORMULA = "(gap <= 0) and (rain >= 0.3) and (once[0:3] (out >= 1))"
SIGNALS = {"gap": lambda s: s.rew, "rain": lambda s: s.returns, "out": lambda s: s.gaps[:, 0]}


def seen(gap: np.ndarray, rain: np.ndarray, out: np.ndarray, step: int) -> Seen:
    zeros = np.zeros(len(gap))
    return Seen(lambda: zeros, dict, out[:, None], None, gap, zeros > 0, rain, np.full(len(gap), step))


@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_severities_are_what_the_formula_means(n: int, steps: int, seed: int) -> None:
    gap, rain, out = np.random.default_rng(seed).normal(0.5, 1, (3, steps, n))
    event, memory = temporal("wet", FORMULA, SIGNALS), None
    for step in range(steps):
        severity, memory = event.severity(seen(gap[step], rain[step], out[step], step), memory)
        lately = out[max(0, step - 3) : step + 1].max(0) - 1
        wanted = -np.minimum(np.minimum(-gap[step], rain[step] - 0.3), lately)
        assert severity == pytest.approx(wanted)


def test_what_is_remembered_are_rows() -> None:
    event = temporal("wet", FORMULA, SIGNALS)
    first = np.array([[1.0, 2.0], [0.5, 0.5], [2.0, 0.0]])
    _, memory = event.severity(seen(*first, 0), None)
    now = np.array([[-0.5, -0.5], [0.6, 0.6], [0.0, 0.0]])
    both, _ = event.severity(seen(*now, 1), memory)
    one, _ = event.severity(seen(*now[:, 1:], 1), rows_of(memory, np.array([1])))
    assert both[0] == pytest.approx(-0.3) and both[1] == one[0] == pytest.approx(1.0)


def test_formulas_that_cannot_be_are_refused() -> None:
    for formula in ("gap <=", "eventually[0:3] (gap <= 0)", "speed > 1"):
        with pytest.raises(ValueError, match="is no formula that looks back"):
            temporal("wrong", formula, SIGNALS)
