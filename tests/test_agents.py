"""Agents: what they see and hold, how they are kept, how they learn and what they are worth."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from simulators import COUNTING
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecFrameStack, VecTransposeImage
from torch import nn

from gensim.agents import Agent, AgentConfig, Driver, Filter, Pilot, PPOConfig, driver, learn, load, score
from gensim.agents import score as score_module
from gensim.agents.agent import weights_of
from gensim.agents.lessons import Lessons, make_rows
from gensim.agents.ppo import CHECKPOINT, Run
from gensim.agents.ppo_config import WILD
from gensim.agents.reference import refer
from gensim.agents.score import play
from gensim.core.files import read_json, save_tensors, sha256, write_json
from gensim.core.intervals import student_t95
from gensim.envs.engine import Reason
from gensim.envs.real import make_real
from gensim.envs.vector import DreamVectorEnv
from gensim.episodes.actions import ActionSpec
from gensim.world import World

QUICK = PPOConfig(
    repeat=2,
    steps=3 * 8 * 8 * 2,
    rows=8,
    n_steps=8,
    batch=32,
    net=(16, 16),
    horizon=20,
    trust_floor=0.1,
    temperature=1.0,
    save_every=0.0,
    threads=1,
)
Worlds = Callable[..., Path]


def config_of(world: Path, folder: Path, **changes: Any) -> AgentConfig:
    """An agent on the latents of a world, deciding at every step."""
    loaded = World.load(world)
    config = AgentConfig(
        observation="latents",
        shape=(loaded.latent_dim,),
        action=ActionSpec.from_dict(loaded.spec["action"]),
        skip=2,
        net=(16, 16),
        world=refer(loaded, folder),
    )
    return replace(config, **changes)


def make_agent(world: Path, folder: Path, **changes: Any) -> Agent:
    """A saved agent that has learned nothing."""
    torch.manual_seed(1)
    agent = Agent.new(config_of(world, folder, **changes))
    agent.save(folder)
    return agent


def on_frames(world: Path, folder: Path, **changes: Any) -> Agent:
    """A saved agent that sees two frames."""
    size = World.load(world).spec["size"]
    return make_agent(world, folder, observation="frames", shape=(size, size, 6), stack=2, **changes)


def sights(agent: Agent, rows: int, steps: int, seed: int = 0) -> list[np.ndarray]:
    """Random observations of an agent."""
    rng = np.random.default_rng(seed)
    if agent.config.observation == "latents":
        return [rng.normal(size=(rows, *agent.config.shape)).astype(np.float32) for _ in range(steps)]
    shape = (rows, *agent.config.shape[:2], 3)
    return [rng.integers(0, 256, shape, np.uint8) for _ in range(steps)]


def acts(agent: Agent, seen: list[np.ndarray], seeds: Any, deterministic: bool = False) -> np.ndarray:
    """The actions (steps, rows, k) of an agent over some observations."""
    agent.reset(len(seen[0]), np.asarray(seeds))
    return np.stack([agent.act(obs, deterministic) for obs in seen])


# ---------------------------------------------------------------------- acting


@pytest.mark.parametrize("kind", ["box", "discrete"])
@pytest.mark.parametrize("make", [make_agent, on_frames])
def test_saved_and_loaded_agents_act_alike(
    tiny_world: Worlds, tmp_path: Path, kind: str, make: Callable[..., Agent]
) -> None:
    agent = make(tiny_world(kind), tmp_path / "agent", repeat=2)
    again = load(tmp_path / "agent")
    assert again.config == agent.config and (again.world is not None) == (make is make_agent)
    seen = sights(agent, 3, 5)
    for deterministic in (False, True):
        first, second = (acts(one, seen, [5, 6, 7], deterministic) for one in (agent, again))
        assert first.tobytes() == second.tobytes()
        assert all(agent.config.action.space.contains(act) for act in first.reshape(-1, *first.shape[2:]))


@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_a_row_acts_as_it_would_alone(tiny_world: Worlds, tmp_path: Path, kind: str) -> None:
    agent = make_agent(tiny_world(kind), tmp_path, repeat=2)
    seen = sights(agent, 20, 4)
    together = acts(agent, seen, range(20))
    alone = acts(agent, [obs[17:18] for obs in seen], [17])
    assert together[:, 17:18].tobytes() == alone.tobytes()
    assert len(np.unique(together[0], axis=0)) > 1


def test_an_agent_s_own_chances_follow_its_law(tiny_world: Worlds, tmp_path: Path) -> None:
    agent = make_agent(tiny_world("box"), tmp_path, log_std=-2.0)
    obs = np.repeat(sights(agent, 1, 1)[0], 2000, 0)
    drawn = acts(agent, [obs], range(2000))[0]
    calm = acts(agent, [obs], range(2000), deterministic=True)[0]
    assert (calm == calm[0]).all()
    assert drawn.mean(0) == pytest.approx(calm[0], abs=4 * np.exp(-2.0) / 2000**0.5)
    assert drawn.std(0) == pytest.approx(np.exp(-2.0), rel=0.1)
    choosing = make_agent(tiny_world("discrete"), tmp_path / "discrete")
    obs = np.repeat(sights(choosing, 1, 1)[0], 2000, 0)
    drawn = acts(choosing, [obs], range(2000))[0]
    with torch.no_grad():
        law: Any = choosing.policy.get_distribution(torch.from_numpy(obs[:1])).distribution
    assert np.bincount(drawn, minlength=5) / 2000 == pytest.approx(law.probs[0].numpy(), abs=0.05)


def test_a_decision_is_held(tiny_world: Worlds, tmp_path: Path) -> None:
    agent = make_agent(tiny_world("box"), tmp_path, repeat=3)
    held = acts(agent, sights(agent, 2, 9), [0, 1])
    for i in range(0, 9, 3):
        assert (held[i : i + 3] == held[i]).all()
    assert (held[0] != held[3]).any() and (held[3] != held[6]).any()


def test_repeat_is_equal_in_learning_and_acting(tiny_world: Worlds, tmp_path: Path) -> None:
    """The rows that PPO learns on and an agent that is asked at every step meet the same world."""
    world = tiny_world("box")
    agent = make_agent(world, tmp_path, repeat=3)
    settings = replace(QUICK, rows=4, repeat=3, start_mix=0.0, dropout=False, trust_floor=0.0, horizon=30)
    learning = make_rows(world, settings)
    learning.seed(7)
    stepped = DreamVectorEnv(num_envs=4, world=str(world), observation="latents", horizon=30, trust_floor=0.0)
    held_obs, (obs, _) = learning.reset(), stepped.reset(seed=7)
    agent.reset(4, np.arange(4))
    going = np.ones(4, bool)
    for _ in range(5):
        assert held_obs[going].tobytes() == obs[going].tobytes()
        act, total = agent.act(obs), np.zeros(4)
        decision = act
        for i in range(3):
            obs, rew, term, trunc, _ = stepped.step(act)
            total, going = total + rew * going, going & ~(term | trunc)
            act = agent.act(obs) if i < 2 else act
            assert (act[going] == decision[going]).all()
        was_going = going.copy()
        held_obs, rew, done, _ = learning.step(decision)
        assert rew[was_going] == pytest.approx(total[was_going])
        assert not done[going].any()
    assert going.any()


def test_frames_are_stacked_as_stable_baselines_does(tiny_world: Worlds, tmp_path: Path) -> None:
    world = tiny_world("box")
    agent = on_frames(world, tmp_path, repeat=2)
    rows = make_rows(world, replace(QUICK, rows=3, batch=8, observation="frames", start_mix=0.0, trust_floor=0.0))
    stacked = VecTransposeImage(VecFrameStack(rows, 2, "last"))
    stacked.seed(3)
    expected, model = stacked.reset(), PPO("CnnPolicy", stacked, n_steps=2, batch_size=6, device="cpu")
    assert model.observation_space == agent.config.sight
    agent.reset(3)
    for _ in range(4):
        sight = agent._look(rows.dream.observe(), np.arange(3))
        assert sight.tobytes() == np.ascontiguousarray(expected).tobytes()
        expected, _, done, _ = stacked.step(np.zeros((3, 2), np.float32))
        if done.any():
            break


def test_wrong_sights_are_refused(tiny_world: Worlds, tmp_path: Path) -> None:
    agent = make_agent(tiny_world("box"), tmp_path)
    agent.reset(2)
    with pytest.raises(ValueError, match=r"sees latents \(2, 96\), not \(3, 96\)"):
        agent.act(np.zeros((3, 96), np.float32))


# ---------------------------------------------------------------------- real frames


def test_a_filter_is_aligned_with_the_world(tiny_world: Worlds) -> None:
    world = World.load(tiny_world("box"))
    env = make_real(COUNTING, size=world.spec["size"], skip=2)
    frames, done = [env.reset(seed=3)[0]], []
    for i in range(4):
        done.append(np.float32([0.2 * i, -0.5]))
        frames.append(env.step(done[-1])[0])
    keys = np.uint64([11])
    state = world.first(frames[0][None], keys)
    follower = Filter(world)
    follower.reset(keys)
    assert follower.observe(frames[0][None], None).tobytes() == world.latent(state).tobytes()
    for act, frame in zip(done, frames[1:]):
        state, _ = world.observe(state, act[None], frame[None])
        assert follower.observe(frame[None], act[None]).tobytes() == world.latent(state).tobytes()
    follower.reset(keys)
    follower.observe(frames[0][None], None)
    with pytest.raises(ValueError, match="give the actions that led to them"):
        follower.observe(frames[1][None], None)


def test_a_pilot_filters_what_was_really_executed(tiny_world: Worlds, tmp_path: Path) -> None:
    world = tiny_world("box")
    make_agent(world, tmp_path)
    pilot, other = Pilot(load(tmp_path)), driver(tmp_path)
    assert isinstance(other, Driver)
    frames = np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)
    pilot.reset(np.uint64([4]))
    other.reset(4)
    first = pilot.act(frames[:1])
    assert (other.act(frames[0], None) == first[0]).all()
    pilot.act(frames[1:2])  # its own action was executed
    other.act(frames[1], np.float32([0.9, -0.9]))  # another one was
    same, changed = (one.filter.world.latent(one.filter.state) for one in (pilot, other.pilot))
    check = Filter(pilot.agent.world)
    check.reset(np.uint64([4]))
    check.observe(frames[:1], None)
    assert check.observe(frames[1:2], first).tobytes() == same.tobytes() != changed.tobytes()


def test_choices_reach_the_filter_one_hot(tiny_world: Worlds, tmp_path: Path) -> None:
    make_agent(tiny_world("discrete"), tmp_path)
    pilot = Pilot(load(tmp_path))
    pilot.reset(np.uint64([1, 2]))
    frames = np.random.default_rng(0).integers(0, 256, (2, 2, 48, 48, 3), np.uint8)
    for frame in frames:
        act = pilot.act(frame)
    assert act.shape == (2,) and act.dtype == np.int64


# ---------------------------------------------------------------------- folders


def spoil(folder: Path, **changes: Any) -> Path:
    card = read_json(folder / "agent.json")
    write_json(folder / "agent.json", {**card, **changes})
    return folder


def test_folders_that_are_not_as_they_were_are_refused(tiny_world: Worlds, tmp_path: Path) -> None:
    make_agent(tiny_world("box"), tmp_path / "agent")

    def copy(name: str) -> Path:
        return Path(shutil.copytree(tmp_path / "agent", tmp_path / name))

    with pytest.raises(FileNotFoundError, match=r"agent\.json is not there"):
        load(tmp_path)
    folder = copy("changed")
    data = bytearray((folder / "policy.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "policy.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=r"policy\.safetensors is not the file that agent\.json was written for"):
        load(folder)
    with pytest.raises(ValueError, match="unknown settings colour"):
        load(spoil(copy("unknown"), colour="red"))
    with pytest.raises(ValueError, match="no agent of format 1"):
        load(spoil(copy("format"), format=9))
    with pytest.raises(ValueError, match="settings are missing or of the wrong kind"):
        load(spoil(copy("kind"), world={"name": "x"}))
    with pytest.raises(ValueError, match=r"does not fit: .* is float32 \(16, 96\), not float32 \(16, 95\)"):
        load(spoil(copy("shape"), shape=[95]))
    folder = copy("foreign")
    save_tensors(folder / "policy.safetensors", {"x": torch.zeros(2)})
    with pytest.raises(ValueError, match="is absent, not float32"):
        load(spoil(folder, weights=sha256(folder / "policy.safetensors")))
    with pytest.raises(ValueError, match="names no world"):
        load(spoil(copy("homeless"), world=None))


def test_an_agent_finds_its_own_world_and_no_other(tiny_world: Worlds, tmp_path: Path) -> None:
    shutil.copytree(tiny_world("box"), tmp_path / "world")
    make_agent(tmp_path / "world", tmp_path / "agent")
    found = load(tmp_path / "agent")
    assert found.config.world.folder == "../world" and found.world.hash == found.config.world.hash
    shutil.move(tmp_path / "world", tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match="name its folder"):
        load(tmp_path / "agent")
    assert load(tmp_path / "agent", tmp_path / "moved").world.hash == found.world.hash
    with pytest.raises(ValueError, match="give that world, or learn in this one"):
        load(tmp_path / "agent", tiny_world("box", seed=1))


@pytest.mark.parametrize("kind", ["box", "discrete"])
@pytest.mark.parametrize("make", [make_agent, on_frames])
def test_stable_baselines_zips(tiny_world: Worlds, tmp_path: Path, kind: str, make: Callable[..., Agent]) -> None:
    agent = make(tiny_world(kind), tmp_path / "agent", repeat=2)
    agent.to_sb3(tmp_path / "agent.zip")
    again = Agent.from_sb3(tmp_path / "agent.zip", repeat=2, world=agent.config.world)
    seen = sights(agent, 3, 4)
    assert acts(again, seen, [1, 2, 3]).tobytes() == acts(agent, seen, [1, 2, 3]).tobytes()
    model = PPO.load(tmp_path / "agent.zip")
    agent.reset(3)
    mine = agent.act(seen[0], deterministic=True)
    agent.reset(3)
    theirs, _ = model.predict(agent._look(seen[0], np.arange(3)), deterministic=True)
    assert mine == pytest.approx(theirs, abs=1e-6)


def test_zips_of_other_policies_are_refused(tiny_world: Worlds, tmp_path: Path) -> None:
    rows = make_rows(tiny_world("box"), replace(QUICK, rows=2, batch=8))
    model = PPO("MlpPolicy", rows, n_steps=2, batch_size=4, policy_kwargs={"activation_fn": nn.ReLU})
    model.save(tmp_path / "relu.zip")
    with pytest.raises(ValueError, match="only policies with tanh layers"):
        Agent.from_sb3(tmp_path / "relu.zip")


# ---------------------------------------------------------------------- learning


def test_learning_leaves_generators_and_threads_alone(tiny_world: Worlds, tmp_path: Path) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), torch.get_num_threads()
    agent = learn(tiny_world("box"), tmp_path, QUICK)
    assert torch.equal(torch.get_rng_state(), before[0]) and torch.get_num_threads() == before[2]
    assert (np.random.get_state()[1] == before[1]).all()
    assert agent.config.learning["steps"] == QUICK.steps and agent.config.skip == 2
    assert agent.world is not None and agent.config.repeat == 2
    assert list((tmp_path / "learn/log").glob("events*"))


def test_a_killed_run_ends_as_one_that_was_not(tiny_world: Worlds, tmp_path: Path) -> None:
    world, settings = tiny_world("box"), replace(QUICK, steps=25 * 8 * 8 * 2)
    whole = learn(world, tmp_path / "whole", settings)
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import PosixPath, WindowsPath
from gensim.agents import PPOConfig, learn
learn({str(world)!r}, {str(tmp_path / "killed")!r}, {settings!r})"""
    child = subprocess.Popen([sys.executable, "-c", code])
    checkpoint = tmp_path / "killed" / CHECKPOINT
    while not checkpoint.exists() and child.poll() is None:
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (tmp_path / "killed/agent.json").exists()
    killed = learn(world, tmp_path / "killed", settings)
    one, two = (sha256(tmp_path / name / "policy.safetensors") for name in ("whole", "killed"))
    assert one == two
    assert killed.config.learning["dreamed_return"] == whole.config.learning["dreamed_return"]


@pytest.mark.parametrize("observation", ["latents", "frames"])
@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_checkpoints_hold_everything(tiny_world: Worlds, tmp_path: Path, kind: str, observation: Any) -> None:
    """Two runs, one of them fresh from the other's checkpoint, dream and learn the same from there on."""
    settings = replace(QUICK, observation=observation, stack=2)
    one = Run(tiny_world(kind), tmp_path, settings)
    one.iterate()
    one.save()
    two = Run(tiny_world(kind), tmp_path, settings)
    assert two.load()
    for run in (one, two):
        run.iterate()
    first, second = (weights_of(run.model.policy) for run in (one, two))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert one.model._last_obs.tobytes() == two.model._last_obs.tobytes()
    assert one.lessons.spread.var == two.lessons.spread.var
    assert one.model.num_timesteps == two.model.num_timesteps and one.iteration == two.iteration == 2


def test_a_run_can_be_given_a_larger_budget(tiny_world: Worlds, tmp_path: Path) -> None:
    for n in (1, 2):
        agent = learn(tiny_world("box"), tmp_path, replace(QUICK, steps=n * 8 * 8 * 2))
        assert agent.config.learning["steps"] == n * 8 * 8 * 2


def test_a_run_with_other_settings_is_not_gone_on_with(tiny_world: Worlds, tmp_path: Path) -> None:
    learn(tiny_world("box"), tmp_path, QUICK)
    assert learn(tiny_world("box"), tmp_path, QUICK).config.learning["steps"] == QUICK.steps
    with pytest.raises(ValueError, match=r"a run with lr=0\.0003 \(now 0\.1\)"):
        learn(tiny_world("box"), tmp_path, replace(QUICK, lr=0.1))
    with pytest.raises(ValueError, match="a run with world="):
        learn(tiny_world("box", seed=1), tmp_path, QUICK)
    (tmp_path / CHECKPOINT).unlink()
    with pytest.raises(ValueError, match="holds an agent, and no run to go on with"):
        learn(tiny_world("box"), tmp_path, QUICK)


def test_warm_starts(tiny_world: Worlds, tmp_path: Path) -> None:
    world = tiny_world("box")
    old = make_agent(world, tmp_path / "old", log_std=-2.0)
    run = Run(world, tmp_path / "new", replace(QUICK, init=tmp_path / "old", log_std=-1.0))
    for name, tensor in weights_of(run.model.policy).items():
        assert torch.equal(tensor, weights_of(old.policy)[name])
    with pytest.raises(ValueError, match="does not fit"):
        Run(world, tmp_path / "wide", replace(QUICK, init=tmp_path / "old", net=(8, 8)))


def test_lessons_are_wilder_than_a_world_that_nobody_tempered(tiny_world: Worlds, tmp_path: Path) -> None:
    plain, tempered = tiny_world("box"), World.load(tiny_world("box"))
    tempered.spec = tempered.spec | {"calibrated": {"prior_temperature": 1.6}}
    tempered.save(tmp_path / "tempered")
    unset = replace(QUICK, temperature=None)
    assert unset.settled(plain).temperature == WILD and unset.settled(tmp_path / "tempered").temperature == 1
    assert replace(QUICK, temperature=1.1).settled(plain).temperature == 1.1
    agent = learn(plain, tmp_path / "agent", unset)
    assert agent.config.learning["temperature"] == WILD
    assert make_rows(plain, unset).dream.config.temperature == WILD


def test_rewards_are_scaled_for_learning_only(tiny_world: Worlds) -> None:
    settings = replace(QUICK, rows=16, trust_floor=0.0)
    scales = [replace(settings, reward_scale=scale) for scale in (0.5, None)]
    halved, running = (Lessons(make_rows(tiny_world("box"), config), config) for config in scales)
    halved.reset()
    running.reset()
    act, total = np.zeros((16, 2), np.float32), np.zeros(16)
    for _ in range(15):
        (_, half, done, infos), (_, scaled, _, _) = halved.step(act), running.step(act)
        raw = half / 0.5
        assert scaled == pytest.approx(np.clip(raw / running.spread.var**0.5, -10, 10), rel=1e-4)
        total += raw
        for i in np.flatnonzero(done):
            assert infos[i]["episode"]["r"] == pytest.approx(total[i], rel=1e-4)
            total[i] = 0


def test_after_a_cut_the_value_of_what_was_to_come_counts(tiny_world: Worlds) -> None:
    settings = replace(QUICK, rows=32, trust_floor=0.6, horizon=12)
    lessons = Lessons(make_rows(tiny_world("box"), settings), settings)
    lessons.reset()
    cuts: dict[int, set[bool]] = {}
    for _ in range(20):
        _, _, done, infos = lessons.step(np.ones((32, 2), np.float32))
        for i in np.flatnonzero(done):
            cuts.setdefault(infos[i]["truncation_reason"], set()).add(bool(infos[i]["TimeLimit.truncated"]))
    assert cuts[Reason.TRUST] == {True} and cuts.get(Reason.HORIZON, {True}) == {True}


def rewarding(world: Path, folder: Path) -> Path:
    """A copy of a tiny world in which rewards depend on what is done."""
    old = World.load(world)
    weights = {name: tensor.clone() for name, tensor in old.weights().items()}
    shape = weights["reward.out.weight"].shape
    weights["reward.out.weight"] = 0.5 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
    weights["dynamics.act.weight"] *= 4
    new = World.from_weights(old.config, weights, old.spec)
    new.starts = old.starts
    new.save(folder)
    return folder


def test_learning_raises_the_dreamed_return(tiny_world: Worlds, tmp_path: Path) -> None:
    world = rewarding(tiny_world("box", seed=3), tmp_path / "world")
    dream = {"horizon": 20, "trust_floor": 0.0}
    settings = replace(QUICK, steps=15 * 16 * 16, rows=16, n_steps=16, batch=64, repeat=1, lr=3e-3, dropout=False)
    make_agent(world, tmp_path / "before")
    learn(world, tmp_path / "after", replace(settings, trust_floor=0.0, save_every=60.0))
    before, after = (score(tmp_path / name, world, episodes=64, env_kwargs=dream) for name in ("before", "after"))
    gain = np.subtract(after.returns, before.returns)  # of the same dreams
    assert gain.mean() > student_t95(64) * gain.std(ddof=1) / 8


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of"):
        PPOConfig(rows=3, n_steps=5, batch=4)
    with pytest.raises(ValueError, match="give positive numbers"):
        PPOConfig(minutes=-1.0)
    half = PPOConfig(minutes=2.0, steps=100)
    assert half.share(10, 60.0) == 0.5 and half.share(80, 60.0) == 0.8
    assert PPOConfig().share(750_000, 1e9) == 0.5 and PPOConfig(minutes=1.0).share(10**9, 30.0) == 0.5


# ---------------------------------------------------------------------- scores


def test_student_t() -> None:
    known = {2: 12.7062, 3: 4.3027, 10: 2.2622, 50: 2.0096, 1000: 1.9623}
    for n, value in known.items():
        assert student_t95(n) == pytest.approx(value, abs=2e-4)


@pytest.mark.parametrize("make", [make_agent, on_frames])
def test_scores_in_a_simulator(tiny_world: Worlds, tmp_path: Path, make: Callable[..., Agent]) -> None:
    make(tiny_world("box"), tmp_path, repeat=2)
    result = score(tmp_path, COUNTING, episodes=4, seed=11, processes=1)
    frames = [9 + seed % 5 for seed in range(11, 15)]
    assert result.seeds == [11, 12, 13, 14] and result.real_frames == sum(frames)
    assert result.lengths == [-(-n // 2) for n in frames]  # two simulator frames a step
    for reward, n in zip(result.returns, frames):
        assert abs(reward - 1000 * n * (n + 1) / 2) <= 2 * n  # the stock rewards, all of them
    assert result.mean == pytest.approx(np.mean(result.returns))
    assert result.std == pytest.approx(np.std(result.returns, ddof=1))
    half = student_t95(4) * result.std / 2
    assert result.ci95 == pytest.approx((result.mean - half, result.mean + half))
    again = score(load(tmp_path), COUNTING, episodes=2, seed=12, processes=1)
    assert again.returns == result.returns[1:3]
    calm = score(tmp_path, COUNTING, episodes=2, seed=12, processes=1, deterministic=True)
    assert calm.deterministic and calm.returns != again.returns


def test_processes_score_alike(tiny_world: Worlds, tmp_path: Path) -> None:
    make_agent(tiny_world("box"), tmp_path)
    two, one = (score(tmp_path, COUNTING, episodes=19, seed=3, processes=n) for n in (2, 1))  # blocks of 5 and 7
    assert two.returns == one.returns and two.seeds == one.seeds and two.real_frames == one.real_frames
    fields = {"env", "agent", "weights", "deterministic", "mean", "std", "ci95", "returns", "seeds"}
    assert set(json.loads(json.dumps(two.to_dict()))) == fields | {
        "lengths",
        "real_frames",
        "seconds",
        "env_kwargs",
        "world_hash",
    }
    single = score(tmp_path, COUNTING, episodes=1, processes=1)
    assert single.std is None and single.ci95 is None


def test_actions_are_held_in_a_simulator(tiny_world: Worlds, tmp_path: Path) -> None:
    make_agent(tiny_world("box"), tmp_path, repeat=3)
    env = make_real(COUNTING, size=48, skip=1)
    executed, step = [], env.step
    env.step = lambda act: (executed.append(np.array(act)), step(act))[1]
    (played,) = play([env], Pilot(load(tmp_path)), [4])
    assert played.length == len(executed) == 13
    for i in range(0, 13, 3):
        assert all((act == executed[i]).all() for act in executed[i : i + 3])
    assert (executed[0] != executed[3]).any()


def test_scores_in_a_dream(tiny_world: Worlds, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = tiny_world("box")
    make_agent(world, tmp_path, repeat=2)
    dream = {"horizon": 15, "trust_floor": 0.0}
    result = score(tmp_path, world, episodes=5, seed=2, env_kwargs=dream)
    assert result.real_frames == 0 and max(result.lengths) <= 15 and result.seeds == [2, 3, 4, 5, 6]
    monkeypatch.setattr(sys.modules[score_module.__module__], "ROWS", 2)
    assert score(tmp_path, world, episodes=5, seed=2, env_kwargs=dream).returns == result.returns
    other = score(tmp_path, tiny_world("box", seed=1), episodes=2, env_kwargs=dream)  # through its own world
    assert len(other.returns) == 2


def test_scores_that_cannot_be_are_refused(tiny_world: Worlds, tmp_path: Path) -> None:
    make_agent(tiny_world("discrete"), tmp_path / "agent")
    with pytest.raises(ValueError, match=r"takes actions .*box.* the agent gives .*discrete"):
        score(tmp_path / "agent", COUNTING, episodes=1, processes=1)
    with pytest.raises(ValueError, match="give at least 1, 1 and 0"):
        score(tmp_path / "agent", COUNTING, episodes=0)
    with pytest.raises(FileNotFoundError, match=r"agent\.json is not there"):
        score(tmp_path, COUNTING)
