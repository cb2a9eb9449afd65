"""VizDoom's TakeCover as a second world: the stock game, a picture of its last moment, a clock, and no litter."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from gensim.envs import make_real
from gensim.envs.controls import Controls
from gensim.envs.real import RealEnv
from gensim.envs.spec import spec_of
from gensim.envs.takecover import LEFT, LIMIT, NONE, RIGHT, SEEN, SPEC
from gensim.envs.takecover.alive import describe, fire, measure
from gensim.episodes import Dataset, read_episode
from gensim.episodes.record import Maker, RecordConfig, record
from gensim.episodes.sample import Sampler
from gensim.world.quality import Futures

ID = SPEC.real_id


def live(env: RealEnv, seed: int, hold: int = 5) -> tuple[np.ndarray, np.ndarray, bool, bool]:
    """All frames and rewards of one game of swaying to and fro, and how it ended."""
    frame, _ = env.reset(seed=seed)
    frames, rewards, term, trunc = [frame], [], False, False
    while not (term or trunc):
        frame, rew, term, trunc, info = env.step((RIGHT, NONE, LEFT)[len(rewards) // hold % 3])
        frames.append(frame)
        rewards.append(rew)
        assert rew == info["real_frames"]  # a reward a tic, the deadly one included
    return np.stack(frames), np.array(rewards), term, trunc


@pytest.fixture
def doom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RealEnv]:
    """The simulator, in a folder of its own; skips where VizDoom is not installed."""
    pytest.importorskip("vizdoom")
    monkeypatch.chdir(tmp_path)
    env = make_real(ID)
    yield env
    env.close()
    assert not list(tmp_path.glob("_vizdoom*"))  # nothing is left behind


def test_the_world_says_what_it_imitates() -> None:
    assert spec_of(ID) is SPEC and SPEC.max_steps * SPEC.skip == LIMIT and SPEC.fps * SPEC.skip == 35
    keys = Controls(SPEC.action, SPEC.keys).keys_to_action()
    assert keys == {"": NONE, "a": LEFT, "d": RIGHT}
    assert SPEC.mirror is not None and [SPEC.mirror[a] for a in (NONE, LEFT, RIGHT)] == [NONE, RIGHT, LEFT]


@pytest.mark.parametrize("id_", [ID, "vizdoom.gymnasium_wrapper:VizdoomBasic-v1"])
def test_without_vizdoom_it_says_how_to_get_it(id_: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "gensim.envs.takecover.game", raising=False)
    for name in {"vizdoom", *(name for name in sys.modules if name.startswith("vizdoom."))}:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r'needs the module vizdoom.*pip install --no-deps "vizdoom>=1\.3"'):
        make_real(id_)
    with pytest.raises(ValueError, match="needs the module no_such_module"):
        make_real("no_such_module:Name-v0")


def test_a_seed_is_a_game(doom: RealEnv) -> None:
    """Equal seeds and actions are equal bytes, whatever was played before and in another process of the game."""
    frames, rewards, *_ = live(doom, 5)
    other, others, *_ = live(doom, 6)
    assert len(frames) != len(other) or (frames != other).any()
    again = make_real(ID)
    for env in (doom, again):
        same, sames, *_ = live(env, 5)
        assert np.array_equal(same, frames) and np.array_equal(sames, rewards)
    again.close()
    assert frames.shape[1:] == (64, 64, 3) and not np.array_equal(others, rewards[: len(others)])


def test_games_begin_one_after_another(doom: RealEnv) -> None:
    """Two that make and clear the folder `_vizdoom` at once would end both."""
    fcntl = pytest.importorskip("fcntl")
    folder = os.open(".", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    begun = threading.Thread(target=doom.reset, kwargs={"seed": 1})
    begun.start()
    begun.join(1.0)
    assert begun.is_alive() and not Path("_vizdoom").exists()
    os.close(folder)
    begun.join(60.0)
    assert not begun.is_alive() and doom.step(NONE)[1] == SPEC.skip


def test_it_is_the_stock_game(doom: RealEnv) -> None:
    """Screens, tics and rewards are those of VizDoom's own environment; only what follows death is not black."""
    stock = gym.make(ID, screen_resolution="RES_160X120", doom_config_path="/dev/null", disable_env_checker=True)
    own, over, last = doom.env, False, None
    (mine, _), (its, _) = own.reset(seed=3), stock.reset(seed=3)
    while not over:
        assert np.array_equal(mine["screen"], its["screen"])
        last = mine["screen"]
        (mine, *mine_told), (its, *its_told) = own.step(RIGHT), stock.step(RIGHT)
        assert mine_told == its_told
        over = its_told[1] or its_told[2]
    assert not its["screen"].any() and np.array_equal(mine["screen"], last)
    stock.close()
    Path("_vizdoom").rmdir()  # the stock one does leave it behind


def test_death_terminates_and_is_seen(doom: RealEnv) -> None:
    frames, rewards, term, trunc = live(doom, 1)
    assert term and not trunc and rewards.sum() < LIMIT
    assert (rewards[:-1] == SPEC.skip).all() and 1 <= rewards[-1] <= SPEC.skip
    assert frames[-1].mean() > 0.5 * frames[-2].mean() > 5


def test_survival_truncates(doom: RealEnv) -> None:
    doom.reset(seed=2)
    game: Any = doom.env.unwrapped
    game.game.send_game_command("god")
    ends = [doom.step(NONE)[1:4] for _ in range(SPEC.max_steps)]
    assert ends[-1] == (4.0, False, True) and not any(term or trunc for _, term, trunc in ends[:-1])
    assert sum(rew for rew, *_ in ends) == LIMIT


def test_its_own_clock_is_no_death() -> None:
    pytest.importorskip("vizdoom")
    env = make_real(ID, kwargs={"episode_timeout": 30})
    frames, _, term, trunc = live(env, 1)
    assert trunc and not term and frames[-1].mean() > 5
    env.close()


def test_deaths_are_recorded_and_drawn(doom: RealEnv, tmp_path: Path) -> None:
    """The step that kills is in the data with its frame, and windows that end with it come up often."""
    config = RecordConfig(out=tmp_path / "data", frames=600)
    meter = record(config, Maker(lambda: make_real(ID)), json=True)
    data = Dataset(config.out)
    episodes = [read_episode(header.path) for header in data.episodes]
    assert all(episode.term[-1] and not episode.trunc.any() for episode in episodes)
    assert sum(episode.rew.sum() for episode in episodes) == meter["real_frames"] >= 600
    assert all(episode.frame(-1).mean() > 5 for episode in episodes)
    batch = Sampler(data, length=16, batch=64, seed=0, holdout=0.0).batch(0)
    assert 0.05 < batch.term.any(1).mean() < 0.95 and set(np.unique(batch.act.sum(-1))) <= {0.0, 1.0}


def test_fire_is_seen_where_the_game_has_a_fireball(doom: RealEnv) -> None:
    game = doom.env.unwrapped.game  # type: ignore[attr-defined]
    game.set_labels_buffer_enabled(True)
    said, true = [], []
    for seed in range(4):
        doom.reset(seed=seed)
        done = False
        while not done:
            frame, _, term, trunc, _ = doom.step(len(said) // 5 % 3)
            state, done = doom.env.unwrapped.state, term or trunc  # type: ignore[attr-defined]
            if state is not None:
                balls = [label.value for label in state.labels if label.object_name == "DoomImpBall"]
                said.append(fire(frame[None])[0])
                true.append(np.isin(state.labels_buffer[SEEN], balls).sum() >= 6)
    said, true = np.array(said), np.array(true)
    assert 0.2 < true.mean() < 0.8 and (said == true).mean() > 0.9 and said[~true].mean() < 0.05


def test_a_dream_without_fire_is_told_from_one_with() -> None:
    rng = np.random.default_rng(0)
    real = rng.integers(0, 120, (12, 1, 2, 64, 64, 3), np.uint8)
    real[:6, :, 1, 30:33, 20:23] = (255, 190, 40)  # half of them burn at the second horizon
    sides = {"real": real, "dream": real.repeat(2, 1), "repeated": real[:, :, [0, 0]]}
    alive = np.ones((12, 2, 2), bool)
    alive[9:, 1, 1] = False  # some that do not burn are over
    told = Futures((1, 5), real[:, 0, 0], sides, {}, np.zeros((12, 5)), np.zeros((12, 2, 5)), alive, np.arange(12))
    found = measure(None, None, told, 0)  # type: ignore[arg-type]
    assert found["fire"]["real"]["value"] == [0, 0.5]
    assert found["fire"]["dream"]["value"] == [0, pytest.approx(12 / 21, abs=1e-4)]
    assert found["alive"]["value"] == [1, pytest.approx(21 / 24)]
    assert found["fire"]["repeated"]["value"] == [0, 0]
    assert found["rivals"]["dream"]["kappa"]["value"][1] == 1 and found["rivals"]["repeated"]["kappa"]["value"][1] == 0
    assert "57 % of late dreamed frames, 50 %" in found["summary"] and "| dream " in describe(found, 8.75)
