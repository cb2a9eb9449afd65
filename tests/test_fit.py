"""Fitting: what leads to what is learned as recorded, and a kill changes nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from slider import SPEC, draw, slide, slides

from gensim.core.files import load_tensors, save_tensors, sha256
from gensim.episodes import Dataset, Episode, read_episode, write_episode
from gensim.episodes.sample import Sampler
from gensim.world import FitConfig, NetConfig, World
from gensim.world.fit import CHECKPOINT, Fit, fit, net_config
from gensim.world.furnish import follow
from gensim.world.net import Net
from gensim.world.weights import MOST, Weights

NAMES = ("frames", "act", "rew", "term", "first", "valid", "tally")
PARTS = ("encoder.", "decoder.", "dynamics.", "reward.", "disagreement.")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return slides(tmp_path_factory.mktemp("slider"), 120)


@pytest.fixture(scope="module")
def fitted(data, tmp_path_factory) -> World:
    config = FitConfig(
        data,
        tmp_path_factory.mktemp("world"),
        steps=640,
        batch=8,
        length=12,
        decoded=6,
        hidden=64,
        lr=1e-3,
    )
    return fit(config, quiet=True)


def test_reward_and_end_arrive_with_their_own_step(data, fitted):
    """Off by one against the action, or without the fatal step, these figures fall apart."""
    tapes = [slide(seed) for seed in range(1000, 1064)]
    state = fitted.first(np.stack([t.frame(0) for t in tapes]), np.arange(64, dtype=np.uint64))
    now, before, said, ends, deaths = [], [], [], [], []
    for t in range(40):
        live = [i for i, tape in enumerate(tapes) if t < len(tape.act)]
        act = np.stack([tape.act[min(t, len(tape.act) - 1)] for tape in tapes])
        frames = np.stack([tape.frame(min(t + 1, len(tape.act))) for tape in tapes])
        state, step = fitted.observe(state, act, frames)
        now += [tapes[i].rew[t] for i in live if t]
        before += [tapes[i].rew[t - 1] for i in live if t]
        said += [step.rew[i] for i in live if t]
        ends += [step.term_prob[i] for i in live]
        deaths += [tapes[i].term[t] for i in live]
    ends, deaths = np.array(ends), np.array(deaths)
    assert np.corrcoef(said, now)[0, 1] > 0.8 > 0.5 > np.corrcoef(said, before)[0, 1]
    assert deaths.sum() >= 20 and (ends[deaths] > 0.3).mean() > 0.7  # the rare class is heard
    assert ends[~deaths].mean() < 0.1


def test_a_fitted_world_brings_starts_with_provenance_and_trust(data, fitted):
    again = World.load(fitted.folder)
    assert len(again.starts.real) == 120 and len(again.starts.mid) == 480
    assert (
        again.spec["real_frames"] == Dataset(data).meter()["real_frames"] == sum(len(slide(s).act) for s in range(120))
    )
    index = 120 + 7
    origin = again.starts.provenance(index)
    tape = slide(origin["seed"])
    np.testing.assert_allclose(origin["actions"], tape.act[: len(origin["actions"])])
    state = follow(again, [tape], len(origin["actions"]))[-1][0]  # filtered from the start it names
    start = again.start(np.zeros(1, np.uint64), index)
    assert np.corrcoef(state.h[0], start.h[0])[0, 1] > 0.9
    steps = len(origin["actions"])
    np.testing.assert_allclose(start.tally[0], [tape.rew[:steps].sum(), steps], rtol=1e-5)
    np.testing.assert_allclose(state.tally, start.tally, rtol=1e-5)
    assert np.isfinite(again.trust.table).all() and (np.diff(again.trust.table, axis=1) >= 0).all()


def test_dreams_of_real_starts_look_like_first_frames(fitted):
    frames = fitted.decode(fitted.start(np.arange(20, dtype=np.uint64))).astype(int)
    assert np.abs(frames - draw(14.0)).mean() < 12


RUN = """
import sys
from pathlib import Path
from gensim.world import FitConfig
from gensim.world.fit import fit
sizes = dict(steps=12, batch=2, length=6, decoded=3, hidden=32, save_every=0)
if sys.argv[3:]:
    sizes |= dict(look=6, stay=0.1, decay=0.5, noise=0.1, cells=True, groups=64, hidden=64)
    sizes |= dict(widths=(8, 8, 16), stages=4)
fit(FitConfig(Path(sys.argv[1]), Path(sys.argv[2]), **sizes), quiet=True)
"""


@pytest.mark.parametrize("looks", [[], ["looks"]])
def test_a_killed_fit_goes_on_bit_for_bit(data, tmp_path, looks):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([sys.executable, "-c", RUN, data, whole, *looks], check=True)
    process = subprocess.Popen([sys.executable, "-c", RUN, data, killed, *looks])
    while not (killed / CHECKPOINT).exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    step = int(load_tensors(killed / CHECKPOINT)[1]["step"])
    assert step >= 1
    subprocess.run([sys.executable, "-c", RUN, data, killed, *looks], check=True)
    assert sha256(whole / "world.safetensors") == sha256(killed / "world.safetensors")
    assert sha256(whole / "starts.npz") == sha256(killed / "starts.npz")


def test_a_fit_that_looks_first_begins_with_anothers_eye_and_dynamics_and_then_its_eye_stands(data, tmp_path):
    sizes = {"cells": True, "groups": 64, "hidden": 64, "widths": (8, 8, 16), "stages": 4, "length": 6, "batch": 2}
    config = FitConfig(data, tmp_path / "one", steps=4, look=2, head=8, **sizes)  # type: ignore[arg-type]
    one = fit(config, quiet=True)
    later = replace(config, out=tmp_path / "two", init=tmp_path / "one", head=16, seed=7)
    run = Fit(later, net_config(later, Dataset(data).spec))
    for name, weight in one.weights().items():
        taken = name.startswith(("encoder.", "decoder.", "dynamics."))
        assert not taken or torch.equal(run.average[name], weight), name
    whole = fit(replace(later, look=3, steps=5), quiet=True).weights()
    short = fit(replace(later, look=3, steps=4, out=tmp_path / "three"), quiet=True).weights()
    moved = {name.split(".")[0] for name in whole if not torch.equal(whole[name], short[name])}
    assert not {"encoder", "decoder"} & moved and {"dynamics", "reward"} <= moved


def test_an_eye_that_is_taken_stands_and_the_rest_may_be_of_other_sizes(data, tmp_path):
    sizes = {"cells": True, "groups": 64, "widths": (8, 8, 16), "stages": 4, "length": 6, "batch": 2}
    config = FitConfig(data, tmp_path / "one", steps=2, look=2, hidden=64, **sizes)  # type: ignore[arg-type]
    one = fit(config, quiet=True).weights()
    later = replace(config, out=tmp_path / "two", look=0, eye=tmp_path / "one", hidden=128, head=8, seed=3, noise=0.2)
    two = fit(later, quiet=True).weights()
    assert all(torch.equal(one[name], two[name]) for name in one if name.startswith(("encoder.", "decoder.")))
    with pytest.raises(ValueError, match=r"eye=True \(now None\): give"):  # which stood, and would learn now
        fit(replace(later, eye=None), quiet=True)
    with pytest.raises(ValueError, match=r"groups=64, unlike"):
        fit(replace(later, groups=128, out=tmp_path / "three"), quiet=True)


def test_a_world_that_is_drawn_anew_is_the_same_but_for_its_decoder(data, tmp_path):
    sizes = {"cells": True, "groups": 64, "hidden": 64, "widths": (8, 8, 16), "stages": 4, "length": 6, "batch": 2}
    config = FitConfig(data, tmp_path / "one", steps=3, **sizes)  # type: ignore[arg-type]
    one = fit(config, quiet=True).weights()
    again = replace(config, out=tmp_path / "two", look=2, steps=2, redraw=tmp_path / "one", light=True, seed=3)
    two = fit(again, quiet=True).weights()
    kept = [name for name in one if not name.startswith("decoder.")]
    assert kept == [name for name in two if not name.startswith("decoder.")]
    assert all(torch.equal(one[name], two[name]) for name in kept)
    assert any(name.startswith("decoder.smooth.") for name in two) and World.load(tmp_path / "two").config.light
    longer = fit(replace(again, out=tmp_path / "three", look=3, steps=3), quiet=True).weights()
    assert not torch.equal(two["decoder.out.weight"], longer["decoder.out.weight"])
    with pytest.raises(ValueError, match=r"hidden=64, unlike"):
        fit(replace(again, hidden=128, out=tmp_path / "four"), quiet=True)
    for wrong in ({"steps": 5}, {"eye": tmp_path / "one"}, {"look": 0}):
        with pytest.raises(ValueError, match="a decoder alone learns"):
            replace(again, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("about", [{"look": 2}, {"eye": Path("other")}])
def test_latents_that_are_found_once_are_not_mirrored(data, tmp_path, about):
    with pytest.raises(ValueError, match="with mirror"):
        FitConfig(data, tmp_path, mirror=(-1, 1), **about)


def test_noise_leaves_as_many_variables_as_it_should():
    """A window's frames are read with that share of other frames' variables, whole cells among them; none without."""
    config = NetConfig(size=32, groups=32, classes=50, hidden=16, widths=(8, 8, 8), head=8, cells=True)
    net, generator = Net.bare(config), torch.Generator().manual_seed(0)
    z = torch.eye(50)[torch.randint(50, (64, 9, 32))]
    assert torch.equal(net._noisy(z, torch.tensor(0.0), generator), z)
    wrong = (net._noisy(z, torch.tensor(0.1), generator) != z).any(-1).float()  # (64, 9, 32)
    each, pairs = wrong.mean(), (wrong[..., :4] * wrong[..., 4:8]).mean()  # a cell's variables lie four apart
    assert 0.13 < each < 0.23 and pairs > 2 * each**2


def test_another_fits_checkpoint_is_not_gone_on_with(data, tmp_path):
    config = FitConfig(data, tmp_path, steps=1, batch=2, length=6, hidden=32)
    fit(config, quiet=True)
    with pytest.raises(ValueError, match=r"a fit with lr=0.0006 \(now 1.0\): give"):
        fit(FitConfig(data, tmp_path, steps=2, batch=2, length=6, hidden=32, lr=1.0), quiet=True)
    longer = fit(FitConfig(data, tmp_path, steps=2, batch=2, length=6, hidden=32), quiet=True)
    assert longer.spec["fit_steps"] == 2


def test_the_encoder_begins_when_the_decoder_has(data, tmp_path):
    """Else the first gradients, which are of a picture's mean, drive the latents to where they say nothing."""
    torch.manual_seed(0)
    run = Fit(
        FitConfig(data, tmp_path, batch=2, length=6, hidden=32, warmup=3), net_config(FitConfig(data, data), SPEC)
    )
    batches, before = Sampler(Dataset(data), 6, 2, 0), deepcopy(run.net.module.state_dict())
    moved = []
    for step in range(5):
        run.update({name: torch.from_numpy(getattr(batches.batch(step), name)) for name in NAMES})
        now = run.net.module.state_dict()
        moved.append([any(not torch.equal(now[k], before[k]) for k in before if k.startswith(p)) for p in PARTS])
    assert [row[0] for row in moved] == [False, False, False, True, True] and all(all(row[1:]) for row in moved)


def test_held_out_episodes_exist(data):
    from gensim.episodes.sample import Sampler

    sampler = Sampler(Dataset(data), 12, 2, 0, 0.05)
    assert 1 <= len(sampler.heldout) <= 20
    assert len(read_episode(sampler.heldout[0].path).act) > 1


def test_logs_without_seeds_make_a_world(data, tmp_path):
    Dataset.create(tmp_path / "logs", SPEC)
    for seed in range(40):
        tape = slide(seed)
        rows = (tape.act, tape.rew, tape.term, tape.trunc, {**tape.meta, "seed": None})
        write_episode(tmp_path / "logs", Episode.pack(tape.frames(), *rows), f"{seed:04d}")
    world = fit(FitConfig(tmp_path / "logs", tmp_path / "w", steps=1, batch=2, length=6, hidden=32), quiet=True)
    assert world.starts.provenance(0) == {"seed": None, "actions": []}
    assert world.starts.provenance(41)["seed"] is None


def test_emphasised_pixels_weigh_their_factor_and_the_others_one(data):
    net_config = NetConfig(size=32, actions=1, groups=4, classes=4, hidden=16, widths=(4, 4, 4, 4), head=8)
    batch = {name: torch.from_numpy(getattr(Sampler(Dataset(data), 8, 2, 0).batch(0), name)) for name in NAMES}
    torch.manual_seed(0)
    net = Net(net_config)

    def rec(part, settled=1.0):
        weights = Weights.of((32, 32), part)
        generator = torch.Generator().manual_seed(1)
        return net(batch, 1.0, 3, generator, weights and partial(weights, settled=settled))["rec"].item()

    everywhere, top, bottom = rec((0, 1, 0, 1, 3.0)), rec((0, 0.25, 0, 1, 3.0)), rec((0.25, 1, 0, 1, 3.0))
    plain = rec(None)
    assert everywhere == pytest.approx(3 * plain, rel=1e-5) and plain < top < everywhere
    assert top + bottom == pytest.approx(everywhere + plain, rel=1e-5)
    assert rec((0, 1, 0, 1, 3.0), 0.0) == pytest.approx(plain, rel=1e-5)
    assert rec((0, 1, 0, 1, 3.0), 0.5) == pytest.approx(2 * plain, rel=1e-5)


def test_rare_colours_weigh_by_the_root_of_their_rarity_and_all_pixels_one():
    frames = torch.zeros(10, 32, 32, 3, dtype=torch.uint8)
    frames[0, :8, :8] = torch.tensor([255, 200, 20], dtype=torch.uint8)  # 64 of 10,240 pixels
    frames[:, 20:] = 100
    weight = Weights.of((32, 32), None, frames)(frames)
    fire, grey, black = weight[0, 0, 0], weight[0, 25, 0], weight[1, 0, 0]
    share = {
        name: (weight == value).float().mean() for name, value in (("fire", fire), ("grey", grey), ("black", black))
    }
    assert share["fire"] == 64 / 10240 and sum(share.values()) == pytest.approx(1.0)
    assert weight.mean() == pytest.approx(1.0, abs=1e-5) and fire > 5 * grey
    assert fire / grey == pytest.approx(float((share["grey"] / share["fire"]) ** 0.5), rel=1e-4)
    unseen = torch.full((1, 32, 32, 3), 255, dtype=torch.uint8)
    assert Weights.of((32, 32), None, frames)(unseen).max() <= 1.5 * MOST
    both = Weights.of((32, 32), (0, 0.5, 0, 1, 4.0), frames)(frames)
    assert torch.equal(both[:, 16:], weight[:, 16:]) and torch.equal(both[:, :16], 4 * weight[:, :16])


def test_a_fit_counts_colours_where_it_is_asked_to(data, tmp_path):
    config = FitConfig(data, tmp_path, steps=1, batch=2, length=6, hidden=32, rarity=True)
    run = Fit(config, net_config(config, SPEC))
    assert run.weights is None
    run.count(Sampler(Dataset(data), 6, 2, 0))
    frames = torch.from_numpy(Sampler(Dataset(data), 6, 2, 0).some(500))
    assert run.weights(frames).std() > 0.1


def test_rarity_and_mirror_reach_the_fit(data, tmp_path):
    plain = FitConfig(data, tmp_path / "plain", steps=2, batch=2, length=6, hidden=32, settle=1, tally=False)
    others = {"rarity": {"rarity": True}, "mirror": {"mirror": (-1,)}, "none": {"mirror": ()}}
    made = {name: fit(replace(plain, out=tmp_path / name, **one), quiet=True).weights() for name, one in others.items()}
    base = fit(plain, quiet=True).weights()
    equal = {name: all(torch.equal(one[k], base[k]) for k in base) for name, one in made.items()}
    assert equal == {"rarity": False, "mirror": False, "none": True}


def test_a_fit_from_before_a_setting_was_there_goes_on(data, tmp_path):
    config = FitConfig(data, tmp_path, steps=1, batch=2, length=6, hidden=32, rarity=False)
    fit(config, quiet=True)
    tensors, meta = load_tensors(tmp_path / CHECKPOINT)
    older = {name: value for name, value in json.loads(meta["config"]).items() if name not in ("rarity", "mirror")}
    save_tensors(tmp_path / CHECKPOINT, tensors, meta | {"config": json.dumps(older)})
    assert fit(replace(config, steps=2), quiet=True).spec["fit_steps"] == 2
    save_tensors(tmp_path / CHECKPOINT, tensors, meta | {"config": json.dumps(older)})
    with pytest.raises(ValueError, match=r"a fit with rarity=None \(now True\): give"):
        fit(replace(config, steps=2, rarity=True), quiet=True)


@pytest.mark.parametrize("tally", [None, True, False])
def test_heads_that_are_not_told_the_tally_do_not_go_by_it(data, tmp_path, tally):
    config = FitConfig(data, tmp_path, steps=1, batch=2, length=6, hidden=32, tally=tally)
    run = Fit(config, net_config(config, SPEC))
    run.limit(torch.from_numpy(Sampler(Dataset(data), 6, 2, 0).limits))
    for head in (run.net.module.reward, run.net.module.termination):
        torch.nn.init.normal_(head.tally.table)
        begun, late = head.tally(torch.tensor([[0.0, 0.0], [9.0, 30.0]]))
        assert torch.equal(begun, late) == (tally is False)
    assert World.load(fit(config, quiet=True).folder).spec["fit_steps"] == 1


def test_dynamics_learn_a_clock_from_where_a_fit_without_one_ended(data, tmp_path):
    plain = FitConfig(data, tmp_path / "plain", steps=1, batch=2, length=6, hidden=32, settle=1)
    fit(plain, quiet=True)
    config = replace(plain, out=tmp_path / "clock", init=tmp_path / "plain", clock=True, steps=2)
    world = fit(config, quiet=True)
    weights = World.load(world.folder).weights()
    assert world.config.clock and weights["dynamics.clock.weight"].any()
    assert weights["dynamics.late"] == max(episode.length for episode in Dataset(data).episodes) - 1
    with pytest.raises(ValueError, match="clock=True, unlike this fit's"):
        fit(replace(config, init=world.folder, clock=None, out=tmp_path / "back"), quiet=True)


@pytest.mark.parametrize("bad", [{"steps": 0}, {"minutes": -5.0}, {"warmup": 0}, {"batch": 0}, {"decoded": 0}])
def test_a_fit_that_cannot_be_is_refused(data, tmp_path, bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}={next(iter(bad.values()))}"):
        FitConfig(data, tmp_path, **bad)
