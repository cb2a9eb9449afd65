"""The contract, part 5: stable-baselines3, CleanRL, RLlib, torchrl, Minari."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import stand_ins
from conftest import Case
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecMonitor, VecNormalize
from tiny import same

from gensim.envs import DreamVecEnv, Reason
from gensim.envs.rllib import creator

PER_EPISODE = {"episode", "terminal_observation"}


# ---------------------------------------------------------------------- stable-baselines3


@pytest.mark.parametrize("observation", ["frames", "latents"])
def test_adapter_is_sb3s_own(tiny: Case, observation: str) -> None:
    """Everything is as in a DummyVecEnv of single environments, statistics besides."""
    kwargs = {"horizon": 5, "observation": observation, "trust_floor": 0.4}
    ours, theirs = DreamVecEnv(tiny.make_vec(4, **kwargs)), DummyVecEnv([lambda: tiny.make(**kwargs)] * 4)
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    ours.seed(7), theirs.seed(7)
    assert same(ours.reset(), theirs.reset()) and same(ours.reset_infos, theirs.reset_infos)
    ours.action_space.seed(0)
    ends = 0
    for _ in range(20):
        act = np.stack([ours.action_space.sample() for _ in range(4)])
        one, other = ours.step(act), theirs.step(act)
        assert same(one[:3], other[:3])
        for mine, its in zip(one[3], other[3]):
            assert same({key: value for key, value in mine.items() if key != "episode"}, its)
        ends += one[2].sum()
    assert ends >= 16


def test_adapter_notes_the_end(tiny: Case) -> None:
    env = DreamVecEnv(tiny.make_vec(6, horizon=4, trust_floor=0.0))
    env.seed(1)
    env.reset()
    env.action_space.seed(0)
    totals, seen = np.zeros(6), []
    for _ in range(16):
        obs, rew, done, infos = env.step(np.stack([env.action_space.sample() for _ in range(6)]))
        assert rew.dtype == np.float32
        totals += rew
        for i, info in enumerate(infos):
            assert (PER_EPISODE & info.keys() == PER_EPISODE) == done[i]
            assert info["TimeLimit.truncated"] == (info["truncation_reason"] == Reason.HORIZON)
        for i in np.flatnonzero(done):
            assert not same(infos[i]["terminal_observation"], obs[i])
            assert infos[i]["episode"]["l"] == infos[i]["elapsed"]
            assert infos[i]["episode"]["r"] == pytest.approx(totals[i], abs=1e-4)
            seen.append(infos[i]["TimeLimit.truncated"])
            totals[i] = 0
    assert any(seen)


@pytest.mark.parametrize("repeat", [2, 4])
def test_repeat(tiny: Case, repeat: int) -> None:
    """A decision is `repeat` steps under one action, cut at the episode's end."""
    kwargs = {"horizon": 7, "trust_floor": 0.0}
    env = DreamVecEnv(tiny.make_vec(3, **kwargs), repeat=repeat)
    singles = [tiny.make(**kwargs) for _ in range(3)]
    env.seed(3)
    obs = env.reset()
    assert all(same(obs[i], single.reset(seed=3 + i)[0]) for i, single in enumerate(singles))
    env.action_space.seed(0)
    for _ in range(12):
        act = np.stack([env.action_space.sample() for _ in range(3)])
        obs, rew, done, infos = env.step(act)
        for i, single in enumerate(singles):
            total, ended, log_prob = 0.0, False, 0.0
            for _ in range(repeat):
                last, r, term, trunc, info = single.step(act[i])
                total, ended, log_prob = total + r, term or trunc, log_prob + info["log_prob"]
                if ended:
                    break
            assert rew[i] == np.float32(total) and done[i] == ended
            assert infos[i]["log_prob"] == pytest.approx(log_prob) and infos[i]["elapsed"] == info["elapsed"]
            assert same(infos[i]["terminal_observation"] if ended else obs[i], last)
            if ended:
                assert same(obs[i], single.reset()[0])


def test_adapter_options_and_errors(box: Case) -> None:
    env = DreamVecEnv(box.make_vec(2))
    env.set_options({"start": "mid"})
    env.reset()
    assert (env.dream.now.state.start >= len(env.dream.world.starts.real)).all()
    env.reset()
    assert (env.dream.now.state.start < len(env.dream.world.starts.real)).all()  # options hold for one reset
    env.set_options([{"start": "mid"}, {}])
    with pytest.raises(ValueError, match="differ"):
        env.reset()
    with pytest.raises(ValueError, match="make_vec"):
        DreamVecEnv(box.make())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="repeat"):
        DreamVecEnv(box.make_vec(2), repeat=0)


def test_adapter_serves_sb3s_wrappers(box: Case) -> None:
    env = VecMonitor(VecNormalize(VecFrameStack(DreamVecEnv(box.make_vec(2, render_mode="rgb_array")), 4)))
    assert env.reset().shape == (2, 48, 48, 12)
    env.step(np.zeros((2, 2)))
    assert env.render().shape == (96, 48, 3)
    assert env.get_attr("num_envs", [0]) == [2] and env.has_attr("dream") and not env.has_attr("nothing")
    env.close()


def test_ppo_learns_from_latents(tiny: Case) -> None:
    env = DreamVecEnv(tiny.make_vec(16, observation="latents", horizon=6, start_mix=0.5), repeat=2)
    agent = PPO("MlpPolicy", env, n_steps=8, batch_size=64, n_epochs=1, seed=0).learn(256)
    assert agent.num_timesteps == 256 and len(agent.ep_info_buffer) > 10


def test_ppo_sees_frames(box: Case) -> None:
    agent = PPO("CnnPolicy", box.make(horizon=6), n_steps=8, batch_size=8, n_epochs=1, seed=0).learn(16)
    many = PPO("CnnPolicy", DreamVecEnv(box.make_vec(4, horizon=6)), n_steps=4, batch_size=8, n_epochs=1).learn(16)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(evaluate_policy(many, agent.get_env(), 1, return_episode_rewards=True)[0]) == 1


# ---------------------------------------------------------------------- others


def test_cleanrl(box: Case) -> None:
    """The environment part of CleanRL's ppo_continuous_action.py."""

    def make_env() -> gym.Env:
        env = box.make(horizon=5)
        env = gym.wrappers.FlattenObservation(env)
        env = gym.wrappers.RecordEpisodeStatistics(env)
        env = gym.wrappers.ClipAction(env)
        env = gym.wrappers.NormalizeObservation(env)
        env = gym.wrappers.TransformObservation(env, lambda obs: np.clip(obs, -10, 10), env.observation_space)
        env = gym.wrappers.NormalizeReward(env, gamma=0.99)
        return gym.wrappers.TransformReward(env, lambda reward: np.clip(reward, -10, 10))

    envs = gym.vector.SyncVectorEnv([make_env for _ in range(2)])
    assert isinstance(envs.single_action_space, gym.spaces.Box)
    envs.reset(seed=1)
    episodes, rng = 0, np.random.default_rng(0)
    for _ in range(12):
        *_, infos = envs.step(rng.normal(0, 2, (2, 2)).astype(np.float32))
        episodes += int(infos.get("_episode", np.zeros(2)).sum())
    assert episodes >= 2


def test_rllib(box: Case) -> None:
    class EnvContext(dict):
        """RLlib's config: a dict with the worker's index."""

        worker_index = 1

    env = creator(EnvContext(id=box.id, observation="latents", **box.kwargs))
    assert isinstance(env, gym.Env) and env.reset(seed=0)[0] in env.observation_space
    pytest.importorskip("ray").tune.register_env("dream", creator)


def test_torchrl(box: Case) -> None:
    libs = pytest.importorskip("torchrl.envs")
    assert libs.GymWrapper(box.make()).rollout(3).shape[0] <= 3


def test_minari(tiny: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images come back as they were; without jpeg_encoding=False they would not."""
    minari = pytest.importorskip("minari")
    pytest.importorskip("h5py")
    stand_ins.jax(monkeypatch)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    seen: list[Any] = []
    collector = minari.DataCollector(tiny.make(horizon=5), record_infos=True, jpeg_encoding=False)
    for seed in range(2):
        obs, _ = collector.reset(seed=seed, options={"start": "mid", "minari_autoseed": True})
        frames, done = [obs], False
        while not done:
            obs, _, term, trunc, _ = collector.step(collector.action_space.sample())
            frames.append(obs)
            done = term or trunc
        seen.append(np.stack(frames))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of missing authors
        data = collector.create_dataset("gensim/tiny-v0")
    assert [same(episode.observations, frames) for episode, frames in zip(data, seen)] == [True, True]
    episode = data[0]
    assert set(episode.infos) == set(tiny.make().reset()[1])
    assert all(len(values) == len(episode.observations) for values in episode.infos.values())
    assert data.recover_environment().reset(seed=0)[0].shape == seen[0].shape[1:]
