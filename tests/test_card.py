"""The card of a world: held-out frames, quality by horizon, what is alive in CarRacing, and the files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from gensim.core.files import read_json, sha256
from gensim.envs.carracing import alive, readings
from gensim.envs.carracing.replay import Truth, replay, simulator
from gensim.envs.real import make_real
from gensim.envs.registry import shipped
from gensim.episodes import Dataset, Episode, write_episode
from gensim.episodes.sample import is_heldout
from gensim.gap import GapConfig
from gensim.gap import gap as gap_of
from gensim.world import NetConfig, World
from gensim.world.card import amount, amounts, summary
from gensim.world.heldout import Heldout
from gensim.world.pool import Pool
from gensim.world.quality import (
    CONTEXT,
    Futures,
    by_horizon,
    ends,
    figure,
    filtered,
    futures,
    mean_figure,
    psnr,
    rewards,
    ssim,
)

STEPS = 70  # of the recorded drive, two simulator frames each
SPEC = {"env_id": "CarRacing-v3", "env_kwargs": {}, "size": 64, "skip": 2, "fps": 25}
SPEC |= {"action": {"type": "box", "dim": 2}}
CONFIG = NetConfig(groups=8, classes=8, hidden=32, widths=(4, 8, 8, 8), head=16)


@pytest.fixture(scope="module")
def drive() -> tuple[Episode, list[Truth]]:
    """A short drive in the simulator, straight on and then with full wheel, and the truth at each frame."""
    env = make_real("CarRacing-v3", skip=2)
    frame, _ = env.reset(seed=3)
    frames, truths, acts, rew = [frame], [Truth.of(env)], [], []
    for t in range(STEPS):
        acts.append(np.array([0.0 if t < 45 else -1.0 if t < 58 else 1.0, 0.8 if t < 45 else 0.1], np.float32))
        frame, reward, *_ = env.step(acts[-1])
        frames.append(frame)
        truths.append(Truth.of(env))
        rew.append(reward)
    env.close()
    term, trunc = np.zeros(STEPS, bool), np.arange(STEPS) == STEPS - 1
    meta = {**SPEC, "seed": 3, "policy": "random", "real_frames": 2 * STEPS}
    return Episode.pack(frames, np.stack(acts), rew, term, trunc, meta), truths


@pytest.fixture(scope="module")
def data(drive: Any, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The drive under eight names, of which some are held out; one of them ends with a termination."""
    folder = tmp_path_factory.mktemp("data")
    dataset = Dataset.create(folder, SPEC)
    for i in range(8):
        write_episode(folder, drive[0] if i else replace(drive[0], term=drive[0].trunc), f"00-{i:06d}")
    return dataset


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A small random world of CarRacing's frames and actions."""
    one = World.random({**SPEC, "real_frames": 1120}, CONFIG, 0)
    one.save(tmp_path_factory.mktemp("world"))
    return one


@pytest.fixture(scope="module")
def heldout(data: Dataset) -> Heldout:
    """Five segments of a dozen frames."""
    return Heldout.gather(data.episodes, 5, 12, seed=0)


@pytest.fixture(scope="module")
def told(world: World, heldout: Heldout, data: Dataset) -> Futures:
    """What follows those segments' contexts."""
    return futures(world, heldout, Pool(data.episodes, 7, moments=50), samples=2)


def noise(n: int, h: int = 24, w: int = 20, seed: int = 0) -> np.ndarray:
    """Frames without any order."""
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, 3), np.uint8)


# ------------------------------------------------------------------ PSNR and SSIM


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_laws_of_a_measure(measure: Callable[..., np.ndarray]) -> None:
    a, b = noise(3), noise(3, seed=1)
    small = np.clip(a.astype(int) + np.random.default_rng(2).integers(-9, 10, a.shape), 0, 255).astype(np.uint8)
    assert measure(a, b).shape == (3,)
    assert np.allclose(measure(a, b), measure(b, a))
    assert np.allclose(measure(a, b)[1:], measure(a[1:], b[1:]))
    assert (measure(a, a) > measure(a, small)).all() and (measure(a, small) > measure(a, b)).all()
    for wrong in (b[:2], b.astype(np.float32), b[..., 0]):
        with pytest.raises(ValueError, match="uint8"):
            measure(a, wrong)


def test_psnr_is_what_it_is_defined_as() -> None:
    a = np.full((2, 8, 8, 3), 100, np.uint8)
    assert np.allclose(psnr(a, a + np.array([5, 50], np.uint8)[:, None, None, None]), 20 * np.log10([51, 5.1]))
    assert np.isinf(psnr(a, a)).all()


def test_ssim_is_what_it_is_defined_as() -> None:
    a, b = noise(2), noise(2, seed=1)
    b[1] = 255 - a[1]
    assert np.allclose(ssim(a, a), 1)
    assert np.allclose(ssim(a, b), [_slow_ssim(x, y) for x, y in zip(a, b)], atol=1e-9)
    assert -1 <= ssim(a, b)[1] < 0
    with pytest.raises(ValueError, match="11 pixels"):
        ssim(noise(1, 10, 10), noise(1, 10, 10))


def _slow_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """SSIM as the paper writes it, window by window."""
    g = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(g, g) / g.sum() ** 2
    c1, c2, values = 2.55**2, 7.65**2, []
    for channel in range(3):
        for i in range(x.shape[0] - 10):
            for j in range(x.shape[1] - 10):
                p, q = (f[i : i + 11, j : j + 11, channel].astype(float) for f in (x, y))
                mp, mq = (weights * p).sum(), (weights * q).sum()
                vp, vq = (weights * (p - mp) ** 2).sum(), (weights * (q - mq) ** 2).sum()
                cov = (weights * (p - mp) * (q - mq)).sum()
                values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return float(np.mean(values))


# ------------------------------------------------------------------ intervals


def test_an_interval_holds_its_value_and_shrinks_with_more_groups() -> None:
    values = np.random.default_rng(0).normal(3, 1, (400, 2, 1))
    many, few = mean_figure(values, np.arange(400)), mean_figure(values, np.arange(400) % 8)
    assert many["low"][0] < many["value"][0] < many["high"][0]
    assert 0.1 < many["high"][0] - many["low"][0] < 0.2  # 2 x 1.96 / sqrt(800) = 0.139
    assert abs(few["value"][0] - many["value"][0]) < 1e-9
    alike = np.repeat(values[:8], 50, 0)  # the same eight numbers fifty times say no more than eight
    assert mean_figure(alike, np.arange(400) // 50)["high"][0] > mean_figure(alike, np.arange(400))["high"][0] + 0.2


def test_what_does_not_exist_is_null() -> None:
    nothing = mean_figure(np.full((4, 1, 2), np.nan), np.arange(4))
    assert nothing == {"value": [None, None], "low": [None, None], "high": [None, None]}
    partly = np.array([[[1.0, np.nan]], [[3.0, np.nan]]])
    assert mean_figure(partly, np.arange(2))["value"] == [2.0, None]
    assert figure(np.ones((3, 2)), lambda p: p[..., 0] / p[..., 1], np.arange(3))["value"] == 1.0
    assert mean_figure(np.ones((4, 1, 1)), np.zeros(4))["low"] == [None]
    json.dumps(nothing, allow_nan=False)


# ------------------------------------------------------------------ held-out frames


def test_segments_are_what_was_recorded(data: Dataset, heldout: Heldout, drive: Any) -> None:
    episode = drive[0]
    assert (len(heldout), heldout.length, heldout.frames.shape) == (5, 12, (5, 12, 64, 64, 3))
    assert heldout.start[0] == 0 and heldout.start[1] == STEPS - 11 and heldout.term[1, -1]
    for i, start in enumerate(heldout.start):
        assert (heldout.frames[i] == episode.frames(start, start + 12)).all()
        assert (heldout.act[i] == episode.act[start : start + 11]).all()
        assert (heldout.rew[i] == episode.rew[start : start + 11]).all()
        assert heldout.provenance(i)["actions"] == episode.act[:start].tolist()
        assert heldout.provenance(i)["seed"] == 3 and heldout.provenance(i)["skip"] == 2


def test_held_out_frames_come_back_from_their_file(heldout: Heldout, tmp_path: Path) -> None:
    heldout.save(tmp_path / "heldout.npz")
    back = Heldout.load(tmp_path / "heldout.npz")
    for name, value in vars(heldout).items():
        assert np.array_equal(getattr(back, name), value), name
    some = back.rows([3, 1])
    assert (some.frames == heldout.frames[[3, 1]]).all() and (some.start == heldout.start[[3, 1]]).all()
    assert len(heldout.within(1)) == 1 and heldout.within() is heldout


def test_a_file_of_held_out_frames_that_is_none(heldout: Heldout, tmp_path: Path) -> None:
    path = tmp_path / "heldout.npz"
    with pytest.raises(FileNotFoundError, match="gensim gap"):
        Heldout.load(path)
    heldout.save(path)
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"\x93NUMPY" + whole, b"text"):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"heldout\.npz is damaged"):
            Heldout.load(path)
    replace(heldout, rew=heldout.rew[:, :-1]).save(path)
    with pytest.raises(ValueError, match="do not fit"):
        Heldout.load(path)
    with open(path, "wb") as file:
        np.savez(file, frames=np.zeros(3))
    with pytest.raises(ValueError, match="damaged or no file"):
        Heldout.load(path)


def test_held_out_frames_that_cannot_be(data: Dataset, heldout: Heldout, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"up to 71 frames: give a shorter length"):
        Heldout.gather(data.episodes, 2, 72)
    with pytest.raises(ValueError, match="0 held-out episodes"):
        Heldout.gather([], 2)
    noisy = np.random.default_rng(0).integers(0, 256, 4_000_000).astype(np.uint8)
    with pytest.raises(ValueError, match="keep fewer frames"):
        replace(heldout, png=noisy).save(tmp_path / "heldout.npz")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------ by horizon


def test_futures_are_told_as_they_were(told: Futures, heldout: Heldout) -> None:
    assert told.horizons == (1, 2, 5)
    assert (told.real[:, 0] == heldout.frames[:, CONTEXT - 1 + np.array([1, 2, 5])]).all()
    assert (told.tracks["real"] == heldout.frames[:, CONTEXT - 1 : CONTEXT + 5]).all()
    assert (told.tracks["dream"][:, [1, 2, 5]] == told.sides["dream"][:, 0]).all()
    assert (told.rivals["repeated"][:, 0, 2] == heldout.frames[:, CONTEXT - 1]).all()
    assert told.rivals["dream"].shape == (5, 2, 3, 64, 64, 3) and told.dreamed.shape == (5, 2, 5)
    assert (told.rew == heldout.rew[:, CONTEXT - 1 : CONTEXT + 4]).all()
    assert (told.rivals["dream"][:, 0] != told.rivals["dream"][:, 1]).any()


def test_dreams_do_not_depend_on_each_other(world: World, heldout: Heldout, told: Futures) -> None:
    again = futures(world, heldout, samples=2)
    assert (again.rivals["dream"] == told.rivals["dream"]).all() and "nearest" not in again.rivals


def test_only_an_episodes_beginning_is_filtered_as_such(heldout: Heldout) -> None:
    world = World.random(SPEC, CONFIG, 1)
    with torch.no_grad():
        world.net.dynamics.initial[0] += 1  # the memory before a frame in mid-episode
    begun, other = filtered(world, heldout), filtered(world, replace(heldout, start=heldout.start + 1))
    assert (begun.h != other.h).any(1).tolist() == [True, False, False, False, False]


def test_the_nearest_moment_is_the_one_that_was_recorded(data: Dataset, heldout: Heldout) -> None:
    pool = Pool(data.episodes[:1], 7, moments=10_000)
    acts = heldout.inputs[:, CONTEXT - 1 : CONTEXT + 4]
    found = pool.found(heldout.frames[2:, CONTEXT - 1], acts[2:], 3)
    shown = pool.play(found, range(6))
    assert (shown[:, 0] == heldout.frames[2:, CONTEXT - 1 : CONTEXT + 5]).all()
    assert (found == found[:, :1]).all()  # one episode is one candidate
    others = Pool(data.episodes, 7, moments=10_000).found(heldout.frames[2:, CONTEXT - 1], acts[2:], 3)
    assert all(len({*row[:, 0].tolist()}) == 3 for row in others)
    with pytest.raises(ValueError, match="look less far ahead"):
        Pool(data.episodes, STEPS + 1)


def test_figures_by_horizon(told: Futures) -> None:
    result = by_horizon(told)
    assert result["horizons"] == [1, 2, 5]
    for name in ("psnr", "ssim"):
        assert result[name].keys() == {"dream", "mean dream", "repeated", "nearest", "mean nearest"}
        one = result[name]["dream"]
        assert all(low <= value <= high for low, value, high in zip(one["low"], one["value"], one["high"]))
    perfect = replace(told, sides={"real": told.real, "dream": told.real})
    assert by_horizon(perfect)["psnr"]["dream"]["value"] == [60.0] * 3
    assert by_horizon(perfect)["ssim"]["dream"]["value"] == [1.0] * 3


def test_judgements(world: World, heldout: Heldout, told: Futures) -> None:
    true = replace(told, dreamed=2 * told.rew[:, None])
    result = rewards(true)
    assert abs(result["dreamed"]["value"] - 2 * result["recorded"]["value"]) < 1e-3
    assert result["correlation"]["value"] == 1
    found = ends(world, heldout)
    assert found["terminations"] == heldout.term.sum() == 1 and found["steps"] == 55
    assert 0 <= found["false_alarms"]["value"] <= 1


# ------------------------------------------------------------------ alive


def test_readings_agree_with_the_simulator(drive: Any) -> None:
    frames, truths = drive[0].frames()[26:], drive[1][26:]  # from when the camera has come down
    heading, rate, pace, wheels = (np.array([getattr(t, n) for t in truths]) for n in Truth.__annotations__)
    assert pace.max() > 30 and abs(np.diff(heading)).max() > 0.03
    assert abs(readings.speed(frames) - pace).max() < 1.4
    assert abs(readings.turning(frames) - rate).max() < 0.15
    assert (readings.road_under_car(frames) == (wheels >= 2)).mean() > 0.9
    turn, ahead, left = readings.motion(frames[:-1], frames[1:]).T
    off = abs(turn - np.diff(heading))
    assert off.mean() < 0.01 and off.max() < 0.05
    assert (ahead > 0).mean() > 0.9
    assert abs(25 * np.hypot(ahead, left) - (pace[:-1] + pace[1:]) / 2).mean() < 4


def test_readings_refuse_other_frames() -> None:
    for reading in (readings.road_share, readings.speed, readings.turning):
        with pytest.raises(ValueError, match="frames of CarRacing"):
            reading(noise(2))


def test_a_view_that_is_turned() -> None:
    scene = cv2.GaussianBlur(noise(1, 60, 76)[0], (0, 0), 4)
    scene = cv2.normalize(scene, None, 0, 255, cv2.NORM_MINMAX)
    turned = []
    for angle in (0.0, 3.0, -3.0):
        about = cv2.getRotationMatrix2D((40.0, 48.0), angle, 1.0)  # in a view as wide as it really is
        wide = cv2.warpAffine(cv2.resize(scene, (80, 64)), about, (80, 64), borderMode=cv2.BORDER_REFLECT)
        turned.append(cv2.resize(wide, (64, 64)))
    before, after = np.stack([turned[0]] * 2), np.stack(turned[1:])
    angles, ahead, left = readings.motion(before, after).T
    assert (
        np.allclose(abs(angles), np.deg2rad(3), atol=0.015)
        and angles[0] * angles[1] < 0
        and abs(ahead).max() < 0.3 > abs(left).max()
    )
    grass = np.full((1, 64, 64, 3), (102, 204, 102), np.uint8)
    assert (readings.motion(grass, grass) == 0).all()


def test_agreement_is_counted_as_it_should() -> None:
    true = np.array([True] * 6 + [False] * 4)[:, None, None]
    said = np.array([True] * 5 + [False] * 4 + [True])[:, None, None]
    found = alive.agreement(said, true, np.arange(10))
    assert found["accuracy"]["value"] == [0.8]
    assert abs(found["balanced"]["value"][0] - (5 / 6 + 3 / 4) / 2) < 1e-4
    assert abs(found["kappa"]["value"][0] - (0.8 - 0.52) / 0.48) < 1e-4
    always = alive.agreement(np.ones_like(true), true, np.arange(10))
    assert always["balanced"]["value"] == [0.5] and always["kappa"]["value"] == [0.0]


def test_a_replay_that_comes_elsewhere_is_refused(heldout: Heldout) -> None:
    with simulator(heldout) as env, pytest.raises(ValueError, match="does not replay"):
        replay(env, replace(heldout, seed=heldout.seed + 1), 0)


# ------------------------------------------------------------------ the whole card


def test_returns_are_told_by_three_digits() -> None:
    assert amounts(892.6, -7.25) == ["893", "-7"] and amounts(0.0) == ["0"] and amounts(-0.004, 30.0) == ["0.0", "30.0"]
    assert amount({"mean": 0.52, "ci95": [0.031, 1.012]}) == "0.52 (0.03 to 1.01)"
    assert amount({"mean": -0.00123, "ci95": None}) == "-0.00123"
    quality = {"horizons": [5], "psnr": {"dream": {"value": [20.0]}, "repeated": {"value": [19.0]}}}
    figures = {"quality": quality, "returns": {"dream": {"mean": 0.91}, "real": {"mean": 0.52}}}
    assert "return 0.910 dreamed, 0.520 real" in summary({"figures": figures, "world": {"fps": 10}})


def test_a_card_of_what_is_alive(world: World, data: Dataset) -> None:
    from gensim.commands.worlds import describe

    folder = world.folder
    assert folder and 0 < sum(is_heldout(header, 0.5) for header in data.episodes) < 8
    config = GapConfig(folder, data.folder, segments=4, samples=2, simulated=1, kept=2, holdout=0.5)
    found = gap_of(config)
    gap = read_json(folder / "gap.json")
    assert found == gap and gap["summary"] == describe("w", folder)["gap"]
    assert gap["files"] == {name: sha256(folder / name) for name in ("world.safetensors", "starts.npz", "heldout.npz")}
    assert gap["meter"]["real_frames"] == 8 * 2 * STEPS
    figures = gap["figures"]
    assert figures["quality"]["horizons"] == [1, 2, 5, 10, 30, 45]
    assert "returns" not in figures  # no agent was given
    assert figures["alive"]["instruments"]["speed"]["value"] < 1.5
    assert len(Heldout.load(folder / "heldout.npz")) == 2
    text = (folder / "card.md").read_text()
    assert "nan" not in text and "None" not in text and "## Limits" in text
    picture = folder / "dream_vs_real.png"
    assert picture.stat().st_size < 400_000 and cv2.imread(str(picture)).shape[2] == 3
    World.load(folder)


@pytest.mark.parametrize("name", sorted(shipped()))
def test_what_ships_has_a_card_of_its_own_weights(name: str) -> None:
    """A world without a card does not ship, nor one with the card of other weights."""
    folder = shipped()[name]
    gap, files = read_json(folder / "gap.json"), read_json(folder / "world.json")["files"]
    assert gap["world"]["hash"] == gap["files"]["world.safetensors"] == files["world.safetensors"]
    assert gap["files"] == {one: sha256(folder / one) for one in gap["files"]} and files.items() <= gap["files"].items()
    assert gap["world"]["hash"] in (folder / "card.md").read_text(encoding="utf-8")
