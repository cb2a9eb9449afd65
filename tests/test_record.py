"""Recording: what arrives with what, every frame counted, nothing lost, any simulator."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from simulators import CHOOSING, COUNTING, Counting

from gensim.commands.record import Record, run
from gensim.core.files import sha256
from gensim.envs.carracing import SPEC, to_real
from gensim.envs.real import make_real
from gensim.envs.spec import spec_of
from gensim.episodes.actions import ActionSpec, from_simulator, to_simulator
from gensim.episodes.policies import make_policy
from gensim.episodes.record import Maker, RecordConfig, _serve, record
from gensim.episodes.store import Dataset, Episode, read_episode


def made(env_id: str = COUNTING, size: int = 16, skip: int = 1, **kwargs: Any) -> Maker:
    return Maker(functools.partial(make_real, env_id, size, skip, kwargs))


def recorded(folder: Path) -> list[Episode]:
    return [read_episode(path) for path in Dataset(folder).paths()]


@settings(deadline=None, max_examples=12)
@given(
    skip=st.integers(1, 4),
    length=st.integers(1, 12),
    clock=st.integers(1, 14),
    cut=st.none() | st.integers(1, 8),
    frames=st.integers(1, 60),
    env_id=st.sampled_from([COUNTING, CHOOSING, "simulators:test/Grey-v0"]),
)
def test_every_step_is_stored_with_what_came_of_it(
    tmp_path_factory: pytest.TempPathFactory,
    skip: int,
    length: int,
    clock: int,
    cut: int | None,
    frames: int,
    env_id: str,
) -> None:
    folder, before = tmp_path_factory.mktemp("data"), Counting.total
    maker = made(env_id, skip=skip, length=length, clock=clock)
    meter = record(RecordConfig(folder, frames, max_episode_steps=cut), maker, json=True)
    episodes = recorded(folder)
    assert meter["real_frames"] == Counting.total - before >= frames
    assert meter["real_frames"] == sum(episode.meta["real_frames"] for episode in episodes)
    for episode in episodes:
        laws_of(episode, skip, length, clock, cut)


def laws_of(episode: Episode, skip: int, length: int, clock: int, cut: int | None) -> None:
    """Frame t shows t * skip steps, the reward is of the action before it, and the last step is there."""
    seed, total = episode.meta["seed"], min(length + episode.meta["seed"] % 5, clock)
    end = min(total, (cut or total) * skip)
    shown = np.minimum(np.arange(len(episode) + 1) * skip, end)
    frames = episode.frames()
    assert (frames[..., 0] == shown[:, None, None]).all(), "no step twice, none left out, no reset in between"
    assert shown[-1] == end == episode.meta["real_frames"] and len(np.unique(shown)) == len(shown)
    if episode.meta["env_id"] != "simulators:test/Grey-v0":
        assert (frames[..., 1:] == [seed % 256, 7]).all()
    said = episode.act + 3.0 if episode.act.ndim == 1 else 2.0 * episode.act[:, 0].astype(np.float64)
    steps = np.diff(shown)
    sums = 1000.0 * steps * (shown[:-1] + shown[1:] + 1) / 2 + steps * said
    assert np.allclose(episode.rew, sums, atol=1e-2)
    over, died = np.arange(1, len(episode) + 1) == len(episode), end == length + seed % 5
    assert episode.term.tolist() == (over & died).tolist()
    assert episode.trunc.tolist() == (over & (not died)).tolist()


@pytest.mark.parametrize("processes", [1, 2])
def test_processes_record_what_one_records(tmp_path: Path, processes: int) -> None:
    config = RecordConfig(tmp_path / "a", 40, processes=processes, seed=7)
    meter = record(config, made(skip=2), json=True)
    record(RecordConfig(tmp_path / "b", meter["real_frames"], seed=7), made(skip=2), json=True)
    first, second = ({p.name: p.read_bytes() for p in Dataset(tmp_path / name).paths()} for name in ("a", "b"))
    assert first == second and min(first) == "ep-00-000007.npz"


def test_recording_goes_on_where_it_was_and_never_twice(tmp_path: Path) -> None:
    record(RecordConfig(tmp_path, 30), made(), json=True)
    before = {path: path.stat().st_mtime_ns for path in Dataset(tmp_path).paths()}
    assert record(RecordConfig(tmp_path, 30), made(), json=True)["real_frames"] >= 30
    assert before == {path: path.stat().st_mtime_ns for path in Dataset(tmp_path).paths()}
    meter = record(RecordConfig(tmp_path, 60, round=1, seed=100), made(), json=True)
    rounds = [header.meta["round"] for header in Dataset(tmp_path).episodes]
    assert meter["real_frames"] >= 60 and rounds[: len(before)] == [0] * len(before) and rounds[-1] == 1
    with pytest.raises(ValueError, match="another folder"):
        record(RecordConfig(tmp_path, 90), made(skip=3), json=True)


SLOW = """
import functools, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from gensim.envs.real import make_real
from gensim.episodes.record import Maker, RecordConfig, record
if __name__ == "__main__":
    env = functools.partial(make_real, "simulators:test/Counting-v0", 16, 1, dict(pause=0.002))
    record(RecordConfig(Path({folder!r}), 100_000, processes={processes}), Maker(env), json=True)
"""


@pytest.mark.parametrize("processes", [1, 2])
def test_a_killed_recording_loses_nothing_that_was_recorded(tmp_path: Path, processes: int) -> None:
    script, folder = tmp_path / "slow.py", tmp_path / "data"
    script.write_text(SLOW.format(tests=str(Path(__file__).parent), folder=str(folder), processes=processes))
    child = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 60
    while len(list(folder.glob("ep-*.npz"))) < 8 and time.monotonic() < deadline:
        time.sleep(0.003)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = {path.name: path.read_bytes() for path in folder.glob("ep-*.npz")}
    assert len(kept) >= 8
    config = RecordConfig(folder, 300, processes=1)
    meter = record(config, made(pause=0.002), json=True)
    assert all((folder / name).read_bytes() == blob for name, blob in kept.items())
    episodes = recorded(folder)
    assert meter["real_frames"] == sum(episode.meta["real_frames"] for episode in episodes) >= 300
    for episode in episodes:
        laws_of(episode, 1, 9, 10_000, None)


def test_a_recording_process_ends_with_its_link(tmp_path: Path) -> None:
    here, there = multiprocessing.Pipe()
    here.close()
    record(RecordConfig(tmp_path, 1), made(), json=True)
    _serve(there, RecordConfig(tmp_path, 1), made())


def broken() -> Any:
    if multiprocessing.parent_process() is not None:
        raise OSError("no screen")
    return make_real(COUNTING, 16)


def died() -> Any:
    if multiprocessing.parent_process() is not None:
        os._exit(3)
    return make_real(COUNTING, 16)


@pytest.mark.parametrize(("env", "fault"), [(broken, "no screen"), (died, "died")])
def test_a_failing_process_is_reported(tmp_path: Path, env: Any, fault: str) -> None:
    with pytest.raises(RuntimeError, match=fault):
        record(RecordConfig(tmp_path, 100, processes=2), Maker(env), json=True)


@pytest.mark.parametrize(
    "bad",
    [
        {"frames": 0},
        {"processes": 0},
        {"seed": 1_000_000},
        {"seed": -1},
        {"policy": "expert"},
        {"policy": "agent"},
    ],
)
def test_a_recording_that_cannot_be_is_refused(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        RecordConfig(tmp_path, **bad)


@pytest.mark.parametrize("env_id", [COUNTING, CHOOSING])
def test_the_verb_records_any_simulator(tmp_path: Path, env_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = Record(env_id, frames=20, out=tmp_path, size=48, processes=1, env_kwargs={"length": "6"}, json=True)
    result = run(options)
    assert json.loads(capsys.readouterr().out) == result and result["real_frames"] >= 20
    data = Dataset(tmp_path)
    assert data.spec["env_kwargs"] == {"length": 6} and data.spec["fps"] == 20
    assert read_episode(data.paths()[0]).frame(0).shape == (48, 48, 3)
    assert data.action == (ActionSpec("discrete", 4) if env_id == CHOOSING else ActionSpec("box", 2))
    with pytest.raises(FileNotFoundError, match="no agent"):
        run(Record(env_id, out=tmp_path, policy="agent", agent=tmp_path))


@pytest.mark.parametrize("policy", ["agent", "mixed"])
def test_an_agent_in_a_folder_acts(tmp_path: Path, policy: Any) -> None:
    from gensim.agents import Agent, AgentConfig

    Agent.new(AgentConfig("frames", (48, 48, 3), ActionSpec("box", 2))).save(tmp_path / "agent")
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        options = Record(COUNTING, 20, folder, policy, tmp_path / "agent", 48, processes=1, json=True)
        run(options)
    first, second = (recorded(folder)[0] for folder in folders)
    assert np.array_equal(first.act, second.act) and first.meta["policy"] == policy
    assert first.meta["agent"] == sha256(tmp_path / "agent" / "policy.safetensors")
    laws_of(first, 1, 9, 10_000, None)


# policies


class Straight:
    """An agent that keeps (0.5, -0.5), or choice 1, remembers what it was told, and trusts what it sees or not."""

    def __init__(self, act: Any, trust: float = 1.0) -> None:
        self.own, self.told, self.trust = act, [], trust  # type: ignore[var-annotated]

    def reset(self, seed: int) -> None:
        self.told.clear()

    def act(self, frame: np.ndarray, last: np.ndarray | None) -> np.ndarray:
        self.told.append(last)
        return self.own


def play(policy: Any, key: int, steps: int = 400) -> np.ndarray:
    policy.reset(np.random.Generator(np.random.Philox(key=[key, 0])))
    acts: list[Any] = []
    for _ in range(steps):
        acts.append(policy.act(np.zeros((4, 4, 3), np.uint8), acts[-1] if acts else None))
    return np.array(acts)


@pytest.mark.parametrize("action", [ActionSpec("box", 3), ActionSpec("discrete", 5)])
@pytest.mark.parametrize("name", ["random", "agent", "mixed"])
def test_policies_follow_from_their_key_and_stay_in_their_space(name: str, action: ActionSpec) -> None:
    own = np.array([0.5, -0.5, 0.0], np.float32) if action.type == "box" else np.int64(1)
    driver = Straight(own)
    acts = play(make_policy(name, action, driver), 1)
    assert all(action.space.contains(act) for act in acts)
    assert np.array_equal(acts, play(make_policy(name, action, Straight(own)), 1))
    if name == "agent":
        assert (acts == own).all()
    else:
        assert not np.array_equal(acts, play(make_policy(name, action, Straight(own)), 2))
    if name != "random":
        assert driver.told[0] is None and np.array_equal(driver.told[1:], acts[:-1])


def test_random_actions_are_correlated_in_time_and_differ_by_episode() -> None:
    episodes = np.stack([play(make_policy("random", ActionSpec("box", 1)), key)[:, 0] for key in range(60)])
    centred = episodes - episodes.mean(1, keepdims=True)
    memory = (centred[:, 1:] * centred[:, :-1]).mean(1) / centred.var(1)
    assert 0.5 < np.median(memory) < 0.99 and memory.min() > 0.2
    assert 0.2 < episodes.mean(1).std() < 0.6 and abs(episodes.mean()) < 0.2
    assert (episodes == 1).any() and (episodes == -1).any()


def test_random_choices_are_held() -> None:
    episodes = [play(make_policy("random", ActionSpec("discrete", 4)), key) for key in range(40)]
    changes = np.array([(np.diff(acts) != 0).mean() for acts in episodes])
    assert set(np.concatenate(episodes)) == {0, 1, 2, 3} and 0.03 < changes.mean() < 0.5


def test_mixed_mostly_follows_its_agent_and_bursts() -> None:
    acts = np.stack(
        [play(make_policy("mixed", ActionSpec("box", 1), Straight(np.zeros(1, "f4"))), k) for k in range(30)]
    )
    assert 0.1 < np.abs(acts).mean() < 0.45
    quiet = [play(make_policy("mixed", ActionSpec("discrete", 9), Straight(np.int64(1))), k) for k in range(30)]
    kept = np.array([(acts == 1).mean() for acts in quiet])
    assert kept.min() > 0.2 and kept.max() < 1.0


def test_chance_takes_over_where_the_world_is_out_of_its_data() -> None:
    def kept(trust: float) -> float:
        drivers = [Straight(np.int64(1), trust) for _ in range(30)]
        acts = [play(make_policy("mixed", ActionSpec("discrete", 9), driver), k) for k, driver in enumerate(drivers)]
        return float((np.array(acts) == 1).mean())

    assert kept(0.05) < kept(0.5) - 0.1 and kept(0.5) == kept(1.0)


# simulators


def test_a_simulator_without_a_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="neither image observations"):
        make_real("simulators:test/Blind-v0")
    for bad in ({"size": 0}, {"skip": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            make_real(COUNTING, **bad)


def test_a_simulator_that_is_not_there_is_told_in_one_line() -> None:
    for env_id in ("CarRacing-v99", "NoSuchThing-v0"):
        with pytest.raises(ValueError, match=f"no simulator {env_id}"):
            make_real(env_id)
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="give that id"):
        make_real("MountainCar", kwargs={"render_mode": "rgb_array"})


@pytest.mark.parametrize("size", [0, 16, 50])
def test_verbs_record_no_frames_that_no_world_takes(tmp_path: Path, size: int) -> None:
    with pytest.raises(ValueError, match=f"size={size}: give a multiple of 16 from 32 up"):
        run(Record(COUNTING, frames=20, out=tmp_path, size=size, processes=1))
    assert not list(tmp_path.iterdir())


def test_a_simulator_is_a_gymnasium_environment() -> None:
    env = make_real(COUNTING, 20, 2)
    frame, info = env.reset(seed=3)
    assert env.observation_space.contains(frame) and info == {"real_frames": 0}
    again, rew, term, trunc, info = env.step(np.zeros(2, np.float32))
    assert again.shape == (20, 20, 3) and not np.shares_memory(again, frame)
    assert (type(rew), type(term), type(trunc)) == (float, bool, bool) and info["real_frames"] == 2
    assert env.real_frames == 2 and env.metadata["render_fps"] == 10 and np.array_equal(env.render(), again)
    env.close()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=2), st.integers(0, 2**32 - 1))
def test_actions_come_back_through_a_simulators_own_range(ends: list[float], seed: int) -> None:
    low, high = min(ends), max(ends) + np.float32(0.1)
    space = spaces.Box(np.array([low, -1], np.float32), np.array([high, 1], np.float32))
    act = np.random.default_rng(seed).uniform(-1, 1, (5, 2)).astype(np.float32)
    own = np.stack([to_simulator(space)(row) for row in act])
    assert all(space.contains(row) for row in own)
    again = from_simulator(space)(own)
    assert np.allclose(again, act, atol=1e-4) and np.array_equal(again[:, 1], own[:, 1])


def test_choices_start_from_zero_and_odd_spaces_are_refused() -> None:
    space = spaces.Discrete(3, start=5)
    assert to_simulator(space)(np.int64(2)) == 7 and from_simulator(space)(np.array([5, 7])).tolist() == [
        0,
        2,
    ]
    for odd in (spaces.Box(-np.inf, np.inf, (2,)), spaces.MultiDiscrete([2, 2])):
        with pytest.raises(ValueError, match="wrap the simulator"):
            to_simulator(odd)


def test_carracing_is_driven_by_steering_and_one_pedal() -> None:
    assert spec_of("CarRacing-v3") is SPEC and spec_of("Other-v0") is None
    assert to_real(np.array([-0.5, 0.25], np.float32)).tolist() == [-0.5, 0.25, 0.0]
    assert to_real(np.array([2.0, -1.0], np.float32)).tolist() == [1.0, 0.0, 1.0]
    assert all(SPEC.action.space.contains(np.array(act, np.float32)) for act in SPEC.keys.values())


def test_carracing_is_recorded_as_its_world_says() -> None:
    env = make_real("CarRacing-v3")
    assert env.skip == SPEC.skip and env.metadata["render_fps"] == SPEC.fps and env.action_space == SPEC.action.space
    stock = gym.make("CarRacing-v3")
    _, (seen, _) = env.reset(seed=1), stock.reset(seed=1)
    total = 0.0
    for _ in range(SPEC.skip):
        seen, rew, *_ = stock.step(np.array([0.3, 0.8, 0.0]))
        total += float(rew)
    frame, rew, term, trunc, info = env.step(np.array([0.3, 0.8], np.float32))
    assert rew == pytest.approx(total) and info["real_frames"] == SPEC.skip and not (term or trunc)
    assert np.abs(frame.astype(float).mean((0, 1)) - seen.mean((0, 1))).max() < 2
    env.close()
    stock.close()


def test_a_folder_that_holds_enough_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = Record(COUNTING, frames=20, out=tmp_path, size=48, processes=1)
    first, again = (run(options) and capsys.readouterr().out for _ in range(2))
    assert "as before" not in first and "simulator frames, as before: --frames counts all" in again
