"""Calibration: ends as probable as held-out episodes bear out, and a prior as hot as random play asks for."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fit import SPEC, slide

from gensim.episodes import Dataset, Episode, write_episode
from gensim.world import FitConfig, World
from gensim.world.ends import SURE, assured, platt, rescaled, told
from gensim.world.fit import fit
from gensim.world.temper import STRIDE, STRIDES, heated, life, random_play, tempered


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("slider")
    Dataset.create(folder, SPEC)
    for seed in range(60):
        write_episode(folder, slide(seed), f"{seed:04d}")
    return folder


@pytest.fixture(scope="module")
def world(data, tmp_path_factory) -> World:
    """One that learned a little."""
    config = FitConfig(data, tmp_path_factory.mktemp("world"), steps=200, batch=8, length=12, hidden=32, lr=1e-3)
    return fit(config, quiet=True)


@pytest.fixture(scope="module")
def tapes() -> list[Episode]:
    return [slide(seed) for seed in range(1000, 1080)]


@settings(max_examples=10, deadline=None)
@given(st.floats(0.3, 1.5), st.floats(-0.6, 0.6), st.integers(0, 2**32 - 1))
def test_slope_and_shift_are_found_again(slope, shift, seed):
    rng = np.random.default_rng(seed)
    odds = rng.normal(-2, 2, 40_000)
    ends = rng.random(40_000) < 1 / (1 + np.exp(-(slope * odds + shift)))
    assert np.allclose(platt(odds, ends), (slope, shift), atol=0.12)


def test_few_episodes_move_little_and_many_a_lot():
    odds, late = np.full(50, -2.0), np.arange(50) < 25  # said 12 %, was 50 %
    few, many = (platt(np.tile(odds, n), np.tile(late, n)) for n in (1, 200))
    told = lambda both: 1 / (1 + math.exp(2 * both[0] - both[1]))  # noqa: E731
    assert 0.13 < told(platt(odds[23:27], late[23:27])) < told(few) < told(many) < 0.5
    assert told(many) == pytest.approx(0.5, abs=0.01)
    assert np.hypot(few[0] - 1, few[1]) / SURE < 8


@pytest.mark.parametrize("slope, shift", [(0.5, 0.0), (1.0, 0.7), (0.8, -0.4)])
def test_a_rescaled_world_says_what_slope_and_shift_say(world, tapes, slope, shift):
    before, ends = told(world, tapes)
    after, same = told(rescaled(world, slope, shift), tapes)
    assert np.array_equal(ends, same) and ends.sum() == sum(t.term[-1] for t in tapes) > 5
    inside = (before > -20) & (before < 8)  # float32 says 0 or 1 beyond
    assert inside.mean() > 0.5
    assert np.allclose(after[inside], (slope * before + shift)[inside], rtol=0.03, atol=0.1)  # 16 bits a weight


def test_ends_are_assured_to_be_as_probable_as_they_are(world, tapes):
    too_sure = rescaled(world, 2.0, -2.0)
    found, (slope, shift) = assured(too_sure, tapes)
    nats = [float(np.logaddexp(0, np.where(e, -o, o)).mean()) for o, e in (told(w, tapes) for w in (too_sure, found))]
    assert slope < 0.9 and shift > 0 and nats[1] < nats[0]
    odds, ends = told(found, tapes)
    assert (1 / (1 + np.exp(-odds))).mean() == pytest.approx(ends.mean(), rel=0.25)


def test_nothing_is_assured_where_nothing_ended(world, tapes):
    endless = [replace(tape, term=np.zeros_like(tape.term)) for tape in tapes]
    assert assured(world, endless) == (world, (1.0, 0.0))


@settings(max_examples=10, deadline=None)
@given(st.floats(0.5, 2.0))
def test_heat_divides_the_logits(world, temperature):
    seen = {}

    def of(w, name):
        def edit(what, x):
            return seen.setdefault(name, x.float()) if what == "prior" else x

        state = world.first(np.zeros((4, 32, 32, 3), np.uint8), np.arange(4, dtype=np.uint64))
        w.imagine(state, np.zeros((4, 1), np.float32), edit=edit)
        return seen.pop(name)

    cold, hot = of(world, "cold"), of(heated(world, temperature), "hot")
    assert torch.allclose(hot * temperature, cold, atol=0.03 * float(cold.abs().max()))
    assert heated(world, 1.0).weights().keys() == world.weights().keys()
    for name, value in heated(world, 1.0).weights().items():
        assert torch.equal(value, world.weights()[name])


@pytest.mark.parametrize("hazard", [0.003, 0.05, 0.3])
def test_a_life_is_the_sum_of_its_chances_to_be_alive(world, tapes, hazard):
    weights = dict(world.weights())
    weights["termination.out.weight"] = torch.zeros_like(weights["termination.out.weight"])
    odds = math.log(hazard / (1 - hazard)) + math.log(world.net.termination.weight)
    weights["termination.out.bias"] = torch.full_like(weights["termination.out.bias"], odds)
    steady = World.from_weights(world.config, weights, world.spec)
    assert life(steady, tapes[:5], 50) == pytest.approx(sum((1 - hazard) ** t for t in range(50)), rel=0.02)


def test_the_heat_found_is_the_best_on_its_way(world, data):
    dataset = Dataset(data)
    episodes = random_play(dataset)
    steps = min(len(e.act) for e in episodes if not e.term[-1])
    real = np.mean([min(len(e.act), steps) for e in episodes])
    longer = [life(heated(world, STRIDE**i), episodes, steps) - real for i in range(-STRIDES, STRIDES + 1)]
    at_one = longer[STRIDES]
    way = longer[STRIDES:] if at_one > 0 else longer[STRIDES::-1]
    past = next((i for i, more in enumerate(way) if more * at_one <= 0), STRIDES)
    found, temperature = tempered(world, dataset)
    best = int(np.argmin(np.abs(way[: past + 1]))) * (1 if at_one > 0 else -1)
    assert temperature == pytest.approx(STRIDE**best)
    assert abs(life(found, episodes, steps) - real) <= abs(at_one)


def test_play_that_looks_or_never_ends_leaves_the_heat(world, tmp_path):
    Dataset.create(tmp_path, SPEC)
    for seed in range(4):
        tape = slide(seed)
        write_episode(tmp_path, replace(tape, meta=tape.meta | {"policy": "agent"}), f"{seed:04d}")
    assert random_play(Dataset(tmp_path)) == []
    assert tempered(world, Dataset(tmp_path)) == (world, 1.0)


def test_a_fit_says_how_it_was_calibrated(data, tmp_path):
    config = FitConfig(data, tmp_path, steps=30, batch=4, length=8, hidden=32, holdout=0.2, calibrate=True)
    told_by = World.load(fit(config, quiet=True).folder).spec["calibrated"]
    assert told_by.keys() == {"ends_slope", "ends_shift", "prior_temperature"}
    assert told_by["ends_slope"] != 1 and STRIDE**-STRIDES <= told_by["prior_temperature"] <= STRIDE**STRIDES
    assert "calibrated" not in fit(replace(config, out=tmp_path / "plain", calibrate=None), quiet=True).spec
