"""The contract, part 1: registration, spec, import."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import warnings

import gymnasium as gym
import pytest
from conftest import Case
from gymnasium.envs.registration import EnvSpec

import gensim
from gensim.envs.registry import ANY_WORLD, folder_of, shipped
from gensim.envs.spec import IMITATIONS, spec_of

HEAVY = ("torch", "cv2", "pygame", "stable_baselines3", "av")


def fresh(code: str) -> str:
    """What code prints in a fresh interpreter; warnings are errors there."""
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_import_is_quick_and_light() -> None:
    code = f"""
import time, gymnasium; began = time.process_time()  # gymnasium's own share is the machine's: 0.15 to 0.37 s
import gensim, sys
print(time.process_time() - began, *(name for name in {HEAVY} if name in sys.modules))"""
    runs = [fresh(code).split() for _ in range(4)]
    assert all(len(run) == 1 for run in runs), f"import gensim loads {runs[0][1:]}"
    assert min(float(run[0]) for run in runs) < 0.1  # results/bench.json has the whole


def test_registering_twice_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        before = gensim.registered()
        gensim.register()
        importlib.reload(gensim)
        gym.register_envs(gensim)
    assert gensim.registered() == before


def test_ids() -> None:
    ids = gensim.registered()
    assert {"gensim/World-v0", "gensim/CarRacing-v0"} <= set(ids)
    assert all(re.fullmatch(r"gensim/[A-Z]\w+-v\d+", id_) for id_ in ids)


@pytest.mark.parametrize("id_", gensim.registered())
def test_spec(id_: str) -> None:
    spec = gym.spec(id_)
    assert spec.entry_point == "gensim.envs.single:DreamEnv"
    assert spec.vector_entry_point == "gensim.envs.vector:DreamVectorEnv"
    assert spec.max_episode_steps is None  # horizon is the only clock
    assert spec.nondeterministic is False
    assert spec.additional_wrappers == ()
    assert EnvSpec.from_json(spec.to_json()) == spec
    known = {f"gensim/{one.name}-v0": one.reward_threshold for one in map(spec_of, IMITATIONS)}
    assert spec.reward_threshold == known.get(id_)


def test_a_world_is_needed() -> None:
    with pytest.raises(ValueError, match="world=FOLDER"):
        gym.make(ANY_WORLD)
    with pytest.raises(FileNotFoundError, match=r"world\.json"):
        gym.make(ANY_WORLD, world="nowhere")
    with pytest.raises(ValueError, match="ships no world 'moon'"):
        gym.make(ANY_WORLD, world="gensim:moon")


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_worlds_are_there(name: str) -> None:
    folder = folder_of(f"gensim:{name}")
    assert all((folder / file).is_file() for file in ("world.json", "world.safetensors", "starts.npz"))
    assert sum(path.stat().st_size for path in folder.iterdir() if path.is_file()) < 20e6


def test_spec_round_trips_through_make(case: Case) -> None:
    env = case.make(observation="latents", horizon=7, temperature=1.5)
    again = gym.make(EnvSpec.from_json(env.spec.to_json()))
    assert again.spec == env.spec
    assert again.unwrapped.dream.config == env.unwrapped.dream.config
    vector = case.make_vec(3, horizon=7, autoreset_mode="SameStep")
    assert EnvSpec.from_json(vector.spec.to_json()) == vector.spec
    assert gym.make_vec(EnvSpec.from_json(vector.spec.to_json())).num_envs == 3


def test_fresh_interpreter(case: Case) -> None:
    code = f"""
import gymnasium as gym
env = gym.make("gensim:{case.id}", **{case.kwargs})
env.reset(seed=0); env.step(env.action_space.sample())
print(env.spec.id, gym.make_vec("gensim:{case.id}", 2, **{case.kwargs}).reset(seed=0)[0].shape[0])"""
    assert fresh(code).split() == [case.id, "2"]


def test_zoo_finds_the_ids() -> None:
    """rl-baselines3-zoo: `--gym-packages gensim` imports the package and looks the id up in the registry."""
    code = 'import importlib, gymnasium; importlib.import_module("gensim"); print(*gymnasium.registry)'
    assert set(gensim.registered()) <= set(fresh(code).split())
