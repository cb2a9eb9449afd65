"""The contract, part 2: the single environment."""

from __future__ import annotations

import copy
import pickle
import random
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import Case
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from tiny import make_world, same

from gensim.envs import Reason

INFO = {
    "log_prob": float,
    "log_q": float,
    "trust": float,
    "is_success": bool,
    "elapsed": int,
    "truncation_reason": int,
}


def play_on(env: gym.Env, actions: list[Any]) -> list[Any]:
    """What an environment returns for some actions, until the episode's end."""
    seen: list[Any] = []
    for action in actions:
        seen.append(env.step(action))
        if seen[-1][2] or seen[-1][3]:
            break
    return seen


def sampled(env: gym.Env, n: int, seed: int = 0) -> list[Any]:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(n)]


# ---------------------------------------------------------------------- checkers


def test_gymnasium_checker(case: Case) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(case.make(render_mode="rgb_array").unwrapped)


def test_gymnasium_checker_on_latents(case: Case) -> None:
    """A memory has no bounds that mean anything, which is all the checker has to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*Box observation space m.* is -?infinity.*")
        check_env(case.make(observation="latents").unwrapped, skip_render_check=True)


@pytest.mark.parametrize("observation", ["frames", "latents"])
def test_sb3_checker(case: Case, observation: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env_sb3(case.make(observation=observation).unwrapped, warn=True, skip_render_check=True)


# ---------------------------------------------------------------------- spaces and types


def test_spaces(case: Case) -> None:
    env = case.make()
    space = env.observation_space
    assert space.dtype == np.uint8 and (space.low == 0).all() and (space.high == 255).all()
    assert min(space.shape[:2]) >= 36 and space.shape[2] == 3
    if isinstance(env.action_space, gym.spaces.Discrete):
        assert env.action_space.start == 0
    else:
        assert (env.action_space.low == -1).all() and (env.action_space.high == 1).all()
        assert env.action_space.dtype == np.float32


def test_what_a_step_returns(case: Case) -> None:
    env = case.make(horizon=2).unwrapped
    obs, info = env.reset(seed=5)
    first = env.step(env.action_space.sample())
    assert type(info) is type(first[4]) is dict
    assert {key: type(value) for key, value in info.items()} == INFO
    assert {key: type(value) for key, value in first[4].items()} == INFO
    assert [type(x) for x in first[1:4]] == [float, bool, bool]
    assert not first[3]  # a first step never truncates
    assert obs in env.observation_space and first[0] in env.observation_space
    assert not np.shares_memory(obs, first[0])
    assert 0 <= first[4]["trust"] <= 1 and first[4]["log_prob"] < 0


def test_metadata(case: Case) -> None:
    env = case.make()
    assert {"rgb_array", "human"} <= set(env.metadata["render_modes"])
    assert type(env.metadata["render_fps"]) is int
    with pytest.raises(ValueError, match="render_mode"):
        type(env.unwrapped)(world=case.world, render_mode="ansi")


def test_latents_are_the_worlds(case: Case) -> None:
    env = case.make(observation="latents", render_mode="rgb_array").unwrapped
    obs, _ = env.reset(seed=0)
    assert obs.dtype == np.float32 and obs.shape == (env.dream.world.latent_dim,)
    assert same(env.render(), case.make().reset(seed=0)[0])
    acts = sampled(env, 6)
    frames = case.make().unwrapped
    frames.reset(seed=0)
    for ours, theirs in zip(play_on(env, acts), play_on(frames, acts)):
        assert same(ours[1:], theirs[1:])


# ---------------------------------------------------------------------- randomness


def test_seeds_and_chains(case: Case) -> None:
    env, other = case.make().unwrapped, case.make().unwrapped
    acts = sampled(env, 8)
    runs = []
    for e in (env, other):
        runs.append(
            [
                (e.reset(seed=11), play_on(e, acts)),
                (e.reset(), play_on(e, acts)),
                (e.reset(), play_on(e, acts)),
            ]
        )
    assert same(runs[0], runs[1])
    assert not same(runs[0][0][1], runs[0][1][1]) and not same(runs[0][1][1], runs[0][2][1])
    other.reset(seed=12)
    assert not same(play_on(other, acts), runs[0][0][1])


def test_without_a_seed_episodes_differ(box: Case) -> None:
    acts = sampled(box.make(), 5)
    runs = []
    for _ in range(2):
        env = box.make()
        env.reset()
        runs.append(play_on(env, acts))
    assert not same(runs[0], runs[1])


def test_big_seeds_and_bad_ones(box: Case) -> None:
    env = box.make()
    for seed in (2**63, 2**64 - 1, 2**70):
        assert same(env.reset(seed=seed), env.reset(seed=seed))
    with pytest.raises(gym.error.Error):
        env.reset(seed=-1)


def test_global_generators_are_untouched(case: Case) -> None:
    before = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    env = case.make(dropout=True, start_mix=0.5)
    env.reset(seed=0)
    play_on(env, sampled(env, 3))
    env.reset()
    assert same(before[0], random.getstate()) and same(before[1], np.random.get_state())
    assert torch.equal(before[2], torch.get_rng_state())


# ---------------------------------------------------------------------- the end


def test_horizon_is_the_clock(case: Case) -> None:
    env = case.make(horizon=4, trust_floor=0.0)
    reached = 0
    for seed in range(8):
        env.reset(seed=seed)
        last = play_on(env, sampled(env, 10, seed))[-1]
        assert last[2] != last[3]
        assert last[3] == (last[4]["truncation_reason"] == Reason.HORIZON)
        assert not last[3] or last[4]["elapsed"] == 4
        reached += last[3]
    assert reached


def test_lost_trust_truncates(tiny: Case) -> None:
    env = tiny.make(trust_floor=1.0)
    for seed in range(4):
        env.reset(seed=seed)
        steps = play_on(env, sampled(env, 5, seed))
        if not steps[-1][2]:
            assert len(steps) == 2 and steps[-1][4]["truncation_reason"] == Reason.TRUST
    env = tiny.make(trust_floor=0.0, horizon=100)
    env.reset(seed=1)
    assert not any(step[3] for step in play_on(env, sampled(env, 99)))


def test_an_ended_episode_must_be_reset(tiny: Case) -> None:
    env = tiny.make(horizon=2).unwrapped
    with pytest.raises(ResetNeeded):
        env.step(env.action_space.sample())
    env.reset(seed=0)
    play_on(env, sampled(env, 2))
    with pytest.raises(ResetNeeded, match="ended"):
        env.step(env.action_space.sample())


def test_success_is_the_reward_threshold(box: Case) -> None:
    env = box.make().unwrapped
    assert env.dream.threshold == 900
    env.dream.threshold = -1e9
    assert env.reset(seed=0)[1]["is_success"] is True


# ---------------------------------------------------------------------- actions


@pytest.mark.parametrize("action", [[np.nan, 0], [0.0], [0, 0, 0], [2.0, 0], [np.inf, 0], 0.5, [[0, 0]], "left"])
def test_bad_box_actions(box: Case, action: Any) -> None:
    env = box.make().unwrapped
    env.reset(seed=0)
    before = env.snapshot()
    with pytest.raises(ValueError):
        env.step(action)
    assert same(before, env.snapshot())


@pytest.mark.parametrize("action", [5, -1, 0.5, [1], np.nan, None])
def test_bad_choices(tiny_world: Any, action: Any) -> None:
    env = gym.make("gensim/World-v0", world=str(tiny_world("discrete"))).unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="integers"):
        env.step(action)


def test_slightly_outside_is_clipped(box: Case) -> None:
    env, other = box.make(), box.make()
    env.reset(seed=0), other.reset(seed=0)
    assert same(env.step([1 + 1e-6, -1 - 1e-6]), other.step(np.array([1.0, -1.0])))


# ---------------------------------------------------------------------- options


def test_unknown_options(tiny: Case) -> None:
    env = tiny.make()
    with pytest.raises(ValueError, match=r"\['strat'\].*'start', 'temperature', 'dropout', 'snapshot'"):
        env.reset(options={"strat": 1})
    for options in ({"start": "end"}, {"start": 10**6}, {"start": -1}, {"start": True}, {"start": 0.5}):
        with pytest.raises(ValueError, match="start"):
            env.reset(options=options)
    for temperature in (0, -1.0, float("nan"), "hot", True):
        with pytest.raises(ValueError, match="temperature"):
            env.reset(options={"temperature": temperature})
    with pytest.raises(ValueError, match="dropout"):
        env.reset(options={"dropout": 0.1})
    with pytest.raises(ValueError, match="snapshot"):
        env.reset(options={"snapshot": {}})


@pytest.mark.parametrize(
    "kwargs",
    [
        {"observation": "pixels"},
        {"horizon": 1},
        {"temperature": 0.0},
        {"trust_floor": 1.5},
        {"start_mix": -0.1},
    ],
)
def test_bad_arguments(box: Case, kwargs: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        box.make(**kwargs)


def test_starts(tiny: Case) -> None:
    env = tiny.make().unwrapped
    starts = env.dream.world.starts
    drawn = {"real": set(), "mid": set()}
    for name, seen in drawn.items():
        for seed in range(30):
            env.reset(seed=seed, options={"start": name})
            seen.add(int(env.dream.now.state.start[0]))
    assert drawn["real"] == set(range(len(starts.real)))
    assert drawn["mid"] == set(range(len(starts.real), len(starts)))
    env.reset(seed=0, options={"start": 3})
    assert int(env.dream.now.state.start[0]) == 3
    assert not same(env.reset(seed=0, options={"start": 3})[0], env.reset(seed=0, options={"start": 4})[0])


def test_a_plain_reset_is_real_unless_mixed(tiny: Case) -> None:
    def share(mix: float) -> float:
        vector = tiny.make_vec(256, start_mix=mix, observation="latents").unwrapped
        vector.reset(seed=0)
        return float((vector.dream.now.state.start >= len(vector.dream.world.starts.real)).float().mean())

    assert share(0.0) == 0 and share(1.0) == 1 and 0.15 < share(0.25) < 0.35


def test_temperature_and_dropout(tiny: Case) -> None:
    env = tiny.make().unwrapped
    acts = sampled(env, 1)
    env.reset(seed=0)
    plain = env.step(acts[0])
    assert plain[4]["log_prob"] == pytest.approx(plain[4]["log_q"], abs=1e-3)
    env.reset(seed=0, options={"temperature": 3.0})
    hot = env.step(acts[0])
    assert hot[4]["log_prob"] != pytest.approx(hot[4]["log_q"], abs=1e-2)
    env.reset(seed=0, options={"dropout": True})
    assert (env.dream.now.state.mask == 0).any()
    env.reset()
    assert (env.dream.now.state.mask == 1).all() and float(env.dream.now.state.temperature[0]) == 1
    always = tiny.make(dropout=True, temperature=3.0).unwrapped
    always.reset(seed=0)
    assert (always.dream.now.state.mask == 0).any() and float(always.dream.now.state.temperature[0]) == 3


# ---------------------------------------------------------------------- keeping


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies_in_mid_episode(case: Case, copied: Any) -> None:
    env = case.make(render_mode="rgb_array")
    env.reset(seed=4)
    play_on(env, sampled(env, 3))
    other, acts = copied(env), sampled(env, 8, 1)
    assert other.unwrapped.dream.world is env.unwrapped.dream.world  # loaded once a process
    assert same(env.render(), other.render())
    assert same(play_on(env, acts), play_on(other, acts))
    assert same((env.reset(), play_on(env, acts)), (other.reset(), play_on(other, acts)))


def test_pickles_are_found_from_any_directory(box: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(box.world)
    monkeypatch.chdir(folder.parent)
    env = gym.make(box.id, world=folder.name)
    obs, _ = env.reset(seed=0)
    kept = pickle.dumps(env.unwrapped)
    monkeypatch.chdir("/")
    assert same(pickle.loads(kept).reset(seed=0)[0], obs)


def test_pickles_are_small(case: Case) -> None:
    env = case.make()
    env.reset(seed=0)
    dream = env.unwrapped.dream  # folder, hash and Rollout: little besides what the state holds
    held = sum(part.nbytes for part in dream.rollout.state.to_dict().values())
    assert len(pickle.dumps(dream)) < held + 5_000


def test_snapshot_and_restore(case: Case) -> None:
    env = case.make(horizon=30).unwrapped
    env.reset(seed=4)
    play_on(env, sampled(env, 2))
    kept, acts = env.snapshot(), sampled(env, 6, 1)
    seen = play_on(env, acts)
    following = (env.reset(), play_on(env, acts))
    obs, info = env.restore(kept)
    assert info["elapsed"] == 2 and obs in env.observation_space
    assert same(seen, play_on(env, acts)) and same(following, (env.reset(), play_on(env, acts)))
    other = case.make(horizon=30)
    assert same(other.reset(options={"snapshot": kept}), (obs, info))
    assert same(seen, play_on(other, acts))
    other.reset(options={"snapshot": pickle.loads(pickle.dumps(kept))}, seed=77)
    assert not same(seen, play_on(other, acts))  # the same past, another future


def test_snapshots_belong_to_their_world(tiny_world: Any) -> None:
    one, two = (gym.make("gensim/World-v0", world=str(tiny_world("box", seed))) for seed in (0, 1))
    one.reset(seed=0), two.reset(seed=0)
    with pytest.raises(ValueError, match="snapshot is of the world"):
        two.reset(options={"snapshot": one.unwrapped.snapshot()})
    with pytest.raises(ValueError, match="give it alone"):
        one.reset(options={"snapshot": one.unwrapped.snapshot(), "start": "mid"})


def test_a_finished_snapshot_is_restored_but_not_reset_to(tiny: Case) -> None:
    env = tiny.make(horizon=2).unwrapped
    env.reset(seed=0)
    play_on(env, sampled(env, 2))
    kept = env.snapshot()
    with pytest.raises(ValueError, match="ended"):
        env.reset(options={"snapshot": kept})
    env.restore(kept)
    with pytest.raises(ResetNeeded):
        env.step(env.action_space.sample())


def test_branches_share_the_past_only(tiny: Case) -> None:
    env = tiny.make(trust_floor=0.0).unwrapped
    obs, _ = env.reset(seed=0)
    acts = sampled(env, 3)
    fan = env.branch(8)
    assert fan.num_envs == 8 and all(same(frame, obs) for frame in fan.dream.frames())
    outs = [fan.step(np.stack([act] * 8)) for act in acts]
    assert len({frame.tobytes() for frame in fan.dream.world.latent(fan.dream.now.state)}) == 8
    again = env.branch(8)
    assert same(outs, [again.step(np.stack([act] * 8)) for act in acts])
    wider = env.branch(12)  # a branch does not depend on how many there are
    for out, wide in zip(outs, [wider.step(np.stack([act] * 12)) for act in acts]):
        assert same(out[0], wide[0][:8])
    with pytest.raises(ValueError, match="branch"):
        env.branch(0)


def test_changed_weights_are_noticed(tmp_path: Path) -> None:
    folder = make_world(tmp_path / "world", "box", 0)
    env = gym.make("gensim/World-v0", world=str(folder))
    env.reset(seed=0)
    kept, first = pickle.dumps(env.unwrapped), env.unwrapped.dream.world.hash
    make_world(folder, "box", 1)
    assert gym.make("gensim/World-v0", world=str(folder)).unwrapped.dream.world.hash != first
    with pytest.raises(ValueError, match="old weights"):
        pickle.loads(kept)


# ---------------------------------------------------------------------- people


class Hands(gym.Wrapper):
    """Presses keys in gymnasium's player and closes its window after some steps."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.actions: list[Any] = []

    def step(self, action: Any) -> Any:
        import pygame

        self.actions.append(action)
        known = self.unwrapped.get_keys_to_action()  # type: ignore[attr-defined]
        presses = dict(zip((1, 3), (keys for keys, does in known.items() if len(keys) == 1 and np.any(does))))
        if len(self.actions) in presses:
            key = ord(presses[len(self.actions)])
            pygame.event.post(pygame.event.Event(pygame.KEYDOWN, key=key))
        if len(self.actions) == 6:
            pygame.event.post(pygame.event.Event(pygame.QUIT))
        return super().step(action)


@pytest.mark.filterwarnings("ignore:.*matplotlib.*")
def test_play_needs_no_argument(case: Case) -> None:
    from gymnasium.utils.play import play

    env = Hands(case.make(render_mode="rgb_array"))
    play(env)
    assert len(env.actions) == 6
    assert len({np.asarray(action).tobytes() for action in env.actions}) > 1


def test_keys(case: Case) -> None:
    env = case.make()
    keys = env.unwrapped.get_keys_to_action()
    assert all(action in env.action_space for action in keys.values())
    assert not np.any(keys[""])  # no key is coasting
    if "w" in keys:
        assert keys["w"][1] > 0 > keys["s"][1] and keys["ad"][0] == 0


def test_human_window(case: Case) -> None:
    env = case.make(render_mode="human")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    assert env.render() is None
    copy.deepcopy(env).close()
    env.close()
    env.close()
