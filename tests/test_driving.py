"""The driving source: messages between processes, conditions, labels in episode files; with MetaDrive, its replays."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from gensim.envs.driving.simulator import MANNERS, MetaDrive, drawn, home
from gensim.envs.driving.source.labels import metres
from gensim.envs.driving.source.wire import receive, send
from gensim.envs.driving.weather import AIR, THICKEST, Weather, apply
from gensim.episodes import Dataset
from gensim.episodes.sample import Sampler
from gensim.episodes.store import Episode, Layer, read_episode, write_episode
from gensim.models.vae import log_softmax_unimix
from gensim.world import World
from gensim.world.config import FitConfig, NetConfig
from gensim.world.fit import fit
from gensim.world.net import pictures
from gensim.world.news import news

KINDS = st.sampled_from([np.uint8, np.uint16, np.int64, np.float32])
SOME = KINDS.flatmap(lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0)))


@settings(deadline=None)
@given(st.dictionaries(st.text(max_size=5), SOME, max_size=3), st.integers())
def test_messages_arrive_as_they_were_sent(sent: dict[str, np.ndarray], number: int) -> None:
    pipe = io.BytesIO()
    send(pipe, {"number": number}, sent)
    pipe.seek(0)
    message, found = receive(pipe)
    assert message == {"number": number} and found.keys() == sent.keys()
    for name, one in sent.items():
        assert found[name].dtype == one.dtype and found[name].shape == one.shape
        assert found[name].tobytes() == one.tobytes()


@pytest.mark.parametrize("cut", [0, 10, -1])
def test_a_message_cut_short_is_an_end_of_file(cut: int) -> None:
    pipe = io.BytesIO()
    send(pipe, {"do": "step"}, {"act": np.zeros(2)})
    with pytest.raises(EOFError):
        receive(io.BytesIO(pipe.getvalue()[:cut]))


def test_arrays_of_objects_and_of_absurd_sizes_are_refused() -> None:
    for about in (["|O", [1]], ["<f8", [1 << 40]], ["<f8", [-1]]):
        line = f'{{"arrays": {{"x": {about}}}}}\n'.replace("'", '"').encode()
        with pytest.raises(ValueError):
            receive(io.BytesIO(line))


def test_conditions_are_those_of_the_seed_and_within_their_limits() -> None:
    found = [drawn(seed) for seed in range(300)]
    assert found == [drawn(seed) for seed in range(300)]
    assert all(0 <= one["traffic"] <= 0.4 and 0 <= one["people"] < 25 and one["manner"] in MANNERS for one in found)
    assert {one["manner"] for one in found} == {*MANNERS}
    assert len({one["traffic"] for one in found}) > 100


def test_without_metadrive_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENSIM_METADRIVE", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="scripts/setup_metadrive"):
        MetaDrive()


@settings(deadline=None)
@given(arrays.arrays(st.sampled_from([np.uint8, np.uint16]), (3, 5, 7)))
def test_layers_are_kept_as_they_are(labels: np.ndarray) -> None:
    layer = Layer.pack(labels)
    assert (np.stack([layer.at(i) for i in range(3)]) == labels).all()
    assert layer.at(0).dtype == labels.dtype
    with pytest.raises(IndexError):
        layer.at(3)


def _episode(**more: object) -> Episode:
    rng = np.random.default_rng(0)
    frames, end = rng.integers(0, 256, (4, 8, 12, 3), np.uint8), np.arange(3) == 2
    return Episode.pack(frames, np.zeros((3, 2)), np.zeros(3), end, ~end & end, {"real_frames": 3}, **more)  # type: ignore[arg-type]


def test_layers_and_tracks_go_through_a_file(tmp_path: Path) -> None:
    labels = np.random.default_rng(1).integers(0, 1024, (4, 8, 12)).astype(np.uint16)
    episode = _episode(layers={"depth": labels}, tracks={"ego": np.arange(8.0).reshape(4, 2)})
    back = read_episode(write_episode(tmp_path, episode, "x"))
    assert (np.stack([back.layers["depth"].at(i) for i in range(4)]) == labels).all()
    assert (back.tracks["ego"] == episode.tracks["ego"]).all()
    assert (back.frames() == episode.frames()).all()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"layers": {"depth": np.zeros((3, 8, 12), np.uint8)}}, "layer depth"),
        ({"layers": {"depth": np.zeros((4, 8, 12))}}, "uint8 or uint16"),
        ({"tracks": {"ego": np.zeros((3, 2))}}, "track ego"),
        ({"tracks": {"ego": np.array(["a"] * 4)}}, "track ego"),
    ],
)
def test_labels_that_do_not_go_with_the_frames_are_named(more: dict, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        _episode(**more)


@pytest.mark.slow
@pytest.mark.skipif(not (home() / ".ready").exists(), reason="MetaDrive's own environment is not there")
def test_an_episode_is_its_seed_and_actions_in_any_process() -> None:
    def digest(before: int) -> str:
        env = MetaDrive(labels=True)
        for seed in range(before):
            env.reset(seed=seed)
            env.step(None)
        found = hashlib.sha256()
        obs, info = env.reset(seed=7, options={"traffic": 0.2, "people": 5, "manner": "hurried"})
        for _ in range(20):
            for part in (obs, info["classes"], info["instances"], info["depth"], info["ego"], info["actors"]):
                found.update(part.tobytes())
            obs, _, term, _, info = env.step(None)
            assert not term
        env.close()
        return found.hexdigest()

    assert digest(0) == digest(2)


def test_home_is_where_the_variable_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENSIM_METADRIVE", os.sep + "there")
    assert str(home()) == os.sep + "there"


# -------------------------------------------------------------------- worlds with labels, numbers and conditions

SPEC = {
    "env_id": "MetaDrive-v0",
    "env_kwargs": {},
    "size": 32,
    "width": 48,
    "skip": 1,
    "fps": 10,
    "action": {"type": "box", "dim": 2},
    "labels": ["sky", "road", "vehicle"],
    "depth": {"near": 0.5, "far": 500.0, "steps": 1023},
    "numbers": ["speed", "turn"],
    "conditions": {"traffic": [0.0, 0.4]},
    "kinds": ["none", "vehicle"],
}


def _drive(seed: int) -> Episode:
    """A street below a sky, with a vehicle that moves across; its labels are exact."""
    rng, t = np.random.default_rng(seed), 20
    classes = np.zeros((t + 1, 32, 48), np.uint8)
    classes[:, 16:] = 1
    for i in range(t + 1):
        classes[i, 14:20, 2 * i : 2 * i + 8] = 2
    frames = np.array([(90, 140, 200), (70, 70, 70), (200, 30, 30)], np.uint8)[classes]
    depth = np.array([1023, 500, 400], np.uint16)[classes]
    numbers = np.stack([np.full(t + 1, 10.0 * (seed % 3)), np.zeros(t + 1)], 1)
    end = np.arange(t) == t - 1
    meta = {**SPEC, "seed": seed, "real_frames": t, "end": "vehicle", "traffic": 0.1 * (seed % 5)}
    acts = rng.uniform(-1, 1, (t, 2))
    layers = {"classes": classes, "depth": depth}
    return Episode.pack(frames, acts, np.ones(t), end, ~end & end, meta, layers, {"numbers": numbers})


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("driving")
    data = Dataset.create(folder / "data", SPEC)
    for seed in range(12):
        write_episode(data.folder, _drive(seed), f"{seed:06d}")
    small = {"groups": 6, "hidden": 24, "widths": (8, 8, 12, 16), "batch": 8, "length": 8, "holdout": 0.2}
    fit(FitConfig(data=data.folder, out=folder / "world", steps=200, lr=3e-3, **small), quiet=True)  # type: ignore[arg-type]
    return World.load(folder / "world")


PARTS: dict[str, Any] = {
    "cells": True,
    "groups": 96,
    "hidden": 96,
    "widths": (8, 12),
    "holdout": 0.2,
    "look_part": (2, 3),
}


def test_a_fit_that_looks_at_parts_sees_the_whole(fitted: World, tmp_path: Path) -> None:
    assert fitted.folder is not None
    data = fitted.folder.parent / "data"
    about = {"steps": 500, "look": 500, "mark": (("vehicle", 10.0),), "rep": 0.0, "settle": 50, "labels": 0.2, **PARTS}
    world = fit(FitConfig(data=data, out=tmp_path, **about), quiet=True)
    episode = read_episode(data / "ep-000003.npz")
    frames, classes = episode.frames(), np.stack([episode.layers["classes"].at(t) for t in range(len(episode) + 1)])
    state = world.first(frames, np.arange(len(frames), dtype=np.uint64), cond=np.zeros((len(frames), 1), np.float32))
    _, said, _ = world.labelled(state)
    assert (said == classes).mean() > 0.97
    assert ((said == 2) & (classes == 2)).sum() > 0.7 * ((said == 2) | (classes == 2)).sum()  # the vehicle


def test_an_eye_that_pays_for_news_tells_less_that_is_new(fitted: World, tmp_path: Path) -> None:
    assert fitted.folder is not None
    data, said = fitted.folder.parent / "data", []
    frames = torch.from_numpy(read_episode(data / "ep-000003.npz").frames())
    for stay in (0.0, 1.0):
        about = {"steps": 150, "look": 150, "rep": 0.0, "settle": 50, "labels": 0.2, "stay": stay, **PARTS}
        net = fit(FitConfig(data=data, out=tmp_path / str(stay), **about), quiet=True).net  # type: ignore[arg-type]
        with torch.no_grad():
            log_q = log_softmax_unimix(net.encoder(pictures(frames[:20])), 0.001)
            said.append(float(news(log_q, net.encoder.cells).mean()))
    assert said[1] < 0.75 * said[0]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"stay": 0.1, "look_frames": 7}, "an even --look-frames"),
        ({"look_part": (2, 7)}, r"look_part=\(2, 7\): give rows and columns within \(4, 6\)"),
        ({"cells": False, "widths": (8, 8, 8, 8)}, "parts are those of cells"),
        ({"rarity": True}, "weigh whole frames"),
        ({"look": 0}, "nothing looks first"),
        ({"mark": (("cow", 2.0),)}, "mark=cow: give classes of"),
        ({"mark": (("vehicle", 0.0),)}, "mark=vehicle 0.0: give factors above 0"),
    ],
)
def test_parts_that_cannot_be_looked_at_are_named(fitted: World, tmp_path: Path, more: dict, named: str) -> None:
    assert fitted.folder is not None
    with pytest.raises(ValueError, match=named):
        fit(
            FitConfig(data=fitted.folder.parent / "data", out=tmp_path, steps=2, **{"look": 2} | PARTS | more),
            quiet=True,
        )


def test_batches_hold_the_labels_of_their_own_frames(fitted: World) -> None:
    assert fitted.folder is not None
    sampler = Sampler(Dataset(fitted.folder.parent / "data"), 8, 4, 0, decoded=3)
    for step in range(5):
        batch = sampler.batch(step)
        rows = np.arange(4)[:, None]
        frames, classes = batch.frames[rows, batch.more["some"]], batch.more["classes"]
        there = batch.valid[rows, batch.more["some"]]
        assert ((frames[..., 0] == np.array([90, 70, 200])[classes]) | ~there[..., None, None]).all()
        assert batch.more["cond"].shape == (4, 1) and ((batch.more["cond"] >= 0) & (batch.more["cond"] <= 1)).all()
        assert ((batch.more["kind"] == 1) == (batch.term & batch.valid)).all()


def test_a_world_with_labels_says_them_of_the_frames_that_it_draws(fitted: World) -> None:
    state = fitted.start(np.arange(5, dtype=np.uint64))
    state, _ = fitted.imagine(state, np.zeros((5, 2), np.float32))
    frames, classes, far = fitted.labelled(state)
    assert (frames == fitted.decode(state)).all() and frames.shape == (5, 32, 48, 3)
    assert classes.shape == far.shape == (5, 32, 48) and classes.max() < 3 and 0 <= far.min() <= far.max() <= 1
    assert (classes[:, :8] == 0).mean() > 0.9 and (classes[:, 24:] == 1).mean() > 0.8  # what 200 steps are enough for
    numbers, kinds = fitted.tell(state)
    assert numbers.shape == (5, 2) and np.allclose(kinds.sum(1), 1, atol=1e-5)


def test_conditions_are_those_of_the_start_unless_asked_otherwise(fitted: World) -> None:
    keys = np.arange(4, dtype=np.uint64)
    own, asked = fitted.start(keys), fitted.start(keys, cond=np.array([[np.nan], [0.0], [1.0], [0.5]]))
    assert own.cond[0] == asked.cond[0] and asked.cond[1:].flatten().tolist() == [0.0, 1.0, 0.5]
    with pytest.raises(ValueError, match="traffic"):
        fitted.start(keys, cond=np.full((4, 1), 2.0))
    acts = np.zeros((4, 2), np.float32)
    calm, busy = (fitted.imagine(fitted.start(keys, 0, cond=np.full((4, 1), c)), acts)[0] for c in (0.0, 1.0))
    assert not np.array_equal(calm.h.numpy(), busy.h.numpy())


def test_a_world_with_labels_is_kept_and_taken_up(fitted: World, tmp_path: Path) -> None:
    fitted.save(tmp_path / "copy")
    again, keys = World.load(tmp_path / "copy"), np.arange(3, dtype=np.uint64)
    assert again.config == fitted.config and (again.starts.mid_cond == fitted.starts.mid_cond).all()
    one, two = (world.labelled(world.start(keys, "mid")) for world in (fitted, again))
    assert all((a == b).all() for a, b in zip(one, two))


def test_worlds_without_labels_say_so() -> None:
    plain = World.random({"size": 32, "action": {"type": "box", "dim": 2}}, NetConfig(size=32, groups=4, hidden=16))
    state = plain.start(np.zeros(1, np.uint64))
    for ask in (plain.labelled, plain.tell):
        with pytest.raises(ValueError, match="fitted to data that have none"):
            ask(state)


# -------------------------------------------------------------------- weather

STRENGTHS = st.fixed_dictionaries({}, optional=dict.fromkeys(("fog", "rain", "night", "sun"), st.floats(0, 1)))


def _scene(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    classes = np.zeros((n, 64, 96), np.uint8)
    classes[:, 24:] = 1
    far = np.ones((n, 64, 96), np.float32)
    far[:, 24:] = np.linspace(0.7, 0.3, 40)[:, None]
    return rng.integers(0, 256, (n, 64, 96, 3), np.uint8), classes, far


def test_no_weather_changes_no_byte() -> None:
    frames, classes, far = _scene(3)
    out = apply(Weather.of({"rain": 0.0}, 3), frames, classes, far, np.arange(3), np.zeros(3, int))
    assert (out == frames).all() and out is not frames


@settings(deadline=None)  # the first call draws what all others choose from
@given(STRENGTHS, st.integers(0, 2**63), st.integers(0, 10_000))
def test_weather_is_that_of_key_and_step_whatever_rides_along(asked: dict, key: int, step: int) -> None:
    frames, classes, far = _scene(4)
    keys, steps = np.array([key, 5, key, 9], np.uint64), np.array([step, 1, step, 2])
    frames[2] = frames[0]
    out = apply(Weather.of(asked, 4), frames, classes, far, keys, steps)
    assert (out[0] == out[2]).all()
    alone = apply(Weather.of(asked, 1), frames[:1], classes[:1], far[:1], keys[:1], steps[:1])
    assert (out[0] == alone[0]).all()


@pytest.mark.parametrize("strength", [0.3, 0.7, 1.0])
def test_fog_is_koschmieders_law(strength: float) -> None:
    levels = np.arange(0, 256, 15).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (len(levels), 8, 16, 3)).copy()
    far = np.broadcast_to(np.linspace(0, 1, 16), frames.shape[:3]).astype(np.float32)
    classes = np.ones(frames.shape[:3], np.uint8)
    out = apply(Weather.of({"fog": strength}, len(levels)), frames, classes, far, np.arange(len(levels)), levels * 0)
    passes = np.exp(-THICKEST * strength**2 * metres(far))[..., None]
    light = (frames / 255.0) ** 2.2 * passes + AIR.astype(float) ** 2.2 * (1 - passes)
    assert np.abs(out - 255 * light ** (1 / 2.2)).max() < 3.5  # levels; dark ones are told by few steps of light


@pytest.mark.parametrize("name", ["fog", "rain", "night", "sun"])
def test_more_weather_is_further_from_the_clear_picture(name: str) -> None:
    frames, classes, far = _scene(1, 3)
    frames[:] = np.where(classes[..., None] == 1, 70, 170)
    shown = [
        apply(Weather.of({name: s}, 1), frames, classes, far, np.ones(1), np.ones(1, int)) for s in (0.0, 0.2, 0.5, 1.0)
    ]
    away = [np.abs(one.astype(float) - frames).mean() for one in shown]
    assert away == sorted(away) and away[0] == 0 and away[-1] > 8


def test_the_sun_stays_where_it_is_when_the_ego_turns() -> None:
    frames, classes, far = _scene(9)
    frames[:] = 60
    turned = np.deg2rad(np.linspace(-8, 8, 9))
    weather, keys = Weather.of({"sun": 1.0}, 9), np.full(9, 12, np.uint64)
    lit = apply(weather, frames, classes, far, keys, np.zeros(9, int), turned)
    place = (lit.astype(float).mean((1, 3)) ** 8 @ np.arange(96)) / (lit.astype(float).mean((1, 3)) ** 8).sum(1)
    assert (np.diff(place) > 0).all()  # to the left: all else moves to the right


@pytest.mark.parametrize(
    "asked", [{"snow": 1.0}, {"rain": 1.5}, {"rain": float("nan")}, {"rain": "much"}, {"fog": True}]
)
def test_weather_that_there_is_not_is_named(asked: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(asked))):
        Weather.of(asked, 2)


# -------------------------------------------------------------------- the environment


def test_an_environment_shows_weather_and_says_labels(fitted: World) -> None:
    about = {"world": str(fitted.folder), "trust_floor": 0.0}
    clear, wet = (gym.make("gensim/World-v0", labels=True, weather=w, **about) for w in (None, {"rain": 0.9}))
    (a, told), (b, same) = clear.reset(seed=3), wet.reset(seed=3)
    for _ in range(5):
        assert (a != b).any() and (told["classes"] == same["classes"]).all() and (told["depth"] == same["depth"]).all()
        assert told["classes"].shape == (32, 48) and told["depth"].min() >= 0.5 and told["end_probs"].shape == (2,)
        assert np.isfinite(told["speed"])
        act = clear.action_space.sample()
        (a, _, over, _, told), (b, _, _, _, same) = clear.step(act), wet.step(act)
        if over:
            break
    dry, _ = wet.reset(seed=3, options={"weather": {}})
    assert (dry == clear.reset(seed=3)[0]).all()  # what is asked for at a reset goes before


def test_what_is_put_into_a_dream_is_in_its_weather(fitted: World) -> None:
    """Clear frames under a moment's weather are what the dream shows; a world without weather says so."""
    about = {"world": str(fitted.folder), "labels": True}
    clear, wet = (gym.make("gensim/World-v0", weather=w, **about).unwrapped for w in (None, {"rain": 0.9, "fog": 0.4}))
    frame, info = clear.reset(seed=3)
    shown, _ = wet.reset(seed=3)
    classes, depth = info["classes"][None], info["depth"][None]
    again = wet.dream.weathered(frame[None], classes, depth)[0]
    assert np.abs(again.astype(int) - shown).max() <= 1 and not np.array_equal(shown, frame)
    with pytest.raises(ValueError, match="has no weather"):
        gym.make("gensim/CarRacing-v0").unwrapped.dream.weathered(frame[None], classes, depth)


def test_rows_of_a_vector_environment_are_single_ones_weather_and_labels_included(fitted: World) -> None:
    about = {"world": str(fitted.folder), "labels": True, "weather": {"sun": 0.7, "night": 0.4}}
    many = gym.make_vec("gensim/World-v0", 3, vectorization_mode="vector_entry_point", **about)
    obs, info = many.reset(seed=11, options={"traffic": 0.3})
    for i in range(3):
        one, told = gym.make("gensim/World-v0", **about).reset(seed=11 + i, options={"traffic": 0.3})
        assert (one == obs[i]).all() and (told["classes"] == info["classes"][i]).all()
        assert told["turn"] == info["turn"][i]
    many.step(many.action_space.sample())


def test_branches_have_the_sky_of_the_moment_that_they_part_from(fitted: World) -> None:
    env = gym.make("gensim/World-v0", world=str(fitted.folder), weather={"sun": 1.0, "rain": 0.5}).unwrapped
    obs, _ = env.reset(seed=5)
    many = env.branch(3)  # type: ignore[attr-defined]
    assert all((many.dream.observe()[i] == obs).all() for i in range(3))


@pytest.mark.parametrize(
    ("options", "named"),
    [({"traffic": 0.5}, "traffic=0.5"), ({"weather": {"snow": 1}}, "snow"), ({"people": 3}, "people")],
)
def test_conditions_and_weather_that_there_are_not_are_named(fitted: World, options: dict, named: str) -> None:
    env = gym.make("gensim/World-v0", world=str(fitted.folder))
    with pytest.raises(ValueError, match=named):
        env.reset(seed=0, options=options)


def test_worlds_without_weather_or_labels_refuse_them() -> None:
    for asked in ({"weather": {"rain": 1.0}}, {"labels": True}):
        with pytest.raises(ValueError, match="has no"):
            gym.make("gensim/CarRacing-v0", **asked)
    with pytest.raises(ValueError, match="unknown reset options"):
        gym.make("gensim/CarRacing-v0").reset(options={"weather": {"rain": 1.0}})
