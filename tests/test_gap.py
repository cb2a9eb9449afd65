"""The gap: who plays, what they get really and in dreams, what the judgements are worth, and the alarm."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from simulators import CHOOSING, COUNTING

from gensim.__main__ import main
from gensim.agents import Agent, AgentConfig, Pilot, load, score
from gensim.agents.reference import refer
from gensim.core.files import read_json, sha256, write_json
from gensim.envs.real import make_real
from gensim.episodes import Dataset, Episode, read_episode, write_episode
from gensim.episodes.actions import ActionSpec
from gensim.episodes.sample import is_heldout
from gensim.gap import words
from gensim.gap.actions import _apart, effects, opposites
from gensim.gap.alarm import ALL, LEVELS, Alarm, Evidence, Known, auc, evidence, judged, rarity, share, verdict
from gensim.gap.calibration import calibration, reward, sums, termination
from gensim.gap.config import GapConfig
from gensim.gap.features import belief_distance, beliefs
from gensim.gap.measure import Measuring
from gensim.gap.picture import COLOURS, scatter
from gensim.gap.policies import LEAST, Blind, Driven, Player, folders_of, roster, seat
from gensim.gap.ranking import Measured, better_half, pearson, ranking, ranks, spearman
from gensim.gap.readings import Readings, read
from gensim.gap.returns import difference, returns, scored
from gensim.gap.rollouts import REREAD, Dreams, Real, Theatre, dream
from gensim.gap.uniformity import distance, shuffled, uniformity
from gensim.world import NetConfig, World
from gensim.world.card import render
from gensim.world.furnish import calibrate, follow
from gensim.world.heldout import Heldout
from gensim.world.trust import Trust

STEPS = 24  # of each episode: Counting of length 20 under seeds 4, 9, 14, ...
SIMULATORS = {"box": (COUNTING, ActionSpec("box", 2)), "discrete": (CHOOSING, ActionSpec("discrete", 4))}
NET = {"size": 32, "groups": 4, "classes": 4, "hidden": 16, "widths": (4, 4, 4, 4), "head": 8, "dropout": 0.3}
Made = tuple[World, Dataset, Path]


def spec_of(kind: str) -> dict[str, Any]:
    """A small simulator as a data set describes it."""
    env_id, action = SIMULATORS[kind]
    about = {"env_id": env_id, "env_kwargs": {"length": 20}, "size": 32, "skip": 1, "fps": 20}
    return about | {"action": action.to_dict()}


def make_data(folder: Path, kind: str, episodes: int = 8) -> Dataset:
    """Whole episodes of chance, each ended by a termination."""
    spec, dataset = spec_of(kind), Dataset.create(folder, spec_of(kind))
    env = make_real(spec["env_id"], 32, 1, spec["env_kwargs"])
    for i in range(episodes):
        seed, chance = 4 + 5 * i, Blind(SIMULATORS[kind][1])
        chance.reset(np.array([seed]))
        frames, acts, told = [env.reset(seed=seed)[0]], [], []
        while not told or not told[-1][1]:
            acts.append(chance.act()[0])
            frame, rew, term, *_ = env.step(acts[-1])
            frames.append(frame)
            told.append((rew / 1000, term))
        rew, term = zip(*told)
        meta = {**spec, "seed": seed, "policy": "random", "real_frames": len(acts)}
        write_episode(
            folder, Episode.pack(frames, np.stack(acts), rew, term, np.zeros(len(acts), bool), meta), f"{i:03d}"
        )
    env.close()
    return dataset


def make_agent(world: World, folder: Path, seed: int = 0, **changes: Any) -> Path:
    """A saved agent on the world's latents that has learned nothing."""
    torch.manual_seed(seed)
    action = ActionSpec.from_dict(world.spec["action"])
    config = AgentConfig("latents", (world.latent_dim,), action, net=(8,), world=refer(world, folder))
    Agent.new(replace(config, **changes)).save(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """made("box"): a small random world, its data, and a folder of an agent on its latents."""
    known: dict[str, Made] = {}

    def make(kind: str) -> Made:
        if kind not in known:
            folder = tmp_path_factory.mktemp(kind)
            spec = {**spec_of(kind), "real_frames": 8 * STEPS}
            world = World.random(spec, NetConfig(actions=SIMULATORS[kind][1].size, **NET), 0)
            data = make_data(folder / "data", kind)
            world.trust = calibrate(world, tapes(data))
            world.save(folder / "world")
            known[kind] = world, data, make_agent(world, folder / "agent", repeat=2)
        return known[kind]

    return make


def tapes(data: Dataset) -> list[Episode]:
    """The episodes, read."""
    return [read_episode(header.path) for header in data.episodes]


def begun(tape: Episode, steps: int) -> Episode:
    """The first steps of an episode."""
    parts = {name: getattr(tape, name)[:steps] for name in ("act", "rew", "term", "trunc")}
    return replace(tape, **parts, offsets=tape.offsets[: steps + 2], png=tape.png[: tape.offsets[steps + 1]])


def player(agent: Path, **changes: Any) -> Player:
    """An agent as it is."""
    return Player("a", "agent", str(agent), sha256(agent / "policy.safetensors"), **changes)


def drive(seated: Any, seeds: Sequence[int], latents: Sequence[np.ndarray]) -> np.ndarray:
    """Actions (steps, n, ...) over some sights."""
    seated.reset(np.array(seeds, np.uint64))
    return np.stack([seated.act(obs) for obs in latents])


# ------------------------------------------------------------------ who plays


@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_shares_of_chance(made: Callable[[str], Made], kind: str) -> None:
    world, _, agent = made(kind)
    seeds, seen = [3, 4, 5], [np.random.default_rng(t).normal(size=(3, world.latent_dim)) for t in range(40)]
    pilot = Pilot(load(agent), filtered=False)
    pilot.reset(np.array(seeds, np.uint64))
    own = np.stack([pilot.act(obs) for obs in seen])
    chance = drive(Blind(SIMULATORS[kind][1]), seeds, seen)
    acts = {e: drive(Driven(Pilot(load(agent), filtered=False), e, latents=True), seeds, seen) for e in (0, 0.5, 1)}
    assert (acts[0] == own).all() and (acts[1] == chance).all()
    by = lambda a, b: (a == b).reshape(40, 3, -1).all(2)  # noqa: E731
    assert (by(acts[0.5], own) | by(acts[0.5], chance)).all()
    assert 0.25 < by(acts[0.5], chance).mean() < 0.85
    if kind == "box":  # a decision of two steps is replaced as a whole
        lost = ~by(acts[0.5], own)
        assert (lost[::2] == lost[1::2]).all()
    alone = Driven(Pilot(load(agent), filtered=False), 0.5, latents=True)
    assert (drive(alone, seeds[1:2], [obs[1:2] for obs in seen])[:, 0] == acts[0.5][:, 1]).all()


def test_standing_still() -> None:
    for action, still in ((ActionSpec("box", 2), np.zeros((2, 2), np.float32)), (ActionSpec("discrete", 3), [0, 0])):
        seated = Blind(action, still=True)
        seated.reset(np.arange(2))
        act = seated.act()
        assert (act == still).all() and all(action.space.contains(row) for row in act)


def test_a_seat_fits_the_place(made: Callable[[str], Made], tmp_path: Path) -> None:
    world, _, agent = made("box")
    other = World.random(world.spec, world.config, 1)
    other.save(tmp_path)
    assert seat(player(agent), ActionSpec(), world).sight == "latents"
    assert seat(player(agent), ActionSpec(), other).sight == seat(player(agent), ActionSpec()).sight == "frames"
    with pytest.raises(ValueError, match="leave it out"):
        seat(player(agent), ActionSpec("discrete", 3), world)


def test_the_list_of_policies(made: Callable[[str], Made], tmp_path: Path) -> None:
    world, data, agent = made("box")
    for i in range(8):
        make_agent(world, tmp_path / "rounds" / f"agent-{i}", 10 + i)
    make_agent(world, tmp_path / "bad" / "agent-0", 30)
    make_agent(world, tmp_path / "rounds" / "same", 0, repeat=2)  # the agent itself
    assert world.folder is not None
    few, many = (
        roster(world, world.folder, agent),
        roster(world, world.folder, agent, [tmp_path / "rounds"], [tmp_path / "bad"]),
    )
    assert len(few) >= LEAST and len(many) == 13 + 8 + 1
    fewer = roster(world, world.folder, agent, mixes=2)
    assert [one.chance for one in fewer] == [0, 0, 0.67, 0.33, 0, 0] and len(
        roster(world, world.folder, agent, mixes=0)
    ) == 4
    for players in (few, many):
        assert len({one.name for one in players}) == len({one.digest() for one in players}) == len(players)
        assert [one.kind for one in players[:2]] == ["chance", "constant"]
    assert {"rounds/agent-0", "bad/agent-0", "agent-1"} <= {one.name for one in many}
    assert len(folders_of([tmp_path])) == 10 and folders_of([agent]) == [agent]
    assert replace(many[-1], agent="elsewhere").digest() == many[-1].digest() != many[-1].digest(1)
    assert roster(world, world.folder, None) == few[:2]
    mixed = roster(world, world.folder, agent, [tmp_path], [tmp_path / "bad"])  # exploiters lie among the rounds
    assert [one.name for one in mixed if one.kind == "exploiter"] == ["bad/agent-0"] and len(mixed) == len(many)
    assert {one.family for one in few} == {"chance", few[2].weights}
    assert len({one.family for one in many}) == 2 + 8 + 1
    with pytest.raises(FileNotFoundError, match="holds none"):
        folders_of([data.folder])


# ------------------------------------------------------------------ what they get


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_dreams_are_those_that_are_scored(made: Callable[[str], Made], kind: str, masks: bool) -> None:
    world, _, agent = made(kind)
    how = {"horizon": 30, "trust_floor": 0.0, "dropout": masks}
    scored = score(agent, str(world.folder), 3, 7, env_kwargs=how)
    told = dream(world, player(agent), range(7, 10), 30, masks)
    assert told.returns == pytest.approx(scored.returns, rel=1e-5) and told.length.tolist() == scored.lengths
    for row, n in enumerate(told.length):
        assert np.isfinite(told.rew[row, :n]).all() and np.isnan(told.rew[row, n:]).all()
        at = np.flatnonzero(np.isfinite(told.drift[row])) + 1
        assert at.tolist() == list(range(REREAD, n + 1, REREAD))
    some, plain = (dream(world, player(agent), range(9), 2, mask).log_p for mask in (masks, False))
    assert np.array_equal(some, plain, equal_nan=True) != masks
    assert (told.term == (told.length < 30)).sum() >= 2 and 0 <= np.nanmin(told.drift) <= np.nanmax(told.drift) <= 1


def test_real_episodes_are_those_that_are_scored(made: Callable[[str], Made], tmp_path: Path) -> None:
    world, _, agent = made("discrete")
    scored = score(agent, CHOOSING, 2, 5, 1, env_kwargs={"length": 20})
    theatre = Theatre(world, tmp_path, 1, 30)
    played = theatre.real(player(agent), range(5, 7))
    assert (played.returns, played.lengths, played.real_frames) == (scored.returns, scored.lengths, scored.real_frames)


@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_who_plays_side_by_side_plays_as_if_alone(made: Callable[[str], Made], tmp_path: Path, kind: str) -> None:
    world, _, agent = made(kind)
    theatre, mixed = Theatre(world, tmp_path, 1, 30), replace(player(agent), chance=0.4)
    together = theatre.real(mixed, range(3, 9))
    single = [theatre.real(mixed, range(seed, seed + 1)) for seed in together.seeds]
    assert [one.returns[0] for one in single] == together.returns
    assert [one.lengths[0] for one in single] == together.lengths and len({*together.lengths}) > 1
    assert theatre.real(player(agent), range(3, 9)).returns != together.returns


def test_what_was_played_is_remembered(
    made: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, *_ = made("box")
    theatre, chance = Theatre(world, tmp_path, 1, 10), Player("chance", "chance")
    first, told = theatre.real(chance, range(2)), theatre.dream(chance, range(3))
    (path,) = tmp_path.glob("real-*.json")
    write_json(path, read_json(path) | {"returns": [1.0, 2.0]})
    assert theatre.real(chance, range(2)) == replace(first, returns=[1.0, 2.0])
    assert theatre.real(chance, range(1)).returns == first.returns[:1]  # other seeds, another file
    again = Dreams.load(next(tmp_path.glob("dream-*.npz")))
    assert all(np.array_equal(getattr(told, k), v, equal_nan=v.dtype.kind == "f") for k, v in vars(again).items())
    still = theatre.real(Player("constant", "constant"), range(2))
    assert still.returns != first.returns and len([*tmp_path.iterdir()]) == 4
    monkeypatch.setattr("gensim.gap.rollouts.version", lambda name: f"another {name}")
    assert Theatre(world, tmp_path, 1, 10).real(chance, range(2)) == first and len([*tmp_path.iterdir()]) == 5


# ------------------------------------------------------------------ what a world says


@pytest.fixture(scope="module")
def readings(made: Callable[[str], Made]) -> Readings:
    """What the small world says along three episodes, dreams of six steps from every eighth."""
    world, data, _ = made("box")
    return read(world, tapes(data)[:3], every=8, ahead=6)


def test_readings_follow_the_episodes(made: Callable[[str], Made], readings: Readings) -> None:
    world, data, _ = made("box")
    episodes = tapes(data)[:3]
    along, on = readings.where(readings.start < 0), readings.where(readings.start >= 0)
    assert len(along) == 3 * STEPS and len(on) == 3 * 3 * 6 and (along.age == 0).all()
    assert (on.age == on.time - on.start).all() and {*on.start.tolist()} == {0, 8, 16}
    for i, episode in enumerate(episodes):
        mine = along.where(along.episode == i)
        assert (mine.rew == episode.rew).all() and (mine.term == episode.term).all()
    unusual = np.stack([score for _, score in follow(world, episodes)[1:]], 1)  # (episodes, steps)
    assert np.allclose(along.unusual.reshape(STEPS, 3).T, unusual, atol=1e-4)
    uneven = read(world, [begun(episodes[0], 7), *episodes[1:]], every=8, ahead=6)
    assert np.bincount(uneven.where(uneven.start < 0).episode).tolist() == [7, STEPS, STEPS]
    with pytest.raises(ValueError, match="no episode"):
        read(world, [])


def test_calibration_of_who_knows(readings: Readings) -> None:
    knows = replace(readings, said=readings.rew, prob=readings.term.astype(np.float32))
    assert reward(knows)["error"]["value"] == reward(knows)["bias"]["value"] == 0
    assert sums(knows)["correlation"]["value"] == pytest.approx(1) or sums(knows)["windows"] < 3
    found = termination(knows)
    assert [found[k]["value"] for k in ("brier", "skill", "recall", "false_alarms")] == [0, 1, 1, 0]
    rate = readings.term.mean()
    assert termination(replace(knows, prob=np.full(len(knows), rate)))["skill"]["value"] == pytest.approx(0, abs=1e-3)
    high = reward(replace(knows, said=knows.rew + 2))
    assert high["bias"]["value"] == high["error"]["value"] == pytest.approx(2, abs=1e-3)
    shuffled = replace(knows, said=knows.rew[np.random.default_rng(0).permutation(len(knows))])
    assert reward(shuffled)["error"]["value"] > 1 and sum(b["steps"] for b in reward(shuffled)["bins"]) == len(knows)


def test_sums_are_taken_along_one_chain() -> None:
    n = 40  # two episodes of 40 and one dream of 20: windows of 16 that lie in one of them
    episode, start = np.repeat([0, 1, 1], [n, n, 20]), np.repeat([-1, -1, 5], [n, n, 20])
    time = np.concatenate([np.arange(n), np.arange(n), 5 + np.arange(20)]) + 1
    blank = np.zeros(100, np.float32)
    rew = np.random.default_rng(0).normal(size=100).astype(np.float32)
    one = Readings(episode, start, time, np.maximum(time - start, 0), rew, rew, blank, blank > 0, *[blank] * 4)
    mixed = one.where(np.random.default_rng(1).permutation(100))
    assert sums(mixed)["windows"] == 5 and sums(mixed)["correlation"]["value"] == pytest.approx(1)
    assert sums(replace(mixed, said=-mixed.said))["correlation"]["value"] == pytest.approx(-1)


def test_a_whole_calibration_is_json(readings: Readings) -> None:
    found = calibration(readings)
    assert {*found["reward"]} == {"following", "1", "2 to 4", "5 to 15"}
    assert sum(one["steps"] for one in found["termination"].values()) == len(readings)
    json.dumps(found, allow_nan=False)


# ------------------------------------------------------------------ trust


def test_the_distance_from_uniform() -> None:
    even = (np.arange(50) + 0.5) / 50
    assert distance(even) == pytest.approx(0.01) and distance(np.zeros(3)) == 1
    assert distance(even**2) == pytest.approx(0.25, abs=0.02)


def walks(episodes: int, steps: int, seed: int) -> np.ndarray:
    """Values (episodes, steps) of one law, each episode's hanging together."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(episodes, 1)) + 0.3 * rng.normal(size=(episodes, steps))


def test_shuffled_episodes_tell_only_what_is_so() -> None:
    owner, steps = np.repeat(np.arange(14), 20), 20
    p = np.array([shuffled(walks(14, steps, seed).ravel(), owner, owner >= 8, seed) for seed in range(200)])
    assert (p < 0.05).mean() <= 0.1 and 0.35 < (p < 0.5).mean() < 0.65
    other = np.array([shuffled((walks(14, steps, s).ravel() + 4 * (owner >= 8)), owner, owner >= 8) for s in range(9)])
    assert (other < 0.01).all()
    two = shuffled(np.array([0.0, 1.0]), np.array([4, -9]), np.array([True, False]))
    assert two == 1  # of two episodes nothing can be told


def said(trust: np.ndarray, unusual: np.ndarray, age: np.ndarray) -> Readings:
    """Readings of episodes (n, t) of which only this is known."""
    n, t = trust.shape
    blank, time = np.zeros(n * t, np.float32), np.tile(np.arange(t), n) + 1
    flat = [np.asarray(values, np.float32).ravel() for values in (trust, unusual)]
    start = np.where(age.ravel() > 0, 0, -1)
    owner = np.repeat(np.arange(n), t)
    return Readings(owner, start, time, age.ravel(), *[blank] * 3, blank > 0, *flat, blank, blank)


def test_trust_is_uniform_where_it_should_be() -> None:
    """On episodes like those it was calibrated on; and not on others."""
    rng, shape = np.random.default_rng(0), (40, 240)
    age = np.tile(np.arange(240) % 65, (40, 1))
    unusual = rng.normal(size=shape).astype(np.float32)
    trust = Trust.calibrate(unusual.ravel(), age.ravel())

    def on(fresh: np.ndarray) -> Readings:
        return said(trust.rank(fresh.ravel().astype(np.float32), age.ravel()).reshape(shape), fresh, age)

    known = on(unusual)
    fair, odd = (uniformity(on(rng.normal(mean, 1, shape)), known) for mean in (0, 0.5))
    assert [one["from"] for one in fair["horizons"]] == [0, 1, 2, 4, 8, 16, 32, 64]
    assert fair["known"] == 40 and sum(one["p"] < 0.05 for one in fair["horizons"]) <= 2
    assert all(one["mean"]["low"] - 0.03 < 0.5 < one["mean"]["high"] + 0.03 for one in fair["horizons"])
    assert all(one["p"] < 0.01 for one in odd["horizons"]) and odd["horizons"][-2]["mean"]["value"] < 0.4
    assert odd["horizons"][-2]["below_5"]["value"] > 0.08
    own = uniformity(known)
    assert own["known"] == 0 and [one["p"] for one in own["horizons"]] == [None] * 8
    late = uniformity(replace(known, age=known.age + 96))
    assert [(one["from"], one["to"]) for one in late["horizons"]] == [(64, 127), (128, 160)]


def test_trust_in_words() -> None:
    values = np.random.default_rng(0).random((6, 40))
    read = said(values, values, np.tile(np.arange(121, 161), (6, 1)))
    own = words._trust({"trust": uniformity(read) | {"on": "held-out episodes"}})
    assert "| p |" not in own and "no p-value" in own and "\n| 128 to 160 |" in own and "Later steps than 160" in own
    new = words._trust({"trust": uniformity(read, read) | {"on": "new episodes"}})
    assert "| p |" in new and "6 episodes that trust was calibrated on" in new


# ------------------------------------------------------------------ features and actions


def test_laws_of_the_distance_of_beliefs(made: Callable[[str], Made]) -> None:
    world, data, _ = made("box")
    frames = tapes(data)[0].frames()
    measure, a, b = belief_distance(world), frames[:6], frames[-6:]
    law = beliefs(world, frames[:3])
    assert law.shape == (3, 4, 4) and np.allclose(law.sum(-1), 1, atol=1e-3) and (law > 0).all()
    assert (measure(a, a) == 0).all() and np.allclose(measure(a, b), measure(b, a))
    assert (measure(a, b) > 0).all() and (measure(a, b) < 1).all()
    noise = np.random.default_rng(0).integers(0, 256, a.shape, np.uint8)
    assert measure(a, noise).mean() > measure(a, frames[1:7]).mean()


def test_opposite_actions() -> None:
    box, choice = opposites(ActionSpec("box", 2)), opposites(ActionSpec("discrete", 4))
    assert [(a + b == 0).all() and abs(a).sum() == 1 for a, b in box.values()] == [True, True]
    assert len(choice) == 6 and all(a.sum() == b.sum() == 1 and (a != b).any() for a, b in choice.values())
    assert len(opposites(ActionSpec("discrete", 18))) == 10 and opposites(ActionSpec("discrete", 1)) == {}


def test_apart_is_judged_against_equal_actions() -> None:
    rng, group = np.random.default_rng(0), np.arange(400)
    a, b = rng.normal(size=(2, 400, 2, 1, 3))
    alike, other = _apart(a, b, group, 0), _apart(a, b + 9, group, 0)
    assert alike["differ"]["value"][0] == pytest.approx(0.5, abs=0.1) and other["differ"]["value"] == [1.0]
    assert other["different"]["value"][0] > 5 * other["same"]["value"][0]
    same = _apart(np.ones((4, 2, 1, 3)), np.ones((4, 2, 1, 3)), np.arange(4), 0)
    assert same["differ"]["value"] == [0.5] and same["different"]["value"] == [0.0]


@pytest.mark.parametrize("samples", [2, 3, 4])
@pytest.mark.parametrize("law", ["normal", "two modes", "rare"])
def test_no_effect_differs_in_one_half(law: str, samples: int) -> None:
    rng, n = np.random.default_rng(0), 20_000
    shape = (2, n, samples, 1, 3 if law == "normal" else 1)
    noise, chosen = rng.normal(size=shape), rng.random(shape)
    a, b = noise if law == "normal" else 10.0 * (chosen < (0.5 if law == "two modes" else 0.1)) + 0.1 * noise
    value = _apart(a, b, np.arange(n) % 2, 0)["differ"]["value"][0]
    assert value == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(n))


def test_effects_need_two_samples(made: Callable[[str], Made]) -> None:
    world, data, _ = made("box")
    with pytest.raises(ValueError, match="samples=1: give at least 2"):
        effects(world, Heldout.gather(data.episodes, 3, 12), samples=1)


@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_effects_of_every_pair(made: Callable[[str], Made], kind: str) -> None:
    world, data, _ = made(kind)
    found = effects(world, Heldout.gather(data.episodes, 3, 12))
    assert {*found["pairs"]} == {*opposites(SIMULATORS[kind][1])} and found["starts"] == 3
    for pair in found["pairs"].values():
        assert all(0 <= x <= 1 for x in pair["latent"]["differ"]["value"])
        assert all(x >= 0 for x in pair["pixels"]["different"]["value"])


# ------------------------------------------------------------------ ranking


def measured(real: np.ndarray, dreamed: np.ndarray, kinds: Sequence[str] | None = None) -> list[Measured]:
    """Policies with returns (players, episodes) and dreams of one step (players, dreams)."""
    found = []
    for i, (a, b) in enumerate(zip(real, dreamed)):
        blank, n = np.full((len(b), 1), np.nan, np.float32), len(b)
        told = Dreams(b[:, None].astype(np.float32), blank, blank, blank, blank, np.ones(n, int), np.zeros(n, bool))
        who = Player(f"p{i}", (kinds or ["round"] * 99)[i])  # type: ignore[arg-type]
        found.append(Measured(who, Real(a.tolist(), [1] * len(a), [*range(len(a))], 1), told))
    return found


def test_correlations() -> None:
    a, b = np.array([1.0, 2, 3, 4, 5]), np.array([2.0, 1, 4, 3, 50])
    assert ranks(np.array([10, 30, 10, 20])).tolist() == [1.5, 4, 1.5, 3]
    assert spearman(a, b) == pytest.approx(0.8) and pearson(a, b) == pytest.approx(np.corrcoef(a, b)[0, 1])
    assert spearman(a, np.exp(b)) == spearman(a, b) and np.isnan(spearman(a, np.ones(5)))


def test_a_dream_that_ranks() -> None:
    rng, levels = np.random.default_rng(0), np.arange(20)[:, None] * 10.0
    real, dreamed = levels + rng.normal(size=(20, 5)), levels + rng.normal(size=(20, 8))
    found = ranking(measured(real, dreamed))
    assert found["all"]["spearman"]["value"] == 1 and found["all"]["spearman"]["low"] > 0.98
    assert found["better_half"]["policies"] == 10
    assert ranking(measured(real, -dreamed))["all"]["pearson"]["value"] == pytest.approx(-1, abs=1e-3)
    noise = ranking(measured(real, rng.normal(size=(20, 8))))["all"]["spearman"]
    assert noise["low"] < 0 < noise["high"] and noise["low"] < noise["value"] < noise["high"]
    assert [one.player.name for one in better_half(measured(levels[:3], levels[:3]))] == ["p2", "p1"]
    kinds = ["exploiter"] * 3 + ["round"] * 17
    assert ranking(measured(real, dreamed, kinds))["not_exploiters"]["policies"] == 17


# ------------------------------------------------------------------ the alarm


def dreams(rew: float = 1.0, trust: float = 0.5, drift: float = 0.1, steps: int = 80, n: int = 4) -> Dreams:
    """Dreams with nearly constant rewards, trust and drift."""
    noise = np.random.default_rng(0).normal(0, 0.01, (4, n, steps)).astype(np.float32)
    parts = [np.float32(value) + noise[i] for i, value in enumerate((rew, trust, 0.0, drift))]
    return Dreams(parts[0], parts[1], parts[2], parts[2], parts[3], np.full(n, steps), np.zeros(n, bool))


def cut(told: Dreams, steps: int) -> Dreams:
    """The same dreams, all of which end after some steps."""
    parts = {name: getattr(told, name).copy() for name in ("rew", "trust", "unusual", "log_p", "drift")}
    for part in parts.values():
        part[:, steps:] = np.nan
    parts["drift"][:, :steps] = np.where(np.arange(1, steps + 1) % REREAD == 0, parts["drift"][:, :steps], np.nan)
    return replace(told, **parts, length=np.full(len(told.length), steps), term=np.ones(len(told.length), bool))


@pytest.fixture(scope="module")
def known(readings: Readings) -> Known:
    """Held-out dreams with trust 0.5 and drift 0.1; recorded rewards about 1 a step."""
    rng, n = np.random.default_rng(0), len(readings)
    honest = replace(readings, trust=np.full(n, 0.5, np.float32), drift=np.full(n, 0.1, np.float32))
    return Known.of(honest, [rng.normal(1, 0.3, 200).astype(np.float32) for _ in range(50)])


def test_evidence_points_the_right_way(known: Known) -> None:
    fair = evidence(dreams(), known, [dreams()], dreams())
    assert abs(fair["trust"]) < 0.01 and abs(fair["drift"]) < 0.01 and fair["tail"] == fair["second opinion"] == 0
    assert fair["masks"] == 0
    odd = evidence(dreams(rew=3.0, trust=0.04, drift=0.4), known, [dreams()], dreams(n=3))
    assert odd["masks"] == pytest.approx(160, rel=0.02)
    assert all(odd[name] > fair[name] for name in fair) and odd["tail"] > 0.7
    assert odd["rewards of 16 steps"] == pytest.approx(np.log10(LEVELS + 1)) == odd["rewards of 64 steps"]
    assert odd["trust"] == pytest.approx(0.46, abs=0.01) and odd["second opinion"] == pytest.approx(160, rel=0.02)
    assert "second opinion" not in evidence(dreams(), known)
    brief = evidence(cut(dreams(), 5), known)
    assert {"rewards of 16 steps", "drift"}.isdisjoint(brief) and np.isfinite([*brief.values()]).all()


def test_a_second_opinion_is_of_the_same_dreams(known: Known) -> None:
    """What other worlds say of the first keys is held against these alone, lucky as they may be."""
    here = dreams(n=4)
    here.rew[:2] += 1.0
    few = [replace(here, **{k: v[:2] for k, v in vars(here).items()})]
    assert evidence(here, known, few, few[0])["second opinion"] == 0
    less = replace(few[0], rew=few[0].rew - np.float32(0.5))
    assert evidence(here, known, [*few, less])["second opinion"] == pytest.approx(40)
    for wrong in ({"others": [dreams(n=5)]}, {"masked": dreams(n=5)}, {"masked": dreams(steps=40)}):
        with pytest.raises(ValueError, match="first of the same keys, and as long"):
            evidence(here, known, **wrong)


def test_only_whole_episodes_have_returns(readings: Readings) -> None:
    rewards = [np.full(n, 1.0, np.float32) for n in (100, 100, 40, 30)]
    returns = lambda whole: {*Known.of(readings, rewards, whole).returns.tolist()}  # noqa: E731
    assert returns([True, False, True, False]) == {100.0, 40.0}
    assert returns(None) == returns([False] * 4) == {100.0, 40.0, 30.0}
    assert (Known.of(readings, rewards, [True, False] * 2).sums == Known.of(readings, rewards).sums).all()


def test_rarity_is_a_p_value() -> None:
    table = np.sort(np.random.default_rng(0).normal(size=999))
    p = rarity(np.random.default_rng(1).normal(size=2000), table)
    assert distance(p) < 0.08 and rarity(np.array([9.0]), table)[0] == 0.001
    assert rarity(np.full(1, 5.0), np.full(9, 5.0))[0] == 1  # as good as every recorded one: not rare


def sample(n: int, shift: float, seed: int = 0) -> list[Evidence]:
    """Evidence of n policies: one candidate that tells, one that does not."""
    rng = np.random.default_rng(seed)
    return [{"tells": float(a + shift), "noise": float(b)} for a, b in rng.normal(size=(n, 2))]


def test_thresholds_keep_their_false_alarms() -> None:
    honest = sample(40, 0)
    alarm = Alarm.fit(honest)
    for name in ("tells", "noise", ALL):
        assert sum(alarm.rings(one)[name] for one in honest) <= 4
    fresh = np.mean([alarm.rings(one)["tells"] for one in sample(2000, 0, 1)])
    assert 0.03 < fresh < 0.25
    assert Alarm.from_dict(json.loads(json.dumps(alarm.to_dict()))) == alarm
    for wrong in ({}, {"names": 3}, {**alarm.to_dict(), "mean": None}):
        with pytest.raises(ValueError, match="no alarm"):
            Alarm.from_dict(wrong)
    with pytest.raises(ValueError, match="at least one"):
        Alarm.fit([])
    with pytest.raises(ValueError, match="lacks noise"):
        alarm.rings({"tells": 1.0})


def test_the_tables_of_an_alarm_come_back(known: Known) -> None:
    back = Known.from_dict(json.loads(json.dumps(known.to_dict())))
    for name, table in vars(known).items():
        assert np.allclose(getattr(back, name), table, atol=1e-4), name
    for wrong in ({}, {**known.to_dict(), "trust": [1]}, {**known.to_dict(), "sums": 3}):
        with pytest.raises(ValueError, match="no tables of an alarm"):
            Known.from_dict(wrong)
    with pytest.raises(ValueError, match="has no alarm"):
        verdict({"figures": {}}, dreams())


def test_an_alarm_is_judged() -> None:
    given, wrong, each = sample(30, 0) + sample(20, 8, 1), [False] * 30 + [True] * 20, [str(i) for i in range(50)]
    found = judged(given, wrong, each)
    assert (found["honest"], found["exploiting"], found["families"], found["lacking"]) == (30, 20, 30, [])
    tells, noise = found["candidates"]["tells"], found["candidates"]["noise"]
    assert tells["auc"]["value"] == tells["hits"]["value"] == 1 and tells["hits"]["of"] == 20
    assert noise["auc"]["low"] < 0.5 < noise["auc"]["high"] and noise["hits"]["value"] < 0.5
    assert 1 <= tells["false_alarms"]["count"] <= 5  # left out, the most suspicious honest ones do ring
    assert found["candidates"][ALL]["auc"]["value"] > 0.85 and tells["right"]["value"] is None
    nobody = judged(given[:30], wrong[:30], each)["candidates"]["tells"]
    assert nobody["auc"]["value"] is nobody["hits"]["value"] is None and nobody["false_alarms"]["of"] == 30
    assert judged(given[:2], wrong[:2], each)["candidates"] == judged([], [], [])["candidates"] == {}
    json.dumps(found, allow_nan=False)


def test_a_family_has_no_say_in_its_own_verdict() -> None:
    """Ten alike honest policies ring together; left out one by one, their kin would vouch for nine of them."""
    given, families = sample(20, 0) + sample(10, 9, 1), [f"{i // 5}" for i in range(20)] + ["odd"] * 10
    found = judged(given, [False] * 30, families)
    tells = found["candidates"]["tells"]["false_alarms"]
    assert found["families"] == 5 and (tells["count"], tells["of"]) == (10, 30)
    alone = judged(given, [False] * 30, [str(i) for i in range(30)])["candidates"]["tells"]["false_alarms"]
    assert alone["count"] <= 4
    one = judged(given, [False] * 30, ["kin"] * 30)
    assert one["candidates"]["tells"]["false_alarms"] == share(0, 0) and one["families"] == 1 and one["alarm"]["names"]


def test_an_alarm_is_right_about_those_made_to_exploit() -> None:
    """Three exploit and are found, two are harmless and one of these rings; one that was not made to rings, too."""
    given = sample(30, 0) + sample(3, 9, 1) + [{"tells": 0.0, "noise": 0.0}, {"tells": 9.0, "noise": 0.0}]
    wrong = [False] * 30 + [True] * 3 + [False] * 2
    found = judged(given, wrong, [str(i) for i in range(35)], [False] * 30 + [True] * 5)["candidates"]["tells"]
    assert found["right"] == share(4, 5) and found["hits"] == share(3, 3)


def test_what_some_policy_lacks_is_not_judged() -> None:
    given = sample(30, 0) + sample(20, 8, 1)
    for i in (4, 44):
        del given[i]["noise"]
    found = judged(given, [False] * 30 + [True] * 20, [str(i) for i in range(50)])
    assert {*found["candidates"]} == {"tells", ALL} and found["lacking"] == ["noise"]
    assert found["candidates"]["tells"]["hits"]["value"] == 1


@pytest.fixture(scope="module")
def alarmed(known: Known) -> dict[str, Any]:
    """A gap whose alarm was set on twenty honest policies' dreams of 80 steps."""
    rng = np.random.default_rng(0)
    honest = [evidence(dreams(rew=a, trust=b, drift=c), known) for a, b, c in rng.normal((1, 0.5, 0.1), 0.02, (20, 3))]
    told = judged(honest, [False] * 20, [str(i) for i in range(20)])
    rows = [{"name": "p", "exploits": False, **one} for one in honest]
    alarm = {**told, "known": known.to_dict(), "evidence": rows, "second": 0, "horizon": 80}
    return {"figures": {"alarm": json.loads(json.dumps(alarm))}}


def test_a_verdict_on_dreams_that_die_early(alarmed: dict[str, Any]) -> None:
    whole = verdict(alarmed, dreams())
    fair, odd = verdict(alarmed, cut(dreams(), 5)), verdict(alarmed, cut(dreams(trust=0.01), 5))
    assert whole.keys() - fair.keys() == {"rewards of 16 steps", "rewards of 64 steps", "drift"}
    assert not whole[ALL] and not fair[ALL] and odd[ALL] and odd["trust"]


def test_a_verdict_on_other_dreams(alarmed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="dreams of 40 steps, not 80, 1 other worlds, not 0"):
        verdict(alarmed, dreams(steps=40), [dreams(steps=40)])
    told = alarmed["figures"]["alarm"]
    old = {key: value for key, value in told.items() if key not in ("second", "horizon")}
    assert verdict({"figures": {"alarm": old}}, dreams(), [dreams()]) == verdict(alarmed, dreams())
    names = [*told["alarm"]["names"], "masks"]
    masked = {**told, "alarm": {**told["alarm"], "names": names}}
    with pytest.raises(ValueError, match="none under dropout masks"):
        verdict({"figures": {"alarm": masked}}, dreams())


@pytest.mark.parametrize("families", [["a"] * 10, [*"aaaaabbbbb"]])
def test_an_alarm_in_words(families: list[str]) -> None:
    """Of one family false alarms are no figure, and the card says so."""
    given = sample(8, 0) + sample(2, 9, 1)
    told = judged(given, [False] * 8 + [True] * 2, families, [False] * 8 + [True] * 2)
    about = {"scale": 0.5, "made": 2, "made_and_exploit": 2, "second": 0}
    text = words._alarm({"alarm": about | told}) + words.headline({"figures": {"alarm": told}})
    assert ("| by construction |" in text) == (len({*families}) == 1) and "right about 2 policies" in text
    assert "the scale, 0.500," in text and "nan" not in text


def test_shares_and_areas() -> None:
    assert share(0, 10) == {"value": 0.0, "low": 0.0, "high": 0.2775, "count": 0, "of": 10}
    assert share(10, 10)["low"] == pytest.approx(1 - 0.2775, abs=1e-4) and share(0, 0)["value"] is None
    assert auc([2, 3], [0, 1]) == 1 and auc([0], [1]) == 0 and auc([1], [1]) == 0.5


# ------------------------------------------------------------------ figures


def test_the_difference_of_two_means() -> None:
    one = difference([11, 12, 10, 11] * 5, [10, 10.5, 9.5, 10] * 5)
    assert one["value"] == pytest.approx(0.1) and 0.05 < one["low"] < 0.1 < one["high"] < 0.15
    assert difference([1, 1], [-2, -2])["value"] == pytest.approx(1.5)  # 3 more, of a size of 2
    assert difference([1, 2], [-1, 1])["value"] is None


def test_the_picture_shows_where_policies_are() -> None:
    at = lambda real, dreamed, kind: {  # noqa: E731
        "kind": kind,
        "real": {"mean": real, "ci95": [real - 5, real + 5]},
        "dream": {"mean": dreamed, "ci95": None},
    }
    shown = scatter([at(0, 0, "chance"), at(100, 100, "agent"), at(0, 100, "exploiter")])
    assert shown.dtype == np.uint8 and shown.shape[2] == 3
    where = {kind: np.argwhere((shown == COLOURS[kind]).all(2)) for kind in ("chance", "agent", "exploiter")}
    body = {kind: np.median(spots[spots[:, 1] > 90], 0) for kind, spots in where.items()}  # right of the legend's dots
    assert body["exploiter"][0] == pytest.approx(body["agent"][0], abs=3) and body["exploiter"][0] < body["chance"][0]
    assert body["exploiter"][1] == pytest.approx(body["chance"][1], abs=3) and body["agent"][1] > body["chance"][1]


# ------------------------------------------------------------------ the whole


@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_the_verb(made: Callable[[str], Made], tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    world, data, agent = made(kind)
    folder = tmp_path / "world"
    world.save(folder)
    later = make_agent(world, tmp_path / "rounds" / "agent-1", 5)
    second = World.random(world.spec, world.config, 3)
    second.save(tmp_path / "second")
    args = ["gap", str(folder), "--data", str(data.folder), "--agent", str(agent), "--policies", str(later.parent)]
    args += ["--second", str(tmp_path / "second"), "--work", str(tmp_path / "work"), "--json"]
    args += [f"--{k}={v}" for k, v in QUICK.items()]
    assert main(args) == 0
    gap = json.loads(capsys.readouterr().out)
    assert gap == read_json(folder / "gap.json")
    assert gap["files"]["world.safetensors"] == gap["world"]["hash"] == sha256(folder / "world.safetensors")
    figures = gap["figures"]
    assert {
        "quality",
        "rewards",
        "ends",
        "returns",
        "policies",
        "ranking",
        "calibration",
        "actions",
        "alarm",
    } <= figures.keys()
    told = figures["policies"]
    assert len(told["rows"]) >= LEAST and all(
        row["real"]["episodes"] == row["dream"]["episodes"] == 2 for row in told["rows"]
    )
    assert told["horizon"] == STEPS and told["seeds"]["real"] == [900_000, 900_001]
    assert told["real_frames"] == sum(2 * row["real_steps"] for row in told["rows"])
    agents = next(row for row in told["rows"] if row["kind"] == "agent")
    assert figures["returns"]["real"]["mean"] == agents["real"]["mean"]
    assert figures["returns"]["dream"]["mean"] == agents["dream"]["mean"]
    assert {*figures["quality"]["beliefs"]} == {"dream", "mean dream", "repeated", "nearest", "mean nearest"}
    assert "second opinion" in figures["alarm"]["evidence"][0]
    text = (folder / "card.md").read_text()
    assert "nan" not in text and "None" not in text and str(tmp_path) not in text.split("## Where")[0]
    assert "by the same 2 real returns of each" in text and f"last {STEPS} steps at most" in text
    assert figures["alarm"]["horizon"] == STEPS and figures["alarm"]["families"] <= 3
    assert (
        text.index("| what |")
        < text.index("## Frame against frame")
        < text.index("## Policies")
        < text.index("## Limits")
    )
    for name in ("dream_vs_real.png", "dream_vs_real_returns.png"):
        assert cv2.imread(str(folder / name)).shape[2] == 3
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()}
    assert len(before) == 4 * len(told["rows"])
    others = [dream(second, player(agent), range(900_000, 900_002), STEPS)]
    masked = dream(world, player(agent), range(900_000, 900_002), STEPS, masks=True)
    said = verdict(gap, dream(world, player(agent), range(900_000, 900_002), STEPS), others, masked)
    assert {*said} == {*figures["alarm"]["candidates"]} and "second opinion" in said
    assert main(args) == 0  # again, and nothing is played twice
    again = json.loads(capsys.readouterr().out)
    assert again["figures"] == figures
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "work").iterdir()} == before
    World.load(folder)


QUICK = {"episodes": 2, "dreams": 2, "processes": 1, "segments": 4, "kept": 2, "samples": 2, "simulated": 0}
QUICK |= {"holdout": 0.5}
BARE: dict[str, Any] = {"summary": "", "limits": [], "files": {}}


def test_trust_on_new_data(made: Callable[[str], Made], tmp_path: Path) -> None:
    world, data, _ = made("box")
    assert world.folder is not None and 0 < sum(is_heldout(header, 0.5) for header in data.episodes) < 8
    config = GapConfig(world.folder, data.folder, **QUICK)
    found = Measuring(config).trust()
    assert found["on"].startswith("held-out") and found["horizons"][0]["from"] == 0
    assert all(one["p"] is None for one in found["horizons"])
    new = Measuring(replace(config, new_data=data.folder)).trust()
    assert new["on"] == "new episodes" and new["episodes"] == 8 and new["policies"] == ["random"]
    assert new["known"] == found["episodes"] and all(0 < one["p"] <= 1 for one in new["horizons"])
    other = make_data(tmp_path, "discrete", 1)
    with pytest.raises(ValueError, match="differ in env_id, action"):
        Measuring(replace(config, new_data=other.folder)).trust()


def test_data_that_the_fit_saw_nothing_of(made: Callable[[str], Made], tmp_path: Path) -> None:
    world, data, _ = made("box")
    assert world.folder is not None
    folder = Path(shutil.copytree(world.folder, tmp_path / "world", ignore=shutil.ignore_patterns("gap.json")))
    config = GapConfig(folder, data.folder, **QUICK | {"holdout": 1.0})
    measuring = Measuring(config)
    assert len(measuring.apart) == 8 and {*measuring.told.rivals} == {"dream", "mean dream", "repeated"}
    told = measuring.trust()
    assert told["on"] == "new episodes" and told["known"] == 0 and "no test" in words._trust({"trust": told})
    assert measuring.judgements()["on"] == "new episodes" and measuring.about()["meter"] is None
    assert measuring.about()["policies"] is None
    text = render({**measuring.about(), "figures": {"quality": measuring.quality()}, **BARE})
    assert "similar actions" not in text and "held-out" not in text and "recorded. Elsewhere" in text
    assert "simulator frames. The meter" in text  # and nothing of what another data set has cost
    write_json(
        folder / "gap.json",
        {"world": {"hash": world.hash}, "meter": {"real_frames": 7, "others": {}}, "policies": ["mixed"]},
    )
    told = Measuring(config).about()
    assert told["meter"]["real_frames"] == 7 and told["policies"] == ["mixed"]
    with pytest.raises(ValueError, match="share that the fit held out"):
        replace(config, holdout=0.0)


def test_settings_that_cannot_be(made: Callable[[str], Made], tmp_path: Path) -> None:
    world, data, agent = made("box")
    assert world.folder is not None
    with pytest.raises(ValueError, match="1,000,000"):
        GapConfig(world.folder, data.folder, seed=999_999)
    with pytest.raises(ValueError, match="at least 2"):
        GapConfig(world.folder, data.folder, episodes=1)
    with pytest.raises(ValueError, match="seed 9 was recorded"):
        Measuring(GapConfig(world.folder, data.folder, agent, seed=8)).policies()
    with pytest.raises(ValueError, match="give an agent or policies"):
        GapConfig(world.folder, data.folder, exploiters=(agent,))
    assert asdict(GapConfig(world.folder, data.folder, agent))["agent"] == agent


def test_seeds_that_were_learned_from(made: Callable[[str], Made], tmp_path: Path) -> None:
    world, data, agent = made("box")
    assert world.folder is not None
    first = replace(tapes(data)[0], meta={**tapes(data)[0].meta, "seed": 0})
    other = Dataset.create(tmp_path / "data", spec_of("box"))
    write_episode(other.folder, first, "000")
    with pytest.raises(ValueError, match="seed 0 was recorded"):
        Measuring(GapConfig(world.folder, other.folder, agent, seed=0))._seeds()
    make_agent(world, tmp_path / "loop" / "round-03" / "agent", 4)
    write_json(tmp_path / "loop" / "round-03" / "chosen.json", {"returns": [1.0], "seeds": [71, 72]})
    config = GapConfig(world.folder, data.folder, agent, (tmp_path / "loop",), seed=72)
    with pytest.raises(ValueError, match="seed 72 chose among agents"):
        Measuring(config)._seeds()
    assert Measuring(replace(config, seed=73))._seeds() == range(73, 83)


def test_scores_are_of_the_same(made: Callable[[str], Made], tmp_path: Path) -> None:
    """Of this agent and its habit, in the simulator, or in this world as it is dreamed here."""
    world, data, agent = made("box")
    assert world.folder is not None
    path = tmp_path / "score.json"
    config = GapConfig(world.folder, data.folder, agent, scores=(path,), work=tmp_path / "w", **QUICK)
    mine = Measured(player(agent), Real([1.0, 2.0], [3, 3], [0, 1], 6), dream(world, player(agent), range(2), 5))
    real = {"env": COUNTING, "weights": mine.player.weights, "deterministic": False, "mean": 12.5, "ci95": None}
    real |= {"returns": [12.5], "seeds": [0]}
    how = {"horizon": STEPS, "trust_floor": 0.0}
    dreamed = real | {"env": str(world.folder), "world_hash": world.hash, "env_kwargs": how}

    def given(one: dict[str, Any]) -> dict[str, Any]:
        write_json(path, one)
        return returns(mine, world, [path], config.seed, STEPS)

    assert given(real)["real"]["mean"] == given(dreamed)["dream"]["mean"] == 12.5
    assert given(dreamed | {"env_kwargs": {**how, "temperature": 1.0}})["real"]["mean"] == 1.5
    wrong = {"weights": real | {"weights": "0"}, "deterministic": real | {"deterministic": True}}
    wrong |= {"returns": {k: v for k, v in real.items() if k != "returns"}, "world_hash": real | {"env": "Other-v0"}}
    wrong |= {"horizon": dreamed | {"env_kwargs": {"trust_floor": 0.0}}}
    wrong |= {"trust_floor": dreamed | {"env_kwargs": {"horizon": STEPS}}}
    wrong |= {"temperature": dreamed | {"env_kwargs": {**how, "temperature": 0.5}}}
    for name, one in wrong.items():
        with pytest.raises(ValueError, match=rf"score\.json lacks or differs in {name}"):
            given(one)
    write_json(path, dreamed | {"env_kwargs": {"horizon": 9999, "trust_floor": 0.0}})
    assert list(scored([path], mine.player, world, None)) == ["dream"]  # how long dreams are is known after playing
    write_json(path, wrong["weights"])
    with pytest.raises(ValueError, match="differs in weights"):
        Measuring(config).policies()
    assert not (tmp_path / "w").exists()  # refused before anything is played


def test_a_dream_is_as_long_as_the_longest_real_episode(made: Callable[[str], Made], tmp_path: Path) -> None:
    """Recorded ones may have been cut; and what was cut is no whole episode."""
    world, data, _ = made("box")
    assert world.folder is not None
    other, whole = Dataset.create(tmp_path / "data", spec_of("box")), tapes(data)[0]
    for i, tape in enumerate(tapes(data)[1:]):
        write_episode(other.folder, begun(tape, 9), f"{i:03d}")
    config = GapConfig(world.folder, other.folder, work=tmp_path / "w", **QUICK)
    measuring = Measuring(config)
    measuring.held = read(world, [whole], every=8, ahead=6)
    assert measuring.horizon == 9
    played = measuring._real([Player("chance", "chance")])
    assert measuring.horizon == max(played[0].lengths) == 21
    assert len({*measuring._known().returns.tolist()}) == 7  # none is whole: all are taken
    write_episode(other.folder, whole, "999")
    again = Measuring(config)
    again.held = measuring.held
    assert again.horizon == STEPS and {*again._known().returns.tolist()} == {whole.rew.sum(dtype=np.float64)}
