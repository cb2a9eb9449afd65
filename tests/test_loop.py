"""The loop: budgets of real frames, what is kept, and going on after kills."""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from simulators import COUNTING

from gensim.agents import Agent, load
from gensim.agents.agent import weights_of
from gensim.agents.loop import CHOICE, Loop, LoopConfig, simulator
from gensim.agents.loop_report import plot
from gensim.agents.ppo_config import PPOConfig
from gensim.core.files import read_json, write_json
from gensim.episodes import Dataset, read_episode
from gensim.world.config import FitConfig

BUDGET, FIRST = 900, 300


def config(out: Path, **kwargs: Any) -> LoopConfig:
    """Two short rounds after the first."""
    some: dict[str, Any] = {"real_frames": BUDGET, "first": FIRST, "rounds": 2, "first_steps": 8, "longest": 75}
    some |= {"processes": 1, "fit_steps": (6, 6), "learn_steps": (64, 64)}
    return LoopConfig(out=out, **{**some, **kwargs})


def loop(out: Path, **kwargs: Any) -> Loop:
    fitting = FitConfig(data=out, out=out, batch=2, length=8, decoded=2, hidden=32, holdout=0.2)
    learning = PPOConfig(rows=4, n_steps=8, batch=16, epochs=1, horizon=10, net=(16,))
    make = simulator(COUNTING, size=32)
    return Loop(COUNTING, make, config(out, **kwargs), fitting, learning, lambda text: None)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("loop")
    return out, loop(out, choose=2, finalists=2, real_frames=1200).run()


def test_frames_are_within_the_budget_and_counted(ran: tuple[Path, dict[str, Any]]) -> None:
    out, told = ran
    headers = Dataset(out / "data").episodes
    longest = max(header.real_frames for header in headers)
    recorded = sum(header.real_frames for header in headers)
    played = sum(row["chosen"]["real_frames"] for row in told["rounds"] if "chosen" in row)
    assert FIRST + 2 * 300 <= recorded <= FIRST + 2 * 300 + longest
    assert played > 0 and told["meter"]["real_frames"] == recorded + played <= 1200 + longest
    assert [header.meta["policy"] for header in headers if header.meta["round"] in (2, 4)].count("agent") >= 2
    assert {header.meta["round"] for header in headers} == {0, 2, 3, 4, 5}


def test_no_two_stages_share_a_reset_seed(ran: tuple[Path, dict[str, Any]]) -> None:
    seeds = [header.meta["seed"] for header in Dataset(ran[0] / "data").episodes]
    chosen = [seed for path in ran[0].glob("round-*/chosen.json") for seed in read_json(path)["seeds"]]
    assert len(set(seeds)) == len(seeds) and not set(seeds) & set(chosen) and max(seeds + chosen) < 1_000_000


def test_returns_of_a_round_are_those_of_its_undisturbed_episodes(ran: tuple[Path, dict[str, Any]]) -> None:
    out, told = ran
    for index in (0, 1):
        headers = [h for h in Dataset(out / "data").episodes if h.meta["round"] == 2 * (index + 1)]
        sums = [read_episode(h.path).rew.sum() for h in headers]
        assert told["rounds"][index]["mean"] == pytest.approx(np.mean(sums), rel=1e-6)
    kept = {row["round"]: row["chosen"]["mean"] for row in told["rounds"] if "chosen" in row}
    assert told["best"] == max(kept, key=lambda index: kept[index]) and 2 in kept


def test_every_world_and_agent_is_kept_and_reported(ran: tuple[Path, dict[str, Any]]) -> None:
    out, told = ran
    for index in range(3):
        assert (out / f"round-{index:02d}/world/world.json").exists()
        assert (out / f"round-{index:02d}/agent/agent.json").exists()
    steps = [read_json(out / f"round-{i:02d}/world/world.json")["spec"]["fit_steps"] for i in range(3)]
    assert steps == sorted(set(steps))  # each fit goes on from the last one's moments
    assert "| 2 |" in (out / "loop.md").read_text() and (out / "loop.png").stat().st_size > 1000
    assert plot(told).shape == (440, 720, 3)


def test_done_is_done(ran: tuple[Path, dict[str, Any]]) -> None:
    out, told = ran
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert loop(out, choose=2, finalists=2, real_frames=1200).run() == told
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == before


def test_another_loop_is_refused(ran: tuple[Path, dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match=r"first=300 .now 200."):
        loop(ran[0], choose=2, first=200).run()


def test_a_budget_that_is_spent_is_not_passed(tmp_path: Path) -> None:
    loop(tmp_path, rounds=1).run()
    with pytest.raises(ValueError, match="choosing may take 450 frames"):
        loop(tmp_path, rounds=1, choose=6, finalists=1).run()
    with pytest.raises(ValueError, match="give more real frames, or fewer rounds"):
        loop(tmp_path, rounds=4).run()


def test_stages_do_not_run_into_each_others_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gensim.agents.loop.SEEDS", 1_003)  # three beside the finalists'
    with pytest.raises(ValueError, match="no more seeds for episodes as short as these"):
        loop(tmp_path, first_steps=1, seed=2).run()
    assert {header.meta["seed"] for header in Dataset(tmp_path / "data").episodes} == {2006, 2007, 2008}


def test_lessons_that_change_under_way_are_refused(ran: tuple[Path, dict[str, Any]]) -> None:
    other = loop(ran[0], choose=2, finalists=2, real_frames=1200)
    with pytest.raises(ValueError, match=r"learn gamma=0.99 .now 0.5."):
        replace(other, learning=replace(other.learning, gamma=0.5)).run()
    with pytest.raises(ValueError, match=r"fit lr=0.0006 .now 0.1."):
        replace(other, fitting=replace(other.fitting, lr=0.1)).run()


def test_two_processes_record_and_choose_as_one(tmp_path: Path) -> None:
    told = [loop(tmp_path / str(n), rounds=0, choose=2, finalists=1, processes=n).run() for n in (1, 2)]
    chosen = [one["rounds"][0]["chosen"] for one in told]
    assert chosen[0]["real_frames"] > 0 and len(chosen[1]["returns"]) == 2
    assert all(one["meter"]["others"] == {CHOICE: c["real_frames"]} for one, c in zip(told, chosen))


@pytest.mark.parametrize(
    "wrong",
    [
        *({"seed": 9}, {"alone": 0.0}, {"real_frames": 301}, {"fit_steps": (0, 1)}),
        *({"choose": -1}, {"choose": 2000}, {"finalists": 0}, {"longest": 0}, {"processes": 0}),
    ],
)
def test_impossible_budgets_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give"):
        config(tmp_path, **wrong)


def test_the_best_round_is_shipped(
    ran: tuple[Path, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = Path(__file__).parents[1] / "scripts" / "ship.py"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ship", str(ran[0]), "counting"])
    runpy.run_path(str(script), run_name="__main__")
    agent = load(tmp_path / "agents/counting")
    best = Agent.load(ran[0] / f"round-{ran[1]['best']:02d}" / "agent")
    assert agent.world is not None and agent.world.folder == tmp_path / "agents/counting/../../envs/counting"
    assert all(torch.equal(a, weights_of(best.policy)[name]) for name, a in weights_of(agent.policy).items())


def test_an_unfinished_loop_is_not_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "loop.json", {"rounds": [], "best": None, "done": False})
    monkeypatch.setattr(sys, "argv", ["ship", str(tmp_path), "counting"])
    with pytest.raises(ValueError, match="is not finished"):
        runpy.run_path(str(Path(__file__).parents[1] / "scripts" / "ship.py"), run_name="__main__")


MAIN = """
import sys
from pathlib import Path
from test_loop import loop
loop(Path(sys.argv[1])).run()
"""


def test_a_killed_loop_goes_on_and_loses_no_episode(tmp_path: Path) -> None:
    rng, kept = np.random.default_rng(5), {}
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    for _ in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN, str(tmp_path)], env=env, start_new_session=True, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        wanted = len(kept) + 3
        while len(list(tmp_path.glob("data/ep-*.npz"))) < wanted and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 2))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = {path.name: path.read_bytes() for path in tmp_path.glob("data/ep-*.npz")}
        assert all(now[name] == blob for name, blob in kept.items())
        kept = now
    told = loop(tmp_path).run()
    assert len(told["rounds"]) == 3 and told["meter"]["real_frames"] >= BUDGET
    now = {path.name: path.read_bytes() for path in tmp_path.glob("data/ep-*.npz")}
    assert all(now[name] == blob for name, blob in kept.items())
