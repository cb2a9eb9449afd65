"""The contract, part 4: gymnasium's wrappers, single and vector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import gymnasium as gym
import numpy as np
import pytest
import stand_ins
from conftest import Case
from gymnasium.wrappers import (
    FrameStackObservation,
    NormalizeReward,
    RecordEpisodeStatistics,
    RecordVideo,
    ResizeObservation,
)
from gymnasium.wrappers import vector as wrappers
from tiny import same

HORIZON = 3


def steps(env: Any, n: int) -> list[Any]:
    """What an environment of either kind returns; single ones are reset where they end."""
    env.action_space.seed(0)
    env.reset(seed=0)
    seen = []
    for _ in range(n):
        seen.append(env.step(env.action_space.sample()))
        if np.ndim(seen[-1][2]) == 0 and (seen[-1][2] or seen[-1][3]):
            env.reset()
    return seen


def test_statistics(case: Case) -> None:
    seen = steps(RecordEpisodeStatistics(case.make(horizon=HORIZON)), 6)
    ends = [step for step in seen if step[2] or step[3]]
    assert ends and all(step[4]["episode"]["l"] == step[4]["elapsed"] <= HORIZON for step in ends)
    first = seen[: 1 + next(i for i, step in enumerate(seen) if step[2] or step[3])]
    assert first[-1][4]["episode"]["r"] == pytest.approx(sum(step[1] for step in first))


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_statistics_vector(case: Case, mode: str) -> None:
    env = case.make_vec(4, horizon=HORIZON, trust_floor=0.0, autoreset_mode=mode)
    env = wrappers.RecordEpisodeStatistics(env)
    seen = steps(env, 9)
    assert env.episode_count >= 8 and max(env.length_queue) == HORIZON
    assert all(("episode" in step[4]) == bool((step[2] | step[3]).any()) for step in seen)


def frames_in(path: Path) -> int:
    with av.open(str(path)) as file:
        return sum(1 for _ in file.decode(video=0))


def test_video(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins.moviepy(monkeypatch)
    env = case.make(render_mode="rgb_array")
    env = RecordVideo(env, str(tmp_path / "v"), episode_trigger=lambda i: i == 0)
    env.reset(seed=0)
    taken = 1
    for _ in range(4):
        taken += 1
        *_, term, trunc, _ = env.step(env.action_space.sample())
        if term or trunc:
            break
    env.close()
    (video,) = (tmp_path / "v").glob("*.mp4")
    assert frames_in(video) == taken


@pytest.mark.skipif(not hasattr(wrappers, "RecordVideo"), reason="gymnasium had no such wrapper before 1.2")
def test_video_vector(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_ins.moviepy(monkeypatch)
    env = case.make_vec(4, render_mode="rgb_array", horizon=50)
    env = wrappers.RecordVideo(env, str(tmp_path / "v"), step_trigger=lambda i: i == 0, video_length=5)
    steps(env, 8)
    env.close()
    (video,) = (tmp_path / "v").glob("*.mp4")
    assert frames_in(video) >= 5


def test_frame_stack(case: Case) -> None:
    env = FrameStackObservation(case.make(), 4)
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space and obs.shape[0] == 4
    after = env.step(env.action_space.sample())[0]
    assert same(after[:3], obs[1:]) and not same(after[3], obs[3])


def test_frame_stack_vector(case: Case) -> None:
    env = case.make_vec(2, vectorization_mode="sync", wrappers=[lambda env: FrameStackObservation(env, 4)])
    assert steps(env, 3)[-1][0].shape[:2] == (2, 4)


def test_resize(case: Case) -> None:
    env = ResizeObservation(case.make(), (24, 32))
    assert steps(env, 2)[-1][0] in env.observation_space and env.observation_space.shape == (24, 32, 3)


def test_resize_vector(case: Case) -> None:
    env = wrappers.ResizeObservation(case.make_vec(2), (24, 32))
    assert steps(env, 2)[-1][0].shape == (2, 24, 32, 3)


def test_normalised_reward(case: Case) -> None:
    plain, scaled = steps(case.make(), 4), steps(NormalizeReward(case.make()), 4)
    assert all(np.isfinite(step[1]) for step in scaled)
    assert [step[1] for step in plain] != [step[1] for step in scaled]


def test_normalised_reward_vector(case: Case) -> None:
    seen = steps(wrappers.NormalizeReward(case.make_vec(3, horizon=HORIZON)), 6)
    assert all(np.isfinite(step[1]).all() and step[1].shape == (3,) for step in seen)


def test_dict_info_to_list(tiny: Case) -> None:
    env = wrappers.DictInfoToList(tiny.make_vec(2))
    _, infos = env.reset(seed=0)
    assert len(infos) == 2 and infos[0].keys() == tiny.make().reset(seed=0)[1].keys()


def test_time_limit_beside_is_the_users_choice(tiny: Case) -> None:
    env = gym.make(tiny.id, max_episode_steps=2, trust_floor=0.0, **tiny.kwargs)
    out = steps(env, 2)[-1]
    assert out[2] or (out[3] and out[4]["truncation_reason"] == 0)
