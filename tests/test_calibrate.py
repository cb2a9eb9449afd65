"""Calibration: ends as probable as held-out episodes bear out, and a prior as hot as random play asks for."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from slider import SPEC, slide, slides

from gensim.core.files import load_tensors
from gensim.episodes import Dataset, Episode, write_episode
from gensim.episodes.sample import Sampler
from gensim.world import FitConfig, World
from gensim.world import fit as fitting
from gensim.world.ends import assured, platt, rescaled, told
from gensim.world.fit import fit
from gensim.world.temper import LEFT, STRIDE, STRIDES, heated, lasted, life, random_play, tempered


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return slides(tmp_path_factory.mktemp("slider"), 60)


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


def steady(world: World, hazard: float) -> World:
    """The world with equal chances of an end everywhere."""
    weights = dict(world.weights())
    weights["termination.out.weight"] = torch.zeros_like(weights["termination.out.weight"])
    odds = math.log(hazard / (1 - hazard)) + math.log(world.net.termination.weight)
    weights["termination.out.bias"] = torch.full_like(weights["termination.out.bias"], odds)
    return World.from_weights(world.config, weights, world.spec)


@pytest.mark.parametrize("hazard", [0.003, 0.05, 0.3])
def test_a_life_is_the_sum_of_its_chances_to_be_alive(world, tapes, hazard):
    expected = sum((1 - hazard) ** t for t in range(50))
    assert life(steady(world, hazard), tapes[:5], 50) == pytest.approx(expected, rel=0.02)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=40))
def test_episodes_that_all_ended_lasted_their_mean(lengths):
    mean, error, steps = lasted(lengths, [True] * len(lengths))
    assert steps == sorted(lengths)[-max(1, round(LEFT * len(lengths)))]
    assert mean == pytest.approx(np.minimum(lengths, steps).mean()) and error >= 0


def test_episodes_that_were_cut_count_as_long_as_they_were_watched():
    rng = np.random.default_rng(0)
    true, cut = rng.geometric(0.04, 20_000), rng.integers(5, 60, 20_000)
    mean, error, steps = lasted(np.minimum(true, cut), true <= cut)
    assert steps > 20 and mean == pytest.approx(np.minimum(true, steps).mean(), abs=4 * error)
    assert 0.03 < error < 0.3  # 20,000 episodes of about 20 steps
    naive = np.minimum(true, cut).mean()
    assert naive < mean - 10 * error  # an early cut is no early end
    assert lasted([3] + [50] * 30, [False] + [True] * 30)[2] == 50  # nor does one decide how far is looked


def test_heat_goes_where_dreams_are_too_long_or_too_short_and_nowhere_within_the_noise(world, data):
    dataset = Dataset(data)
    episodes = random_play(dataset)
    real, _, steps = lasted([len(e.act) for e in episodes], [bool(e.term[-1]) for e in episodes])
    near = next(h for h in np.geomspace(1e-4, 0.5, 2000) if ((1 - h) ** np.arange(steps)).sum() < real)
    assert tempered(steady(world, float(near)), dataset)[1:] == (1.0, steps)  # right as it is
    assert tempered(steady(world, 0.5), dataset)[1] == 1.0  # wrong, and no heat helps: none is given


@pytest.mark.parametrize(
    "longer, wanted",
    [
        (lambda heat, error: (2.6 - heat) * error, None),  # within the noise at 1
        (lambda heat, error: 30 * (1.3 - heat) * error, STRIDE**3),  # nearest on the other side
        (lambda heat, error: 30 * (0.8 - heat) * error, STRIDE**-2),  # too short at 1: cooled
        (lambda heat, error: (4 - heat / 1e6) * error, None),  # heat helps by less than a standard error
        (lambda heat, error: (9 - 4 * min(heat - 1, 0.2)) * error, None),  # by just as little
        (lambda heat, error: (9 - 20 * min(heat - 1, 0.2)) * error, STRIDE**2),  # the nearest to 1 of equals
        (lambda heat, error: (90 - 10 * heat) * error, STRIDE**STRIDES),  # as far as it goes
    ],
)
def test_heat_is_what_makes_lives_most_nearly_right(data, monkeypatch, longer, wanted):
    dataset = Dataset(data)
    episodes = random_play(dataset)
    real, error, _ = lasted([len(e.act) for e in episodes], [bool(e.term[-1]) for e in episodes])
    monkeypatch.setattr("gensim.world.temper.heated", lambda heat, times: heat * times)
    monkeypatch.setattr("gensim.world.temper.life", lambda heat, *_: real + longer(heat, error))
    found, temperature, _ = tempered(1.0, dataset)  # type: ignore[arg-type]
    assert found == temperature == pytest.approx(wanted or 1.0)


def test_play_that_looks_or_never_ends_leaves_the_heat(world, tmp_path):
    for name, change in (("looks", {"policy": "agent"}), ("unknown", {"policy": None}), ("endless", {})):
        Dataset.create(tmp_path / name, SPEC)
        for seed in range(4):
            tape = slide(seed)
            term = np.zeros_like(tape.term) if name == "endless" else tape.term
            meta = {k: v for k, v in (tape.meta | change).items() if v is not None}
            write_episode(tmp_path / name, replace(tape, term=term, meta=meta), f"{seed:04d}")
        dataset = Dataset(tmp_path / name)
        assert len(random_play(dataset)) == (4 if name == "endless" else 0)
        assert tempered(world, dataset) == (world, 1.0, 0)


def test_a_fit_says_how_it_was_calibrated_and_on_what(data, tmp_path, monkeypatch):
    seen = []
    config = FitConfig(data, tmp_path, steps=20, batch=4, length=8, hidden=32, holdout=0.2)
    assert "calibrated" not in fit(config, quiet=True).spec
    checkpoint = (tmp_path / fitting.CHECKPOINT).read_bytes()
    monkeypatch.setattr("gensim.world.ends.assured", lambda *of: seen.append(of[1]) or assured(*of))
    again = fit(replace(config, calibrate=True), quiet=True)  # a finished fit, calibrated afterwards
    assert load_tensors(tmp_path / fitting.CHECKPOINT)[1]["step"] == "20" and checkpoint
    told_by = World.load(again.folder).spec["calibrated"]
    assert told_by.keys() == {"ends_slope", "ends_shift", "prior_temperature", "random_play_steps"}
    assert told_by["ends_slope"] != 1 and STRIDE**-STRIDES <= told_by["prior_temperature"] <= STRIDE**STRIDES
    sampler = Sampler(Dataset(data), 8, 4, 0, 0.2)
    held = {header.meta["seed"] for header in sampler.heldout}
    assert {tape.meta["seed"] for tape in seen[0]} == held and 3 < len(held) < 30
    assert not held & {header.meta["seed"] for header in sampler.episodes}
