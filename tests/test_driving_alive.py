"""What is told of a driving world: figures are perfect where the world is, readings read, judges learn and judge."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gensim.envs.driving import SPEC as DRIVING
from gensim.envs.driving.alive import describe, labels, measure, steering
from gensim.envs.driving.judges import Classifier, Segmenter, learn, said
from gensim.envs.driving.readings import FOCAL, shifted, turned
from gensim.envs.driving.source.labels import CLASSES, GROUPS, ROAD, SKY, VEHICLE, grouped
from gensim.envs.driving.things import drivable, things
from gensim.episodes import Dataset
from gensim.episodes.store import Episode, write_episode
from gensim.world import NetConfig, World
from gensim.world.furnish import follow
from gensim.world.heldout import Heldout
from gensim.world.pool import Pool
from gensim.world.quality import by_horizon, futures

NUMBERS = ("speed", "yaw_rate", "forward", "left", "turn")
ABOUT: dict[str, Any] = {
    **{"env_id": "MetaDrive-v0", "env_kwargs": {}, "size": 64, "width": 96, "skip": 1, "fps": 10},
    **{"action": DRIVING.action.to_dict(), "labels": list(CLASSES), "numbers": list(NUMBERS)},
    **{"depth": {"near": 0.5, "far": 500.0, "steps": 1023}, "conditions": {"traffic": [0.0, 0.4], "people": [0, 24]}},
    "kinds": ["none", "vehicle", "arrived"],
}
COLOUR = np.random.default_rng(5).integers(30, 220, (len(CLASSES), 3), np.uint8)


def _drive(seed: int, t: int = 24) -> Episode:
    """A textured sky that turns with the ego, a road, and a vehicle before it; labels are exact."""
    rng = np.random.default_rng(seed)
    sky = rng.integers(60, 200, (1, 24, 40, 1)).repeat(8, 2)[..., :300, :]
    classes, instances = np.full((t + 1, 64, 96), ROAD, np.uint8), np.zeros((t + 1, 64, 96), np.uint8)
    classes[:, :24] = SKY
    turn = np.where(np.arange(t + 1) % 12 < 6, 3, -3) * (1 if seed % 2 else -1)  # pixels to the left, each step
    frames, at = COLOUR[classes], 120
    for i in range(t + 1):
        at -= int(turn[i]) if i else 0
        frames[i, :24] = sky[0, :, at : at + 96]
        classes[i, 26:38, 30 + i : 48 + i], instances[i, 26:38, 30 + i : 48 + i] = VEHICLE, 7
        frames[i, 26:38, 30 + i : 48 + i] = COLOUR[VEHICLE]
    depth = np.where(classes == SKY, 1023, np.where(classes == VEHICLE, 500, 700)).astype(np.uint16)
    numbers = np.zeros((t + 1, 5))
    numbers[:, 0], numbers[:, 4] = 10.0, np.where(np.arange(t + 1) > 0, turn, 0) / FOCAL
    end = np.arange(t) == t - 1
    meta = {**ABOUT, "seed": seed, "real_frames": t, "end": "vehicle", "traffic": 0.1, "people": 18}
    layers = {"classes": classes, "instances": instances, "depth": depth}
    return Episode.pack(
        frames, rng.uniform(-1, 1, (t, 2)), np.ones(t), end, ~end & end, meta, layers, {"numbers": numbers}
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    found = Dataset.create(tmp_path_factory.mktemp("street") / "data", ABOUT)
    for seed in range(6):
        write_episode(found.folder, _drive(seed), f"{seed:06d}")
    return found


@pytest.fixture(scope="module")
def heldout(data: Dataset) -> Heldout:
    return Heldout.gather(data.episodes, 4, 20)


@pytest.fixture(scope="module")
def world() -> World:
    about = {
        "labels": CLASSES,
        "readouts": NUMBERS,
        "conditions": (*ABOUT["conditions"],),
        "kinds": (*ABOUT["kinds"],),
    }
    sizes = {"groups": 96, "classes": 4, "hidden": 48, "widths": (8, 8, 16), "head": 8, "cells": True, "stages": 2}
    return World.random(ABOUT, NetConfig(size=64, width=96, **sizes, **about))  # type: ignore[arg-type]


def test_held_out_frames_keep_their_labels(data: Dataset, heldout: Heldout, tmp_path: Path) -> None:
    heldout.save(tmp_path / "heldout.npz")
    back = Heldout.load(tmp_path / "heldout.npz")
    for name in ("classes", "instances", "depth"):
        assert (back.layer(name) == heldout.layer(name)).all()
    assert (back.numbers == heldout.numbers).all() and (back.cond == heldout.cond).all()
    for one in (heldout, back):  # whatever order a file or a world has them in
        assert one.told(("traffic", "people"))[0].tolist() == [0.25, 0.75] and one.told(("people",))[2] == 0.75
        with pytest.raises(ValueError, match="fog: these frames have people, traffic"):
            one.told(("fog",))
    for i, header in enumerate(heldout.episode):
        tape, start = _drive(int(header[3:9])), int(heldout.start[i])
        assert all((back.layer("classes")[i, t] == tape.layers["classes"].at(start + t)).all() for t in range(20))
    some = back.rows([2, 0])
    assert (some.layer("depth") == heldout.layer("depth")[[2, 0]]).all()
    with pytest.raises(ValueError, match="classes"):
        back.layer("height")


def test_held_out_labels_that_are_none_are_refused(heldout: Heldout, tmp_path: Path) -> None:
    rows, path = heldout.rows([0]), tmp_path / "heldout.npz"
    wrong = [
        {"meta": {**rows.meta, "labels": ["sky", "road"]}},  # a vehicle is none of these
        {"meta": {**rows.meta, "depth": {"near": 0.0, "far": 5.0, "steps": 1023}}},
        {"meta": {**rows.meta, "depth": {"near": 0.5, "far": 5.0, "steps": 10.7}}},
        {"layers": {**rows.layers, "classes": rows.layers["depth"]}},
        {"numbers": rows.numbers[:, :, :2]},
        {"layers": {}},
    ]
    for one in wrong:
        replace(rows, **one).save(path)
        with pytest.raises(ValueError, match="damaged or no file"):
            Heldout.load(path)


class Perfect:
    """A world that decodes just what was recorded, as far as `labels` asks one."""

    def __init__(self, heldout: Heldout) -> None:
        frames = heldout.frames.reshape(-1, 64, 96, 3)
        kinds, far = (heldout.layer(name).reshape(-1, 64, 96) for name in ("classes", "depth"))
        self.known = {frame.tobytes(): told for frame, *told in zip(frames, kinds, far)}

    def first(self, frames: np.ndarray, keys: np.ndarray) -> np.ndarray:
        return frames

    def labelled(self, frames: np.ndarray) -> tuple[np.ndarray, ...]:
        told = [self.known[frame.tobytes()] for frame in frames]
        return frames, np.stack([a for a, _ in told]), np.stack([b for _, b in told])


def test_labels_that_are_right_have_figures_of_one(heldout: Heldout, world: World) -> None:
    best, chance = labels(Perfect(heldout), heldout), labels(world, heldout)  # type: ignore[arg-type]
    for name in ("miou", "recall", "precision"):
        assert best[name]["value"] == 1.0 and (chance[name]["value"] or 0.0) < 0.7
    assert best["boxes"] == chance["boxes"] == best["frames"] == 4 * 4
    assert best["iou"]["road"]["value"] == 1.0 and best["iou"]["person"]["value"] is None


def test_all_is_measured_and_told(heldout: Heldout, world: World, data: Dataset) -> None:
    told = futures(world, heldout, Pool(data.episodes, 15, moments=60), horizons=(1, 5, 10), samples=3)
    figures = by_horizon(told)
    for kind in ("psnr", "miou", "far"):
        assert figures[kind].keys() == {"dream", "mean dream", "repeated", "nearest", "mean nearest"}
    assert figures["miou"]["nearest"]["value"][0] > 0.9 > figures["miou"]["dream"]["value"][0]
    assert figures["far"]["nearest"]["value"][0] < figures["far"]["dream"]["value"][0]
    alive = measure(world, heldout, told, 0)
    for name in ("fog", "night", "low sun"):
        assert alive["weather"][name]["psnr"]["dream"]["value"] != alive["weather"]["clear"]["psnr"]["dream"]["value"]
    assert alive["weather"]["clear"]["psnr"]["repeated"]["value"] == figures["psnr"]["repeated"]["value"]
    text = describe(alive, 10.0)
    assert all(part in text for part in ("## Labels", "## Steering", "## In weather", "night and rain, repeated"))


@settings(deadline=None, max_examples=30)
@given(st.integers(-14, 14), st.integers(0, 1000))
def test_a_scene_that_moves_is_seen_to_move(pixels: int, seed: int) -> None:
    wide = np.random.default_rng(seed).integers(0, 256, (2, 64, 40, 3), np.uint8).repeat(4, 2)  # 160 across
    before, after = wide[:, :, 32:128], wide[:, :, 32 - pixels : 128 - pixels]
    np.testing.assert_allclose(shifted(before, after), pixels, atol=0.3)


def test_turns_are_read_off_frames(heldout: Heldout, world: World) -> None:
    frames = heldout.frames[:, :6]
    real = heldout.numbers[:, 1:6, 4].sum(1)
    np.testing.assert_allclose(turned(frames), real, atol=0.02)
    tried = steering(world, heldout)
    assert tried is not None and tried["pairs"] == 4 and tried["reading"]["correlation"] > 0.98


def test_things_are_told_nearest_first(heldout: Heldout) -> None:
    classes, depth = heldout.layer("classes")[0, 3].copy(), np.full((64, 96), 80.0)
    depth[classes == VEHICLE] = 40.0
    classes[30:50, 2:8], depth[30:50, 2:8] = CLASSES.index("person"), 9.0
    near, away = things(classes, depth)
    assert (near.kind, near.box, near.distance) == ("person", (2, 30, 8, 50), 9.0)
    assert away.kind == "vehicle" and away.distance == 40.0 and (away.mask == (classes == VEHICLE)).all()
    assert len(things(classes, depth, high=15)) == 1
    assert (drivable(classes) == (classes == ROAD)).all()
    with pytest.raises(ValueError, match="of one frame"):
        things(classes[None], depth)


def test_groups_are_those_of_the_figures() -> None:
    assert [*GROUPS] == ["road", "lane marking", "vehicle", "person", "sky", "other"]
    assert grouped(np.arange(len(CLASSES), dtype=np.uint8)).tolist() == [4, 0, 1, 2, 3, 5, 5, 5]


def test_judges_learn_what_they_are_shown() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, (40, 2, 3)).astype(np.uint8).repeat(8, 1).repeat(8, 2)  # (40, 16, 24)
    frames = np.array([(200, 30, 30), (30, 200, 30), (30, 30, 200)], np.uint8)[kinds]

    def pixels(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        at = rng.integers(40, size=8)
        return frames[at], kinds[at]

    def wholes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        at = rng.integers(3, size=8)
        return np.broadcast_to(frames[0, :1, :1] * 0, (8, 16, 24, 3)) + (80 * at[:, None, None, None]).astype(
            np.uint8
        ), at

    net = learn(lambda: Segmenter(8), pixels, 150, "segmenter")
    assert (said(net, frames) == kinds).mean() > 0.95
    classifier = learn(lambda: Classifier(3, 8), wholes, 60, "classifier")
    shown, truth = wholes(np.random.default_rng(9))
    assert (said(classifier, shown) == truth).all()


def _script(name: str) -> Any:
    path = Path(__file__).parents[1] / "scripts" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"{name}_script", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass looks up its module
    spec.loader.exec_module(module)
    return module


def test_crashes_of_many_moments_are_foretold_as_of_each_alone(world: World) -> None:
    """Rows stand for the moments that they are told to be, and an episode's own end closes what is dreamed on."""
    script = _script("judge_driving")
    kinds = ("none", *script.CRASHES)
    weights = {k: v for k, v in world.weights().items() if not k.startswith("telling.out")}
    net = World.random(ABOUT, replace(world.config, kinds=kinds), seed=3)
    sure = World.from_weights(net.config, {**net.weights(), **weights}, ABOUT)
    episodes = [_drive(3, 24), replace(_drive(4, 13), term=np.zeros(13, bool), trunc=np.arange(13) == 12)]
    crashed, which, ahead = script.foretold(sure, episodes)
    at = [(t, i) for t in range(0, 24, script.EVERY) for i in (0, 1) if t < (24, 13)[i]]
    assert which.tolist() == [i for _, i in at] and crashed.shape == (5, len(at))
    assert ahead.tolist() == [i == 0 and t + script.AHEAD >= 24 for t, i in at]  # the second one was cut, not ended
    np.testing.assert_allclose(crashed[0], crashed[1:].sum(0))
    chosen = [sure.config.kinds.index(kind) for kind in script.CRASHES]
    for m, (t, i) in enumerate(at):
        tape = episodes[i]
        row = follow(sure, episodes)[t][0].rows(np.array([i])).branch(script.DREAMS)
        alive, total = np.ones(script.DREAMS), np.zeros((script.DREAMS, 4))
        for step in range(t, min(t + script.AHEAD, len(tape))):
            row, told = sure.imagine(row, np.repeat(tape.act[step][None], script.DREAMS, 0))
            total += (alive * told.term_prob)[:, None] * sure.tell(row)[1][:, chosen]
            alive = alive * (1 - told.term_prob)
        np.testing.assert_allclose(crashed[1:, m], total.mean(0), rtol=1e-3)


@given(st.integers(0, 2**32), st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_the_area_is_the_share_of_couples_ranked_rightly(seed: int, episodes: int) -> None:
    script, rng = _script("judge_driving"), np.random.default_rng(seed)
    calm, hit = ([rng.integers(0, 4, rng.integers(1, 5)) / 4 for _ in range(episodes)] for _ in range(2))
    found = script.area(calm, hit, draws=200)
    a, b = np.concatenate(calm), np.concatenate(hit)
    assert found["value"] == pytest.approx(float(((b[:, None] > a) + 0.5 * (b[:, None] == a)).mean()))
    assert found["ci95"][0] <= found["ci95"][1]
    assert script.area([np.array([])], [np.array([0.5])])["value"] is None
