"""Monitors: what they put into info, row for row the same, and how alarms are answered."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from rink import Rink, fitted, pushes
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecTransposeImage
from tiny import make_world

import gensim.ood as ood
from gensim.episodes import ActionSpec
from gensim.ood.config import DetectorConfig
from gensim.ood.detector import Detector
from gensim.ood.likelihood import world_surprise
from gensim.ood.watch import KEYS
from gensim.world import World

EVERY = 150
ROWS, STEPS, LENGTH, ODD = 3, 40, 15, 9


class Going(Rink):
    """The rink, of which episodes of odd seeds go dark at a step, and whose lengths differ by seed."""

    odd = ODD

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        self.count = getattr(self, "count", (seed or 0) - 1) + 1 if seed is None else seed
        self.length = LENGTH + self.count % 3
        return super().reset(seed=self.count)  # the next episode's seed follows from the last one's

    def _obs(self) -> np.ndarray:
        frame = super()._obs()
        return frame if self.count % 2 == 0 or self.now < self.odd else (frame // 3).astype(np.uint8)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return ood.load(fitted())


def acts_of(row: int) -> np.ndarray:
    return pushes(np.random.default_rng(row), STEPS)


def alone(detector: Detector, row: int, **kwargs: Any) -> list[tuple[bool, dict[str, Any]]]:
    """What a single monitor says, episode after episode: (the episode ended, verdict) at each observation."""
    env = ood.Monitor(Going(), detector, EVERY, **kwargs)
    said, over, acts = [(False, env.reset(seed=row)[1])], False, iter(acts_of(row))
    while len(said) <= STEPS:
        if over:
            said.append((False, env.reset()[1]))
            over = False
            continue
        *_, term, trunc, info = env.step(next(acts))
        over = term or trunc
        said.append((over, info))
    return said


def verdict(info: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(info[key] for key in (*KEYS, "ood_fallback"))


def of_row(info: dict[str, Any], i: int) -> tuple[Any, ...]:
    assert all(info[f"_{key}"][i] for key in KEYS)
    return tuple(info[key][i] for key in (*KEYS, "ood_fallback"))


# ------------------------------------------------------------------ one environment


def test_info(detector: Detector) -> None:
    env = ood.Monitor(Rink(), detector, EVERY)
    _, info = env.reset(seed=3)
    assert [type(info[key]) for key in KEYS] == [float, float, float, bool, str]
    assert 0 < info["ood_p"] <= 1 and info["ood_e"] >= 0 and not info["ood_fallback"]
    *_, info = env.step(env.action_space.sample())
    assert {*KEYS} <= info.keys()


def test_gymnasiums_checker(detector: Detector) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_env(ood.Monitor(Rink(render_mode="rgb_array"), detector, EVERY), skip_render_check=True)
        check_env(ood.Monitor(gym.make("test/Rink-v0", render_mode="rgb_array"), detector, EVERY))


def test_dark_frames_raise_an_alarm(detector: Detector) -> None:
    said = alone(detector, 1)
    assert said[ODD][1]["ood_alarm"] and "deviations" in said[ODD][1]["ood_reason"]
    assert said[ODD][1]["ood_p"] < 0.01 and not any(info["ood_alarm"] for _, info in said[:ODD])
    assert said[ODD][1]["ood_e"] > said[ODD - 1][1]["ood_e"]


def test_truncation(detector: Detector) -> None:
    env = ood.Monitor(Going(), detector, EVERY, on_alarm="truncate")
    env.reset(seed=1)
    ends = [env.step(act)[3] for act in acts_of(1)[:ODD]]
    assert ends == [False] * (ODD - 1) + [True]


def test_an_alarm_at_the_first_observation_truncates_with_the_first_step(detector: Detector) -> None:
    class Dark(Going):
        odd = 0

    env = ood.Monitor(Dark(), detector, EVERY, on_alarm="truncate")
    assert env.reset(seed=1)[1]["ood_alarm"] and env.step(acts_of(1)[0])[3]
    assert not env.reset(seed=2)[1]["ood_alarm"] and not env.step(acts_of(1)[0])[3]
    rows = SyncVectorEnv([Dark] * 2, autoreset_mode=AutoresetMode.DISABLED)
    many: Any = ood.VectorMonitor(rows, detector, EVERY, on_alarm="truncate")
    many.reset(seed=[0, 1])
    ends = [many.step(np.stack([acts_of(0)[t]] * 2))[3].tolist() for t in range(2)]
    assert ends == [[False, True], [False, False]]


def test_a_monitor_goes_on_in_another_process(detector: Detector) -> None:
    env = ood.Monitor(gym.make("test/Rink-v0"), detector, EVERY)
    env.reset(seed=1)
    env.step(acts_of(1)[0])
    other = pickle.loads(pickle.dumps(env))
    assert verdict(env.step(acts_of(1)[1])[4]) == verdict(other.step(acts_of(1)[1])[4])


@pytest.mark.parametrize("hold", [None, 2])
def test_a_fallback_acts(detector: Detector, hold: int | None) -> None:
    """From the step after the alarm on, on what is seen, for so long; a reset gives the wheel back."""
    taken, seen = [], []

    class Noting(Going):
        def step(self, action: np.ndarray) -> Any:
            taken.append(np.array(action))
            return super().step(action)

    def policy(obs: np.ndarray) -> np.ndarray:
        seen.append(obs)
        return np.full(2, 0.25, np.float32)

    env = ood.Monitor(Noting(), detector, EVERY, on_alarm=policy, hold=hold)
    env.reset(seed=1)
    infos = [env.step(act)[4] for act in acts_of(1)[:13]]
    mine = [i for i, act in enumerate(taken) if (act == 0.25).all()]
    assert mine == [i for i, info in enumerate(infos) if info["ood_fallback"]]
    assert mine == list(range(ODD, 13 if hold is None else ODD + hold)) and len(seen) == len(mine)
    assert all(np.array_equal(info["ood_action"], act) for info, act in zip(infos, taken))
    env.reset(seed=0)
    assert not env.step(acts_of(0)[0])[4]["ood_fallback"]


def test_frames_from_rendering_and_of_other_sizes(detector: Detector) -> None:
    """Observations that are no images, and images that are larger."""

    class Blind(Rink):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.observation_space = gym.spaces.Box(-100, 100, (2,), np.float64)

        def reset(self, **kwargs: Any) -> Any:
            return super().reset(**kwargs)[0].mean((0, 1))[:2], {}

        def step(self, action: np.ndarray) -> Any:
            obs, *rest = super().step(action)
            return obs.mean((0, 1))[:2], *rest

    class Large(Rink):
        def __init__(self) -> None:
            super().__init__()
            self.observation_space = gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)

        def _obs(self) -> np.ndarray:
            return super()._obs().repeat(2, 0).repeat(2, 1)

    envs = [Rink(), Blind(render_mode="rgb_array"), Large()]
    said = []
    for env in envs:
        watched = ood.Monitor(env, detector, EVERY)
        infos = [watched.reset(seed=5)[1], *(watched.step(act)[4] for act in acts_of(5)[:12])]
        said.append([verdict(info) for info in infos])
    assert said[0] == said[1] == said[2]
    with pytest.raises(ValueError, match="rgb_array"):
        ood.Monitor(Blind(), detector, EVERY)


def test_actions_of_other_kinds(detector: Detector) -> None:
    class Turned(Rink):
        def __init__(self) -> None:
            super().__init__()
            self.action_space = gym.spaces.Discrete(2)

        def step(self, action: Any) -> Any:
            return super().step(np.full(2, float(action), np.float32))

    with pytest.raises(ValueError, match=r"takes Discrete\(2\).*make_real.*acts=FUNCTION"):
        ood.Monitor(Turned(), detector, EVERY)
    env = ood.Monitor(Turned(), detector, EVERY, acts=lambda act: np.full(2, float(act), np.float32))
    env.reset(seed=0)
    same = ood.Monitor(Rink(), detector, EVERY)
    same.reset(seed=0)
    said = [
        (verdict(env.step(act)[4]), verdict(same.step(np.full(2, float(act), np.float32))[4])) for act in [0, 1] * 6
    ]
    assert all(mine == its for mine, its in said)


def test_arguments(detector: Detector) -> None:
    for kwargs, text in (
        ({"on_alarm": "stop"}, 'give "flag", "truncate"'),
        ({"hold": 0}, "hold=0"),
        ({"false_alarm_every": 50}, "from 100 up"),
        ({"false_alarm_every": 10_000}, "calibration holds"),
    ):
        with pytest.raises(ValueError, match=text):
            ood.Monitor(Rink(), detector, **{"false_alarm_every": EVERY, **kwargs})  # type: ignore[arg-type]


# ------------------------------------------------------------------ many environments


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_rows_say_what_single_ones_say(detector: Detector, mode: AutoresetMode) -> None:
    env: Any = ood.VectorMonitor(SyncVectorEnv([Going] * ROWS, autoreset_mode=mode), detector, EVERY)
    wanted = [alone(detector, row) for row in range(ROWS)]
    at, acts = [0] * ROWS, [iter(acts_of(row)) for row in range(ROWS)]
    _, info = env.reset(seed=list(range(ROWS)))
    ended, alarms = np.zeros(ROWS, bool), 0
    for row in range(ROWS):
        assert of_row(info, row) == verdict(wanted[row][0][1])
    for _ in range(STEPS - 2 * 4):
        if mode == AutoresetMode.DISABLED and ended.any():
            _, info = env.reset(options={"reset_mask": ended.copy()})
            for row in np.flatnonzero(ended):
                at[row] += 1
                assert of_row(info, row) == verdict(wanted[row][at[row]][1])
            assert not info["_ood_p"][~ended].any()
        skips = ended if mode == AutoresetMode.NEXT_STEP else np.zeros(ROWS, bool)
        act = np.stack([np.zeros(2, np.float32) if skips[row] else next(acts[row]) for row in range(ROWS)])
        _, _, term, trunc, info = env.step(act)
        ended = term | trunc
        for row in range(ROWS):
            at[row] += 1
            over, its = wanted[row][at[row]]
            assert over == ended[row]
            told = info["final_info"] if over and mode == AutoresetMode.SAME_STEP else info
            assert of_row(told, row) == verdict(its)
            alarms += its["ood_alarm"]
            if over and mode == AutoresetMode.SAME_STEP:
                at[row] += 1
                assert of_row(info, row) == verdict(wanted[row][at[row]][1])
    assert alarms > 1


def test_rows_take_turns_with_their_fallback(detector: Detector) -> None:
    taken: list[np.ndarray] = []

    class Noting(SyncVectorEnv):
        def step(self, actions: np.ndarray) -> Any:
            taken.append(actions.copy())
            return super().step(actions)

    policy = lambda obs: np.full((ROWS, 2), 0.25, np.float32)  # noqa: E731
    env: Any = ood.VectorMonitor(Noting([Going] * ROWS), detector, EVERY, on_alarm=policy)
    env.reset(seed=[0, 1, 2])
    for t in range(13):
        env.step(np.stack([acts_of(row)[t] for row in range(ROWS)]))
    *_, info = env.step(np.zeros((ROWS, 2), np.int64))  # whatever the caller's numbers are, the fallback's are not cut
    assert np.array_equal(info["ood_action"], taken[-1]) and info["_ood_action"].all()
    fallen = (np.stack(taken) == 0.25).all(2)
    assert fallen[ODD:, 1].all() and not fallen[:, [0, 2]].any() and not fallen[:ODD].any()
    with pytest.raises(ValueError, match="wrap each environment in Monitor"):
        ood.VectorMonitor(SyncVectorEnv([Rink]), detector, EVERY, on_alarm="truncate")


def test_sb3(detector: Detector) -> None:
    """The same row for row, images turned or not; a learner takes it."""
    wanted = [alone(detector, row) for row in range(ROWS)]
    for turn in (False, True):
        inner = DummyVecEnv([Going] * ROWS)
        env = ood.VecMonitor(VecTransposeImage(inner) if turn else inner, detector, EVERY)
        env.seed(0)
        env.reset()
        at, acts = [0] * ROWS, [iter(acts_of(row)) for row in range(ROWS)]
        for row in range(ROWS):
            assert verdict(env.reset_infos[row]) == verdict(wanted[row][0][1])
        for _ in range(STEPS - 8):
            _, _, done, infos = env.step(np.stack([next(a) for a in acts]))
            for row in range(ROWS):
                at[row] += 1
                assert (verdict(infos[row]), bool(done[row])) == (
                    verdict(wanted[row][at[row]][1]),
                    wanted[row][at[row]][0],
                )
                if done[row]:
                    at[row] += 1
                    assert verdict(env.reset_infos[row]) == verdict(wanted[row][at[row]][1])
    model = PPO(
        "MlpPolicy", ood.VecMonitor(DummyVecEnv([Rink]), detector, EVERY), n_steps=16, batch_size=16, n_epochs=1
    )
    model.learn(16)
    with pytest.raises(ValueError, match="Monitor before"):
        ood.VecMonitor(DummyVecEnv([Rink]), detector, EVERY, on_alarm="truncate")


# ------------------------------------------------------------------ dreams


@pytest.mark.parametrize("kind", ["box", "discrete"])
def test_dreams_have_a_detector_of_their_own(tmp_path: Path, kind: str) -> None:
    world = make_world(tmp_path / "world", kind)
    some = partial(ood.dreams, world, horizon=40)
    dreamt = list(some(14, seed=7))
    assert all(frames.dtype == np.uint8 and len(frames) == len(acts) + 1 for frames, acts in dreamt)
    again = list(some(5, seed=7, rows=2))
    assert all(np.array_equal(x, y) for one, two in zip(dreamt, again) for x, y in zip(one, two))
    long = [one for one in list(some(40, seed=7)) if len(one[1]) > 8]
    detector = ood.fit(long, tmp_path / "d", DetectorConfig(steps=10, ahead=10))
    make: Callable[..., Any] = partial(gym.make, "gensim/World-v0", world=str(world), horizon=30)
    env = ood.Monitor(make(), detector, 100)
    env.reset(seed=0)
    env.action_space.seed(0)
    assert "ood_score" in env.step(env.action_space.sample())[4]
    latents = ood.Monitor(make(observation="latents", render_mode="rgb_array"), detector, 100)
    env.action_space.seed(1)
    acts = [env.action_space.sample() for _ in range(3)]
    said = []
    for one in (env, latents):
        said.append([one.reset(seed=4)[1]["ood_score"], *(one.step(act)[4]["ood_score"] for act in acts[:1])])
    assert said[0] == said[1]
    encoded = ActionSpec.of(env.action_space).encode(dreamt[0][1])
    foreseen = world_surprise(World.load(world), dreamt[0][0], encoded)
    assert foreseen.shape == (len(dreamt[0][0]),) and foreseen[0] == 0 and np.isfinite(foreseen).all()
    with pytest.raises(ValueError, match="1 or more"):
        next(some(0))
