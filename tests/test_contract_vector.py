"""The contract, part 3: many environments at once."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from conftest import Case
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from tiny import row, same

from gensim.envs import DreamVectorEnv, Reason

MODES = [mode.value for mode in AutoresetMode]


def sampled(env: gym.vector.VectorEnv, n: int, seed: int = 0) -> list[np.ndarray]:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(n)]


def played(env: gym.vector.VectorEnv, n: int, seed: int = 0) -> list[Any]:
    """What a vector environment returns for n random actions."""
    return [env.step(act) for act in sampled(env, n, seed)]


def test_native_by_default(case: Case) -> None:
    env = case.make_vec(3)
    assert type(env) is DreamVectorEnv and env.num_envs == 3
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert {"rgb_array", "human"} <= set(env.metadata["render_modes"])
    assert type(env.metadata["render_fps"]) is int
    assert env.observation_space.shape == (3, *env.single_observation_space.shape)
    assert env.observation_space.dtype == env.single_observation_space.dtype
    single = case.make()
    assert env.single_observation_space == single.observation_space
    assert env.single_action_space == single.action_space


@pytest.mark.parametrize("num_envs", [1, 7, 64])
def test_rows_are_single_environments(tiny: Case, num_envs: int) -> None:
    env = tiny.make_vec(num_envs, horizon=9, trust_floor=0.4, start_mix=0.5, dropout=True, temperature=1.2)
    singles = [tiny.make(**_config(env)).unwrapped for _ in range(num_envs)]
    obs, info = env.reset(seed=100)
    firsts = [single.reset(seed=100 + i) for i, single in enumerate(singles)]
    for i, first in enumerate(firsts):
        assert same((obs[i], row(info, i)), first)
    for act in sampled(env, 14):
        obs, rew, term, trunc, info = env.step(act)
        for i, single in enumerate(singles):
            ended = single.dream.now.done[0]
            one = (*single.reset(), 0.0, False, False) if ended else _sorted(single.step(act[i]))
            assert same((obs[i], row(info, i), rew[i].item(), term[i].item(), trunc[i].item()), one)


def test_shipped_rows_are_single_environments(case: Case) -> None:
    env = case.make_vec(7, horizon=5)
    singles = [case.make(horizon=5) for _ in range(7)]
    obs, _ = env.reset(seed=3)
    assert all(same(obs[i], single.reset(seed=3 + i)[0]) for i, single in enumerate(singles))
    for act in sampled(env, 4):
        out = env.step(act)
        for i, single in enumerate(singles):
            if not single.unwrapped.dream.now.done[0]:
                assert same((out[0][i], row(out[4], i)), _sorted(single.step(act[i]))[:2])


def _config(env: Any) -> dict[str, Any]:
    names = ("horizon", "trust_floor", "start_mix", "dropout", "temperature", "observation")
    return {name: getattr(env.unwrapped.dream.config, name) for name in names}


def _sorted(step: tuple[Any, ...]) -> tuple[Any, ...]:
    obs, rew, term, trunc, info = step
    return obs, info, rew, term, trunc


def test_neighbours_and_slots_do_not_matter(tiny: Case) -> None:
    """The same seeds in another order and among strangers bring the same bytes."""
    env, other = tiny.make_vec(7, horizon=6), tiny.make_vec(20, horizon=6)
    order = np.random.default_rng(0).permutation(20)[:7]
    seeds: list[int | None] = [int(x) for x in range(1000, 1020)]
    for i, slot in enumerate(order):
        seeds[slot] = i
    obs, _ = env.reset(seed=list(range(7)))
    strange, _ = other.reset(seed=seeds)
    assert same(obs, strange[order])
    for k, act in enumerate(sampled(env, 10)):
        wide = sampled(other, 1, k)[0]
        wide[order] = act
        ours, theirs = env.step(act), other.step(wide)
        assert all(same(x, y[order]) for x, y in zip(ours[:4], theirs[:4]))
        assert same(ours[4], {key: value[order] for key, value in theirs[4].items()})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("observation", ["frames", "latents"])
def test_as_gymnasiums_own(tiny: Case, mode: str, observation: str) -> None:
    """Observations, rewards, flags and infos are those of a SyncVectorEnv of single environments."""
    kwargs = {"horizon": 6, "observation": observation, "trust_floor": 0.4}
    env = tiny.make_vec(5, autoreset_mode=mode, **kwargs)
    sync = SyncVectorEnv([lambda: tiny.make(**kwargs)] * 5, autoreset_mode=AutoresetMode(mode))
    assert same(env.reset(seed=9), sync.reset(seed=9))
    ends = 0
    for act in sampled(env, 25):
        ours, theirs = env.step(act), sync.step(act)
        assert same(ours, theirs)
        done = ours[2] | ours[3]
        ends += done.sum()
        if mode == "Disabled" and done.any():
            again = [e.reset(options={"reset_mask": done.copy()}) for e in (env, sync)]
            assert same(again[0], again[1])
    assert ends >= 10


@pytest.mark.parametrize("context", ["forkserver", "spawn"])
def test_async(box: Case, context: str) -> None:
    env = box.make_vec(2, horizon=4)
    workers = box.make_vec(2, horizon=4, vectorization_mode="async", vector_kwargs={"context": context})
    try:
        assert same(env.reset(seed=9), workers.reset(seed=9))
        assert same(played(env, 8), played(workers, 8))
    finally:
        workers.close()


def test_sync(case: Case) -> None:
    env = case.make_vec(2, horizon=3, vectorization_mode="sync")
    native = case.make_vec(2, horizon=3)
    assert same(env.reset(seed=1), native.reset(seed=1))
    assert same(played(env, 5), played(native, 5))


def test_types(case: Case) -> None:
    env = case.make_vec(3, horizon=2)
    obs, info = env.reset(seed=0)
    out = env.step(env.action_space.sample())
    assert obs in env.observation_space and out[0] in env.observation_space
    assert [x.dtype for x in out[1:4]] == [np.float64, np.bool_, np.bool_]
    assert not out[3].any()  # a first step never truncates
    assert info.keys() == out[4].keys()
    for key, value in out[4].items():
        assert value.dtype == info[key].dtype and value.shape == info[key].shape == (3,)
        assert not key.startswith("_") or (value.dtype == bool and value.all())


def test_the_terminal_observation_is_the_last_frame(tiny: Case) -> None:
    kwargs = {"horizon": 4, "trust_floor": 0.0}
    same_step = tiny.make_vec(6, autoreset_mode="SameStep", **kwargs)
    disabled = tiny.make_vec(6, autoreset_mode="Disabled", **kwargs)
    same_step.reset(seed=0), disabled.reset(seed=0)
    seen = 0
    for act in sampled(same_step, 12):
        ours, last = same_step.step(act), disabled.step(act)
        done = ours[2] | ours[3]
        assert same(done, last[2] | last[3]) and ("final_obs" in ours[4]) == done.any()
        if not done.any():
            continue
        fresh, _ = disabled.reset(options={"reset_mask": done})
        info = ours[4]
        assert same(info["_final_obs"], done) and same(info["_final_info"], done)
        for i in np.flatnonzero(done):
            assert same(info["final_obs"][i], last[0][i]) and same(ours[0][i], fresh[i])
            assert same(row(info["final_info"], i), row(last[4], i))
            assert not same(info["final_obs"][i], ours[0][i])
            assert info["elapsed"][i] == 0 and info["final_info"]["elapsed"][i] > 0
        seen += done.sum()
    assert seen > 6


def test_next_step_brings_the_reset(tiny: Case) -> None:
    env = tiny.make_vec(4, horizon=3, trust_floor=0.0)
    env.reset(seed=0)
    done = np.zeros(4, bool)
    for act in sampled(env, 12):
        _, rew, term, trunc, info = env.step(act)
        assert (info["elapsed"][done] == 0).all() and (rew[done] == 0).all()
        assert not (term | trunc)[done].any()
        assert (info["elapsed"][~done] > 0).all()
        assert same(trunc, info["truncation_reason"] == Reason.HORIZON)
        done = term | trunc


def test_disabled_wants_a_reset(tiny: Case) -> None:
    env = tiny.make_vec(2, horizon=2, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    with pytest.raises(ResetNeeded, match="reset_mask"):
        played(env, 3)


def test_masked_resets(tiny: Case) -> None:
    env = tiny.make_vec(5, autoreset_mode="Disabled", trust_floor=0.0)
    with pytest.raises(ResetNeeded):
        env.reset(options={"reset_mask": np.array([True, False, False, False, False])})
    before, _ = env.reset(seed=0)
    mask = np.array([False, True, False, True, False])
    options = {"reset_mask": mask, "start": np.arange(5)}
    obs, info = env.reset(seed=50, options=options)
    assert options["reset_mask"] is mask  # what was given is not touched
    assert same(info["_elapsed"], mask) and same(obs[~mask], before[~mask])
    single = tiny.make(trust_floor=0.0)
    assert same(obs[3], single.reset(seed=53, options={"start": 3})[0])
    act = sampled(env, 1)[0]
    assert same(env.step(act)[0][3], single.step(act[3])[0])
    with pytest.raises(ValueError, match="start has 4"):
        env.reset(options={"start": np.arange(4)})
    for bad in ([True] * 5, np.ones(4, bool), np.zeros(5, bool), np.ones(5, int)):
        with pytest.raises(ValueError, match="reset_mask"):
            env.reset(options={"reset_mask": bad})


def test_lists_of_seeds(tiny: Case) -> None:
    env, other = tiny.make_vec(3), tiny.make_vec(3)
    env.reset(seed=4), other.reset(seed=4)
    obs, _ = env.reset(seed=[9, None, 9])
    following, _ = other.reset()
    assert same(obs[0], obs[2]) and same(obs[1], following[1])
    act = np.stack([env.single_action_space.sample()] * 3)
    ours, theirs = env.step(act)[4]["log_prob"], other.step(act)[4]["log_prob"]
    assert ours[0] == ours[2] != theirs[0] and ours[1] == theirs[1]
    for bad in ([1, 2], [1, 2, -3], -1):
        with pytest.raises((ValueError, gym.error.Error)):
            env.reset(seed=bad)


def test_bad_actions_name_the_shape(box: Case) -> None:
    env = box.make_vec(3)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        env.step(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="nan"):
        env.step(np.full((3, 2), np.nan))
    with pytest.raises(ValueError, match="1 or more"):
        box.make_vec(0)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_copies(tiny: Case, copied: Any) -> None:
    env = tiny.make_vec(5, horizon=6, autoreset_mode="SameStep")
    env.reset(seed=0)
    played(env, 4)
    other = copied(env)
    assert same(played(env, 8, 1), played(other, 8, 1)) and same(env.reset(), other.reset())


def test_snapshot_restore_branch(tiny: Case) -> None:
    env = tiny.make_vec(5, horizon=6)
    env.reset(seed=0)
    played(env, 4)
    kept, seen = env.snapshot(), played(env, 10, 1)
    env.restore(kept)
    assert same(seen, played(env, 10, 1))
    alone = tiny.make(horizon=6).unwrapped
    alone.restore(kept.rows([2]))
    assert same(alone.render_mode, None) and same(alone.snapshot(), kept.rows([2]))
    fan = env.branch(3)
    assert fan.num_envs == 15 and fan.step(fan.action_space.sample())[0].shape[0] == 15
    everywhere = tiny.make_vec(4, horizon=6)
    obs, info = everywhere.reset(options={"snapshot": alone.snapshot()}) if not kept.done[2] else (None, None)
    if obs is not None:
        assert all(same(obs[0], frame) for frame in obs) and len(set(info["elapsed"].tolist())) == 1
    with pytest.raises(ValueError, match="rows"):
        everywhere.restore(kept)


def test_a_snapshot_is_not_touched_by_what_follows(tiny: Case) -> None:
    env = tiny.make_vec(3, horizon=4, autoreset_mode="SameStep")
    obs, _ = env.reset(seed=0)
    kept = env.snapshot()
    frozen = copy.deepcopy(kept)
    for out in played(env, 10):
        for array in (*out[:4], *out[4].values()):
            if isinstance(array, np.ndarray) and array.dtype != object:
                array[...] = 0  # what is returned is the caller's
    assert same(kept, frozen)
    again, _ = env.restore(kept)
    assert same(obs, again)


@pytest.mark.parametrize("mode", MODES[:2])
def test_nothing_is_shared_between_calls(tiny: Case, mode: str) -> None:
    env = tiny.make_vec(3, horizon=3, autoreset_mode=mode, observation="latents")
    calls = [env.reset(seed=0), *played(env, 8), env.reset()]
    arrays = [_arrays(call) for call in calls]
    for i, ours in enumerate(arrays):
        for theirs in arrays[i + 1 :]:
            assert not any(np.shares_memory(x, y) for x in ours for y in theirs)
        assert all(x.flags.writeable for x in ours)


def _arrays(value: Any) -> list[np.ndarray]:
    if isinstance(value, dict):
        return [x for part in value.values() for x in _arrays(part)]
    if isinstance(value, tuple):
        return [x for part in value for x in _arrays(part)]
    if value.dtype == object:
        return [value, *(x for x in value if x is not None)]
    return [value]


def test_render(case: Case) -> None:
    env = case.make_vec(3, render_mode="rgb_array")
    obs, _ = env.reset(seed=0)
    frames = env.render()
    assert isinstance(frames, tuple) and same(np.stack(frames), obs)
    window = case.make_vec(3, render_mode="human", horizon=2)
    window.reset(seed=0)
    window.step(window.action_space.sample())
    assert window.render() is None
    window.close()
    window.close()
