"""The laws of a world: exact probabilities, rows that do not feel each other, files that cannot lie."""

import itertools
import json
import pickle
import shutil
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.models.vae import softmax_unimix
from gensim.world import NetConfig, State, World
from gensim.world.fast import Fast, traced
from gensim.world.net import Net
from gensim.world.tiles import TILE, map_tiles
from gensim.world.trust import EDGES, Trust

SPEC = {"env_id": "Tiny-v0", "size": 32, "skip": 1, "fps": 10, "action": {"type": "box", "dim": 2}}
TINY = NetConfig(size=32, actions=2, groups=4, classes=5, hidden=32, widths=(8, 8, 8, 16), head=16)


STAGED = replace(TINY, stages=2)
CELLS = replace(TINY, groups=32, widths=(8, 8, 16), cells=True, stages=4)
LIGHT = replace(CELLS, light=True)


@pytest.fixture(scope="module", params=[TINY, STAGED, CELLS, LIGHT], ids=["plain", "staged", "cells", "light"])
def world(request):
    return World.random(SPEC, request.param)


def acts(n, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, 2)).astype(np.float32)


def same(a: State, b: State) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a.to_dict().values(), b.to_dict().values()))


def test_log_p_is_the_probability_of_what_was_drawn(world):
    """On a latent of two groups of three values, the law sums to one and gives each draw its own share."""
    small = World.random(SPEC, NetConfig(size=32, groups=2, classes=3, hidden=16, widths=(8, 8, 8, 8), head=8))
    n = 6000
    laws = []

    def spy(name, x):
        laws.append(x)
        return x

    state = small.start(np.arange(n, dtype=np.uint64), start=0)
    new, step = small.imagine(state, np.tile(acts(1), (n, 1)), edit=spy)
    logits = next(x for x in laws if x.ndim == 3)[:1].float()
    mix = small.config.unimix
    probs = (1 - mix) * logits.softmax(-1)[0] + mix / 3
    table = {z: float(probs[0, z[0]] * probs[1, z[1]]) for z in itertools.product(range(3), repeat=2)}
    assert sum(table.values()) == pytest.approx(1, abs=1e-5)
    for z, p in table.items():
        here = (new.z.numpy() == z).all(1)
        assert here.mean() == pytest.approx(p, abs=5 * np.sqrt(p * (1 - p) / n) + 1e-3)
        end = np.where(step.term, step.term_prob, 1 - step.term_prob)
        np.testing.assert_allclose(step.log_p[here], np.log(p) + np.log(end[here]), atol=2e-3)


@pytest.mark.parametrize("temperature", [0.7, 1.0, 1.5])
def test_weights_have_mean_one(world, temperature):
    n = 4000
    state = world.start(np.arange(n, dtype=np.uint64), start=0, temperature=temperature)
    _, step = world.imagine(state, np.tile(acts(1), (n, 1)))
    weights = np.exp(step.log_p - step.log_q)
    assert abs(weights.mean() - 1) < 4 * weights.std() / np.sqrt(n) + 1e-6
    assert (temperature == 1) == np.allclose(weights, 1, atol=1e-6)


def test_stages_are_drawn_given_those_before_and_sum_to_one():
    """Over all latents of a small space, at any temperature; log_q says how often each was drawn."""
    config = NetConfig(size=32, groups=3, classes=2, hidden=16, widths=(8, 8, 8, 8), head=8, stages=3)
    small = World.random(SPEC, config)
    with torch.no_grad():
        small.net.dynamics.given.weight.normal_()
        small.net.dynamics.prior_out.weight.mul_(3)
    small = World.from_weights(config, small.weights(), SPEC)
    n = 8000
    state = small.start(np.arange(n, dtype=np.uint64), start=np.zeros(n, np.int64), temperature=1.5)
    state.h, state.z = state.h[:1].expand(n, -1).clone(), state.z[:1].expand(n, -1).clone()
    new, step = small.imagine(state, np.tile(acts(1), (n, 1)))
    end = np.log(np.where(step.term, step.term_prob, 1 - step.term_prob))
    found, at, counts = np.unique(new.z.numpy(), axis=0, return_index=True, return_counts=True)
    assert len(found) == 8
    for logs in (step.log_p - end, step.log_q - end):
        assert np.exp(logs[at]).sum() == pytest.approx(1, abs=1e-3)
    q = np.exp((step.log_q - end)[at])
    assert (np.abs(counts / n - q) < 5 * np.sqrt(q * (1 - q) / n)).all()
    third = {tuple(z[:2]): p for z, p in zip(found.tolist(), q) if z[2] == 0}
    both = {head: q[(found[:, :2] == head).all(1)].sum() for head in third}
    given = [third[head] / both[head] for head in third]
    assert max(given) - min(given) > 0.02  # were it drawn alone, it would not feel the others


def test_a_temperature_of_one_changes_no_byte(world):
    """Whether it is multiplied out, as beside a row at another temperature, or not."""
    state, act = world.start(np.arange(5, dtype=np.uint64), start=0), acts(5)
    plain, told = world.imagine(state, act)
    state.temperature[4] = 1.5
    hot, besides = world.imagine(state, act)
    first = slice(0, 4)
    assert same(plain.rows(first), hot.rows(first))
    for name in ("log_p", "log_q", "rew", "term", "trust"):
        assert np.array_equal(getattr(told, name)[first], getattr(besides, name)[first]), name


def test_temperature_acts_on_the_logits(world):
    cold = world.start(np.arange(500, dtype=np.uint64), start=0, temperature=1e-3)
    cold, _ = world.imagine(cold, np.tile(acts(1), (500, 1)))
    assert len(np.unique(cold.z.numpy(), axis=0)) == 1  # the mode, whatever the key


def test_a_proposal_is_what_is_drawn_from_and_log_q_says_so(world):
    fixed = torch.full((TINY.classes,), -50.0)
    fixed[2] = 0
    state = world.start(np.arange(40, dtype=np.uint64))
    new, step = world.imagine(state, acts(40), proposal=lambda log_p, stage: fixed.log_softmax(-1).expand_as(log_p))
    assert (new.z == 2).all()
    end = np.where(step.term, step.term_prob, 1 - step.term_prob)
    np.testing.assert_allclose(step.log_q, np.log(end), atol=1e-4)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=40), st.booleans())
@settings(max_examples=15, deadline=None)
def test_rows_do_not_feel_each_other(world, rows, dropout):
    seeds, act = np.arange(61, dtype=np.uint64), acts(61)
    whole = world.start(seeds, dropout=dropout)
    part = world.start(seeds[rows], dropout=dropout)
    for _ in range(2):
        whole, a = world.imagine(whole, act)
        part, b = world.imagine(part, act[rows])
        for x, y in zip(vars(a).values(), vars(b).values()):
            np.testing.assert_array_equal(x[rows], y)
    assert same(whole.rows(rows), part)
    np.testing.assert_array_equal(world.decode(whole)[rows], world.decode(part))


def test_frames_are_seen_however_they_lie_in_memory(world):
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    turned = frames[..., ::-1].copy()[..., ::-1]  # as a decoder gives them: strides below zero
    keys = np.arange(3, dtype=np.uint64)
    assert min(turned.strides) < 0 and same(world.first(frames, keys), world.first(turned, keys))


def test_one_thread_and_two_give_equal_bytes(world):
    def dream():
        state = world.start(np.arange(40, dtype=np.uint64))
        for _ in range(5):
            state, step = world.imagine(state, acts(40))
        return world.decode(state).tobytes() + step.log_p.tobytes() + state.h.numpy().tobytes()

    before = torch.get_num_threads()
    try:
        results = set()
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.add(dream())
            assert torch.get_num_threads() == threads
        assert len(results) == 1
    finally:
        torch.set_num_threads(before)


def test_tiles_are_of_one_shape_and_give_rows_back_in_order():
    seen = []

    def double(x):
        seen.append(tuple(x.shape))
        return [2 * x]

    x = torch.arange(70.0)[:, None]
    torch.testing.assert_close(map_tiles(double, x)[0], 2 * x)
    assert set(seen) == {(TILE, 1)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_fused_networks_are_the_fitted_ones(world, dtype):
    """Rows laid out for speed give what the plain modules give, up to rounding; traced, the very same bytes."""
    torch.manual_seed(0)
    net, c = deepcopy(world.net), world.config
    with torch.no_grad():
        for head in (net.reward, net.termination):
            head.tally.table.normal_(0, 0.2)  # times GAIN; wilder ones have roundings of their own size
    fast, tally = Fast(net, dtype), torch.rand(16, 2) * 500
    z, act = torch.randint(c.classes, (16, c.groups)), torch.rand(16, 2) * 2 - 1
    h, mask = torch.randn(16, c.hidden), torch.ones(16, c.hidden)
    near = {"rtol": 0, "atol": 1e-4 if dtype == torch.float32 else 0.06}
    judged = near | {"rtol": 0 if dtype == torch.float32 else 2**-7}  # odds are far from 0: two roundings of theirs
    with torch.no_grad():
        one_hot = torch.nn.functional.one_hot(z, c.classes).float()
        x = net.state(h, one_hot)
        read, unusual, judges = fast.read(h)
        prior, stages = net.dynamics.prior(h, mask, one_hot), c.stages or 1
        for stage in range(stages):
            part, heard = net.dynamics.part(stage), near["atol"] * (1 + stage)
            logits = fast.dynamics.stage(read, mask, stage).float()
            torch.testing.assert_close(logits, prior[:, part], rtol=0, atol=heard)
            read = read + fast.dynamics.told_of(z[:, part], fast.tables[stage]) if stage + 1 < stages else read
        torch.testing.assert_close(
            unusual, net.disagreement.score(net.dynamics.gist(h)), rtol=0, atol=10 * near["atol"]
        )
        rew, odds = fast.judge(judges, z, tally)
        torch.testing.assert_close(rew, net.reward.mean(net.reward(x, tally)), **judged)
        torch.testing.assert_close(odds, net.termination.log_odds(net.termination(x, tally)), **judged)
        frames = (net.decoder(one_hot) * 127.5 + 127.5).round().clamp(0, 255).permute(0, 2, 3, 1)
        assert (fast.paint(z)[0].float() - frames).abs().max() <= (
            1 if dtype == torch.float32 else 6
        )  # processors round in orders of their own
        draws = (torch.rand(16, c.groups).double(), torch.rand(16).double())
        rows = (h, z, tally, torch.zeros(16, 0), act, mask, *draws, torch.full((16,), 1.2))
        once = traced(fast.dream, *rows)
        for _ in range(4):  # an executor that optimises as it learns must not change a bit
            assert all(torch.equal(a, b) for a, b in zip(fast.dream(*rows), once(*rows)))
            assert torch.equal(traced(fast.paint, z)(z)[0], fast.paint(z)[0])


def test_what_is_observed_is_as_probable_as_it_would_have_been_to_dream(world):
    """A decoded dream, read again where the encoder gives the same latents, has the probability it was drawn with."""
    state = world.start(np.arange(200, dtype=np.uint64), temperature=1.2)
    new, step = world.imagine(state, acts(200))
    read, _, _ = world.fast.read(new.h)
    with torch.no_grad():
        log_p = world.fast.surprise(read, state.mask, new.z).numpy()
    end = np.log(np.where(step.term, step.term_prob, 1 - step.term_prob))
    np.testing.assert_allclose(log_p, step.log_p - end, atol=0.1)


def test_a_steered_step_without_steering_is_the_plain_one(world):
    state = world.start(np.arange(20, dtype=np.uint64), temperature=1.3)
    plain, a = world.imagine(state, acts(20))
    steered, b = world.imagine(state, acts(20), edit=lambda name, x: x)
    assert same(plain, steered) and (a.log_q == b.log_q).all()


def test_a_copy_has_the_same_futures_and_a_branch_others(world):
    state, _ = world.imagine(world.start(np.arange(3, dtype=np.uint64)), acts(3))
    one, _ = world.imagine(state, acts(3))
    two, _ = world.imagine(state.copy(), acts(3))
    assert same(one, two)
    fan, _ = world.imagine(state.branch(20), np.repeat(acts(3), 20, 0))
    assert len(np.unique(fan.z[:20].numpy(), axis=0)) > 10
    assert len(np.unique(fan.keys())) == 60
    with pytest.raises(ValueError, match="at least 1"):
        state.branch(0)


def test_global_generators_are_left_alone(world):
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state().clone(), np.random.get_state()[1].copy()
    again = World.from_weights(world.config, world.weights(), SPEC)
    state = again.start(np.arange(3, dtype=np.uint64), dropout=True)
    again.decode(again.imagine(state, acts(3))[0])
    assert torch.equal(before[0], torch.get_rng_state()) and (before[1] == np.random.get_state()[1]).all()


def test_mid_starts_bring_their_memory_and_real_ones_the_worlds_own(world):
    seeds = np.arange(5, dtype=np.uint64)
    real, mid = world.start(seeds, "real"), world.start(seeds, "mid")
    torch.testing.assert_close(real.h, world.net.dynamics.initial[1].detach().expand(5, -1))
    assert (mid.h.std(1) > 0.1).all()
    index = mid.start.numpy() - len(world.starts.real)
    np.testing.assert_array_equal(mid.h.numpy(), world.starts.mid_h[index].astype(np.float32))
    assert set(world.starts.provenance(int(mid.start[0]))) == {"seed", "actions"}


@pytest.mark.parametrize("start", ["middle", -1, 16, 1.5])
def test_a_start_that_is_none_is_refused(world, start):
    with pytest.raises(ValueError, match="'real', 'mid' or an index from 0 to 15"):
        world.start(np.arange(2, dtype=np.uint64), start)


def test_a_dropout_mask_holds_for_the_episode_and_follows_its_key(world):
    seeds = np.arange(4, dtype=np.uint64)
    state = world.start(seeds, dropout=True)
    assert len(np.unique(state.mask.numpy(), axis=0)) == 4
    assert set(np.unique(state.mask.numpy())) == {np.float32(0), np.float32(1 / 0.9)}
    later, _ = world.imagine(state, acts(4))
    torch.testing.assert_close(later.mask, state.mask)
    torch.testing.assert_close(world.start(seeds[::-1].copy(), dropout=True).mask.flip(0), state.mask)


def test_observing_a_frame_filters_it(world):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (3, 32, 32, 3), np.uint8)
    state = world.first(frames, np.arange(3, dtype=np.uint64))
    new, step = world.observe(state, acts(3), frames)
    assert (new.age == 0).all() and (new.step == 1).all() and np.isfinite(step.log_p).all()
    dreamed, _ = world.imagine(state, acts(3))
    torch.testing.assert_close(dreamed.h, new.h)  # the memory before a frame is the same, seen or dreamed
    with pytest.raises(ValueError, match="give uint8"):
        world.first(frames[:, :16], np.arange(3, dtype=np.uint64))


def test_what_is_seen_is_a_sample_of_the_posterior_not_its_mean(world):
    frames = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8).repeat(4000, 0)
    z = world.first(frames, np.arange(4000, dtype=np.uint64)).z
    x = torch.from_numpy(frames[:1]).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        p = softmax_unimix(world.net.encoder(x), world.config.unimix)[0]
    share = torch.nn.functional.one_hot(z, TINY.classes).float().mean(0)
    near = 0.04 if world.dtype == torch.float32 else 0.06  # the law itself is rounded where steps are bfloat16
    assert (share - p).abs().max() < near and p.amax(-1).min() < 0.99  # not all are sure


def test_trust_is_uniform_on_the_data_it_was_calibrated_on_and_falls_with_distance():
    rng = np.random.default_rng(0)
    age = rng.integers(0, 200, 40_000)
    trust = Trust.calibrate(rng.normal(np.log1p(age), 1), age)
    new = rng.integers(0, 200, 5000)
    ranks = trust.rank(rng.normal(np.log1p(new), 1).astype(np.float32), new)
    # within a table ages differ, so ranks are uniform over the table, not at each single age
    assert abs(np.histogram(ranks, 10, (0, 1))[0] / 500 - 1).max() < 0.2
    at = np.zeros(100, np.int64)
    assert (np.diff(trust.rank(np.linspace(-5, 9, 100, dtype=np.float32), at)) <= 0).all()
    assert trust.rank(np.array([99.0], np.float32), at[:1])[0] < 0.01
    assert (Trust.blank().rank(np.array([99.0], np.float32), at[:1]) == 1).all() and EDGES[0] == 0


def test_a_state_pickles_and_goes_on_alike(world):
    state, _ = world.imagine(world.start(np.arange(3, dtype=np.uint64)), acts(3))
    again = State.from_dict(pickle.loads(pickle.dumps(state.to_dict())))
    assert same(world.imagine(state, acts(3))[0], world.imagine(again, acts(3))[0])
    with pytest.raises(ValueError, match="missing"):
        State.from_dict({"h": np.zeros(3)})


# ---------------------------------------------------------------- files


@pytest.fixture
def folder(world, tmp_path):
    world.save(tmp_path / "world")
    return tmp_path / "world"


def test_a_saved_world_dreams_the_same(world, folder):
    again = World.load(folder)
    assert again.hash == world.hash
    seeds = np.arange(9, dtype=np.uint64)
    one, a = world.imagine(world.start(seeds), acts(9))
    two, b = again.imagine(again.start(seeds), acts(9))
    assert same(one, two) and (a.log_p == b.log_p).all() and (a.trust == b.trust).all()


def test_a_missing_world_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="gensim fit"):
        World.load(tmp_path)


@pytest.mark.parametrize("name", ["world.safetensors", "starts.npz"])
@pytest.mark.parametrize("fault", ["truncated", "flipped", "absent", "pickle"])
def test_damaged_files_are_refused(folder, name, fault):
    data = (folder / name).read_bytes()
    middle = len(data) // 2
    changed = {
        "truncated": data[:middle],
        "flipped": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
        "pickle": pickle.dumps({"a": 1}),
        "absent": b"",
    }[fault]
    (folder / name).write_bytes(changed)
    if fault == "absent":
        (folder / name).unlink()
    with pytest.raises((ValueError, FileNotFoundError), match=name):
        World.load(folder)


@pytest.mark.parametrize(
    "change",
    [{"format": 99}, {"net": {"size": 64}}, {"net": {"rows": 3, "widths": []}}, {"files": {}}],
)
def test_a_changed_card_is_refused(folder, change):
    card = json.loads((folder / "world.json").read_text())
    (folder / "world.json").write_text(json.dumps(card | change))
    with pytest.raises(ValueError):
        World.load(folder)


def test_weights_of_another_network_are_refused_though_their_hash_is_right(folder, tmp_path):
    other = World.random(SPEC, NetConfig(size=32, groups=4, classes=5, hidden=48, widths=(8, 8, 8, 16), head=16))
    other.save(tmp_path / "other")
    card = json.loads((folder / "world.json").read_text())
    theirs = json.loads((tmp_path / "other" / "world.json").read_text())
    shutil.copy(tmp_path / "other" / "world.safetensors", folder)
    (folder / "world.json").write_text(
        json.dumps(card | {"files": theirs["files"] | {"starts.npz": card["files"]["starts.npz"]}})
    )
    with pytest.raises(ValueError, match="does not fit the network"):
        World.load(folder)


def test_rewards_and_steps_are_tallied(world):
    state, total = world.start(np.arange(12, dtype=np.uint64)), np.zeros(12, np.float32)
    assert not state.tally.any()
    for t in range(1, 6):
        state, step = world.imagine(state, acts(12, t))
        total += step.rew
        assert np.allclose(state.tally[:, 0], total, atol=1e-5) and (state.tally[:, 1] == t).all()
    frames, rew = world.decode(state), np.full(12, 7.0)
    seen, _ = world.observe(state, acts(12), frames, rew)
    guessed, step = world.observe(state, acts(12), frames)
    assert np.allclose(seen.tally[:, 0], total + 7) and np.allclose(guessed.tally[:, 0], total + step.rew, atol=1e-5)


def test_judgements_hang_on_the_tally_and_nothing_else_does(world):
    with torch.no_grad():
        net = deepcopy(world.net)
        net.reward.tally.table.normal_()
        net.reward.out.weight.normal_()
    other = World.from_weights(world.config, net.state_dict(), SPEC)
    state = other.start(np.arange(8, dtype=np.uint64))
    rich = replace(state, tally=state.tally + 300)
    (one, a), (two, b) = other.imagine(state, acts(8)), other.imagine(rich, acts(8))
    assert (a.rew != b.rew).all() and (a.log_p == b.log_p).all()
    assert torch.equal(one.h, two.h) and torch.equal(one.z, two.z)


def test_a_world_with_a_clock_goes_by_the_hour_alone(world, tmp_path):
    """Dreams, observations and the file of a world whose dynamics are told the steps so far, and nothing else."""
    config = replace(world.config, clock=True)
    net = Net(config)
    net.load_state_dict(net.state_dict() | world.net.state_dict())
    torch.nn.init.normal_(net.dynamics.clock.weight)
    net.dynamics.late.fill_(500.0)
    World.from_weights(config, net.state_dict(), SPEC).save(tmp_path / "clock")
    World.from_weights(world.config, world.net.state_dict(), SPEC).save(tmp_path / "plain")
    other = World.load(tmp_path / "clock")
    assert other.config.clock and "clock" not in json.loads((tmp_path / "plain" / "world.json").read_text())["net"]
    state = other.start(np.arange(8, dtype=np.uint64))
    first, seen = other.imagine(state, acts(8)), other.observe(state, acts(8), other.decode(state))
    for add, alike in (((300.0, 0.0), True), ((0.0, 300.0), False)):
        later = replace(state, tally=state.tally + torch.tensor(add))
        assert torch.equal(other.imagine(later, acts(8))[0].h, first[0].h) == alike
        assert torch.equal(other.observe(later, acts(8), other.decode(state))[0].h, seen[0].h) == alike
