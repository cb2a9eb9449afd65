"""Road users: what they notice and do, their scenes, and environments with people in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from test_people import small
from tiny import SIZE, same

from gensim.agents.road_users.behaviour import AHEAD, LEFT, Behaviour, aimed, binned, followed, velocity
from gensim.agents.road_users.camera import Camera
from gensim.agents.road_users.person import Person
from gensim.agents.road_users.scene import RoadUser, Scenes
from gensim.agents.road_users.senses import NEVER, WIDTH, Robot, Walkers, arrival, passing, sense, touches
from gensim.agents.road_users.wrapper import RoadUsers, RoadUsersVector
from gensim.envs.registry import ANY_WORLD

CAMERA = Camera((SIZE, SIZE), 60.0, 1.5)
CROSSING = [
    RoadUser(Person(age=30, identity=1), 12.0, 3.0, -np.pi / 2, (1.0, 8.0)),
    RoadUser(Person(age=70, gait="phone", identity=2), 9.0, -4.0, np.pi / 2, (1.0, 8.0)),
    RoadUser(Person(gait="stand", identity=3), 6.0, -3.0, np.pi),
]


def mind(seed: int = 0) -> Behaviour:
    """What people do as no fit has made them: anything."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Behaviour(16).eval()


def walkers(n: int, rng: np.random.Generator) -> Walkers:
    heading = rng.uniform(-np.pi, np.pi, n)
    return Walkers(
        place=rng.uniform(-5, 5, (n, 2)),
        velocity=rng.uniform(-1, 1, (n, 2)),
        goal=np.stack([np.cos(heading), np.sin(heading)], -1),
        kerbs=np.sort(rng.uniform(-8, 8, (n, 2)), -1),
        pace=rng.uniform(0.5, 2, n),
        temperament=rng.random(n),
        age=rng.uniform(5, 90, n),
        distracted=rng.integers(0, 2, n) * 1.0,
    )


def robot(n: int, rng: np.random.Generator) -> Robot:
    return Robot(rng.uniform(-20, 20, (n, 2)), rng.uniform(-9, 9, (n, 2)), np.ones(n, bool))


# -------------------------------------------------------------------- senses


@given(st.integers(1, 7), st.floats(-3, 3), st.floats(-50, 50), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_what_is_noticed_does_not_depend_on_where_north_is(n: int, turn: float, shift: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    here, beside = walkers(n, rng), robot(n, rng)
    c, s = np.cos(turn), np.sin(turn)
    turned = lambda x: x @ np.array([[c, s], [-s, c]])  # noqa: E731
    moved = lambda x: turned(x) + shift  # noqa: E731
    goal = turned(here.goal)
    along = (moved(here.place) * goal).sum(-1) - (here.place * here.goal).sum(-1)
    there = Walkers(
        **vars(here)
        | {
            "place": moved(here.place),
            "velocity": turned(here.velocity),
            "goal": goal,
            "kerbs": here.kerbs + along[:, None],
        }
    )
    other = Robot(moved(beside.place), turned(beside.velocity), beside.there)
    one = np.zeros(n, int)
    a, b = sense(here, beside, one), sense(there, other, one)
    assert a.shape == (n, WIDTH) and a.dtype == np.float32 and np.isfinite(a).all()
    np.testing.assert_allclose(a, b, atol=1e-4)


def test_people_of_other_scenes_and_robots_that_are_not_there_are_not_noticed() -> None:
    rng = np.random.default_rng(0)
    here, beside = walkers(6, rng), robot(6, rng)
    apart = sense(here, beside, np.arange(6))
    assert not apart[:, -15:].any() and sense(here, beside, np.zeros(6, int))[:, -15:].any()
    gone = Robot(beside.place, beside.velocity, np.zeros(6, bool))
    assert not sense(here, gone, np.arange(6))[:, 10:19].any() and apart[:, 10:19].any(1).all()


@given(st.floats(3, 60), st.floats(0.5, 15))
@settings(max_examples=40, deadline=None)
def test_a_robot_arrives_when_its_front_does(far: float, speed: float) -> None:
    place, toward = np.array([[2.0, far]]), np.array([[0.0, -speed]])
    assert arrival(place, toward)[0] == pytest.approx(min((far - 2.3) / speed, NEVER))
    assert arrival(place, -toward)[0] == NEVER and arrival(place * [1, 0], toward)[0] == 0


@given(st.floats(-20, 20), st.floats(1, 40), st.floats(-4, 4), st.floats(1, 15), st.sampled_from((-1, 1)))
@settings(max_examples=40, deadline=None)
def test_a_robot_passes_where_it_will_be(ahead: float, left: float, drift: float, speed: float, side: int) -> None:
    place, velocity = np.array([ahead, side * left]), np.array([drift, -side * speed])
    when = left / speed
    if when < 10:
        assert passing(place, velocity) == pytest.approx((place + velocity * when)[0])
    assert passing(place, -velocity) == pytest.approx(ahead)  # it has passed


def test_a_touch_is_within_a_cars_sides() -> None:
    n = 200_000
    rng = np.random.default_rng(0)
    here = walkers(n, rng)
    car = Robot(np.zeros((n, 2)), np.zeros((n, 2)), np.ones(n, bool))
    hit = touches(here, car, np.tile([1.0, 0.0], (n, 1)))
    area = 4 * 2.3 * 0.95 + 2 * 0.3 * 2 * (2.3 + 0.95) + np.pi * 0.3**2  # of a car with a person's radius around
    assert hit.mean() == pytest.approx(area / 100, abs=0.003)


# -------------------------------------------------------------------- behaviour


def test_the_law_of_what_somebody_does_sums_to_one_and_is_what_is_drawn() -> None:
    model, noticed = mind(), torch.randn(1, 1, WIDTH)
    every = torch.cartesian_prod(torch.arange(len(AHEAD)), torch.arange(len(LEFT)))  # (264, 2)
    law = model.log_prob(noticed.expand(len(every), 1, -1), every[:, None])[:, 0].double().exp().detach()
    assert float(law.sum()) == pytest.approx(1, abs=1e-5)
    n = 40_000
    u = np.random.default_rng(0).random((n, 2))
    bins, log_p, _ = model.sample(noticed[0].expand(n, -1), torch.zeros(1, n, 16), u)
    at = bins[:, 0] * len(LEFT) + bins[:, 1]
    np.testing.assert_allclose(log_p, law.log()[at], atol=1e-5)
    share = np.bincount(at, minlength=len(every)) / n
    assert np.abs(share - law.numpy()).max() < 5 * np.sqrt(float(law.max()) / n)


def test_sampling_step_after_step_has_the_probability_of_the_whole() -> None:
    model, t = mind(1), 6
    noticed, h, total, all_bins = torch.randn(5, t, WIDTH), torch.zeros(1, 5, 16), np.zeros(5), []
    rng = np.random.default_rng(0)
    for step in range(t):
        bins, log_p, h = model.sample(noticed[:, step], h, rng.random((5, 2)))
        total += log_p
        all_bins.append(bins)
    whole = model.log_prob(noticed, torch.from_numpy(np.stack(all_bins, 1))).sum(1)
    np.testing.assert_allclose(whole.detach().numpy(), total, atol=1e-4)


@given(st.floats(-1.3, 3.1), st.floats(-0.9, 0.9), st.floats(-3, 3))
@settings(max_examples=20, deadline=None)
def test_binning_keeps_the_mean(ahead: float, left: float, turn: float) -> None:
    goal = np.array([np.cos(turn), np.sin(turn)])
    move = ahead * goal + left * np.array([-goal[1], goal[0]])
    n = 4000
    u = np.random.default_rng(1).random((n, 2))
    bins = binned(np.tile(move, (n, 1)), np.tile(goal, (n, 1)), u)
    np.testing.assert_allclose(velocity(bins, np.tile(goal, (n, 1))).mean(0), move, atol=0.012)


@given(st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_what_is_aimed_at_is_what_a_velocity_follows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before, aim = rng.normal(size=(2, 5, 2))
    np.testing.assert_allclose(aimed(before, followed(before, aim)), aim, atol=1e-9)
    now = before
    for _ in range(5):
        now = followed(now, aim)
    share = np.linalg.norm(now - aim, axis=1) / np.linalg.norm(before - aim, axis=1)
    np.testing.assert_allclose(share, np.exp(-1), atol=0.03)  # half a second is the time of relaxation


def test_a_behaviour_is_saved_and_read_and_refuses_other_files(tmp_path: Path) -> None:
    model, path = mind(), tmp_path / "b.safetensors"
    model.save(path)
    again = Behaviour.load(path)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values()))
    small().save(tmp_path / "people.safetensors")
    with pytest.raises(ValueError, match="no behaviour of road users"):
        Behaviour.load(tmp_path / "people.safetensors")


# -------------------------------------------------------------------- scenes


def run(scenes: Scenes, steps: int, speed: float = 5.0, keys: Any = (7,)) -> np.ndarray:
    """Places (steps, n, 2) of everybody while robots drive straight on."""
    m = scenes.rows
    scenes.reset(np.array(keys, np.uint64), np.ones(m, bool))
    found = []
    for _ in range(steps):
        scenes.advance(np.tile([speed * 0.1, 0, 0], (m, 1)), np.full(m, speed), np.ones(m, bool))
        found.append(scenes.now.walkers.place.copy())
    return np.stack(found)


def test_equal_keys_are_equal_futures_whatever_runs_beside() -> None:
    alone = run(Scenes(CROSSING, 1, mind()), 20)
    beside = run(Scenes(CROSSING, 5, mind()), 20, keys=(1, 2, 7, 3, 4))
    assert np.array_equal(alone, beside[:, 6:9]) and not np.array_equal(alone, beside[:, :3])


def test_somebody_more_changes_nobodys_draws() -> None:
    """With nothing to notice of each other, the same people do the same beside one more."""
    far = [
        RoadUser(user.person, user.ahead + 100 * i, user.left, user.heading, user.road)
        for i, user in enumerate(CROSSING)
    ]
    assert np.array_equal(run(Scenes(far, 1, mind()), 10)[:, :2], run(Scenes(far[:2], 1, mind()), 10))


def test_a_copy_has_the_same_future() -> None:
    scenes = Scenes(CROSSING, 2, mind())
    run(scenes, 5, keys=(1, 2))
    kept = scenes.now.copy()
    ends = []
    for _ in range(2):
        scenes.now = kept.copy()
        for _ in range(5):
            scenes.advance(np.zeros((2, 3)), np.zeros(2), np.ones(2, bool))
        ends.append(scenes.now)
    assert same(vars(ends[0]), vars(ends[1])) and not np.array_equal(ends[0].walkers.place, kept.walkers.place)


def test_robots_turn_and_people_are_seen_from_them() -> None:
    scenes = Scenes([RoadUser(Person(gait="stand"), 10.0, 0.0)], 1, None)
    scenes.advance(np.array([[4.0, 0.0, np.pi / 2]]), np.zeros(1), np.ones(1, bool))
    np.testing.assert_allclose(scenes.seen(), [[0.0, -6.0]], atol=1e-9)  # six metres to the right of who turned left
    scenes.advance(np.array([[2.0, 1.0, 0.0]]), np.zeros(1), np.ones(1, bool))
    np.testing.assert_allclose(scenes.seen(), [[-2.0, -7.0]], atol=1e-9)


def test_strides_go_on_as_fast_as_people_walk() -> None:
    walker = RoadUser(Person(height=1.7), 20.0, 0.0, np.pi / 2, pace=1.4)
    scenes = Scenes([walker], 1, None)
    phase = scenes.now.phase.copy()
    for _ in range(10):
        scenes.advance(np.zeros((1, 3)), np.zeros(1), np.ones(1, bool))
    assert scenes.now.walkers.place[0] == pytest.approx([20.0, 1.4])
    assert (scenes.now.phase - phase)[0] % 1 == pytest.approx(1.4 / (0.82 * 1.7) % 1)


# -------------------------------------------------------------------- environments


def still(info: Any, action: Any) -> tuple[np.ndarray, np.ndarray]:
    """A motion: half a metre ahead in each step."""
    n = len(np.atleast_1d(info["trust"]))
    return np.tile([0.5, 0.0, 0.0], (n, 1)), np.full(n, 5.0)


def with_people(world: Path, n: int | None = None, people: Any = CROSSING, **kwargs: Any) -> Any:
    about = {"camera": CAMERA, "motion": still, "behaviour": mind(), "painter": small(), **kwargs}
    if n is None:
        return RoadUsers(gym.make(ANY_WORLD, world=str(world)), people, **about)
    env = gym.make_vec(ANY_WORLD, num_envs=n, world=str(world), autoreset_mode="Disabled")
    return RoadUsersVector(env, people, **about)


def test_the_wrapper_keeps_gymnasiums_contract(tiny_world: Callable[..., Path]) -> None:
    check_env(with_people(tiny_world()), skip_render_check=True)


def test_a_row_is_the_single_environment_of_its_seed(tiny_world: Callable[..., Path]) -> None:
    many = with_people(tiny_world(), 3)
    ones = [with_people(tiny_world()) for _ in range(3)]
    obs, _ = many.reset(seed=40)
    firsts = [env.reset(seed=40 + i)[0] for i, env in enumerate(ones)]
    assert all(np.array_equal(a, b) for a, b in zip(obs, firsts))
    act, over = np.zeros((3, 2), np.float32), np.zeros(3, bool)
    for _ in range(12):
        obs, rew, term, trunc, info = many.step(act)
        for i, env in enumerate(ones):
            if over[i]:
                continue
            a, b, c, d, told = env.step(act[i])
            over[i] = c or d
            last = info["final_obs"][i] if over[i] else obs[i]
            assert np.array_equal(a, last) and b == rew[i] and (c, d) == (term[i], trunc[i])
            whole = info["final_info"] if over[i] else info
            assert told["people_log_prob"] == pytest.approx(whole["people_log_prob"][i], abs=1e-12)
            assert same(told["people"], whole["people"][i])


def test_people_are_told_apart_though_they_share_an_identity(tiny_world: Callable[..., Path]) -> None:
    pair = [RoadUser(Person(age=age, gait="stand"), 8.0, left) for age, left in ((30.0, -1.0), (70.0, 1.0))]
    _, info = with_people(tiny_world(), people=pair, behaviour=None).reset(seed=0)
    assert {one["who"]: one["attributes"]["age"] for one in info["people"]} == {0: 30.0, 1: 70.0}


def test_who_is_touched_ends_the_episode(tiny_world: Callable[..., Path]) -> None:
    there = [RoadUser(Person(gait="stand"), 30.0, 9.0), RoadUser(Person(gait="stand", identity=5), 4.0, 0.0)]
    env = with_people(tiny_world(), people=there, behaviour=None)
    env.reset(seed=1)
    met = [env.step(np.zeros(2, np.float32))[2::2] for _ in range(3)]
    assert [(term, info["contact"]) for term, info in met] == [
        (False, -1),
        (False, -1),
        (True, 1),
    ]  # 4 - 2.3 - 0.3 metres, half a metre a step


def test_a_moment_is_taken_up_again(tiny_world: Callable[..., Path]) -> None:
    env = with_people(tiny_world())
    env.reset(seed=2)
    env.step(np.zeros(2, np.float32))
    kept, ends = env.snapshot(), []
    for _ in range(2):
        env.restore(kept)
        ends.append([env.step(np.zeros(2, np.float32))[0] for _ in range(3)])
    assert same(*ends)


def test_what_cannot_be_done_is_said(tiny_world: Callable[..., Path]) -> None:
    latents = gym.make(ANY_WORLD, world=str(tiny_world()), observation="latents")
    with pytest.raises(ValueError, match="observation='frames'"):
        RoadUsers(latents, CROSSING, painter=small(), behaviour=None)
    plain = gym.make(ANY_WORLD, world=str(tiny_world()))
    env = RoadUsers(plain, CROSSING, CAMERA, painter=small(), behaviour=None)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="labels=True, or give motion="):
        env.step(np.zeros(2, np.float32))
    env = RoadUsers(plain, CROSSING, painter=small(), behaviour=None)
    with pytest.raises(ValueError, match="give camera=Camera"):
        env.reset(seed=0)
    with pytest.raises(ValueError, match="behaviour='wild'"):
        RoadUsers(plain, CROSSING, painter=small(), behaviour="wild")
    vector = gym.make_vec(ANY_WORLD, num_envs=2, world=str(tiny_world()))
    with pytest.raises(ValueError, match="Disabled"):
        RoadUsersVector(vector, CROSSING, painter=small(), behaviour=None)
    with pytest.raises(ValueError, match="where it begins and then where it ends"):
        RoadUser(Person(), 1.0, 1.0, road=(4.0, 2.0))


# -------------------------------------------------------------------- encounters to learn from


def test_encounters_are_the_seeds_own_and_nobody_is_thrown_about() -> None:
    pytest.importorskip("jupedsim")
    from gensim.agents.road_users.source.street import FASTEST, encounter, gap_wanted

    one, again = encounter(3), encounter(3)
    assert same(vars(one), vars(again))
    assert np.linalg.norm(one.velocity, axis=-1).max() < FASTEST
    width = np.array([4.0, 7.5, 11.0])
    middling = gap_wanted(width, np.full(3, 0.5 / 1.15))
    np.testing.assert_allclose(middling, [2.2, 5.9, 9.6], atol=0.1)
    assert (np.diff([gap_wanted(width, np.full(3, t)) for t in (0, 0.5, 1)], axis=0) < 0).all()


def test_slips_change_nothing_before_the_first() -> None:
    pytest.importorskip("jupedsim")
    from gensim.agents.road_users.source.street import encounter

    slipped = 0
    for seed in range(4):
        one, other = encounter(seed), encounter(seed, slips=1.0)
        assert not one.slips.any()
        if one.place.shape != other.place.shape or not np.array_equal(one.place[0], other.place[0]):
            continue  # somebody was thrown about, and another attempt was taken
        first = int(np.argmax(other.slips.any(1))) if other.slips.any() else len(other.slips)
        assert np.array_equal(one.place[: first + 1], other.place[: first + 1])
        slipped += not np.array_equal(one.place, other.place)
    assert slipped >= 2


def test_missing_weights_are_said(tiny_world: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    plain = gym.make(ANY_WORLD, world=str(tiny_world()))
    for module, about in (("painter", {"behaviour": None}), ("behaviour", {"painter": small()})):
        monkeypatch.setattr(f"gensim.agents.road_users.{module}.WEIGHTS", Path("nowhere.safetensors"))
        with pytest.raises(FileNotFoundError, match=r"is not there: copy the whole folder, make it by scripts/"):
            RoadUsers(plain, CROSSING, CAMERA, motion=still, **about)
