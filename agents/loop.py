"""The loop: record, fit, learn, and again with the agent so far, within a budget of real frames."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gensim.agents.filter import driver
from gensim.agents.ppo import learn
from gensim.agents.ppo_config import PPOConfig
from gensim.agents.score import score
from gensim.core.circumstances import circumstances
from gensim.core.files import atomic_path, load_tensors, read_json, sha256, write_json
from gensim.core.intervals import student_t95
from gensim.core.settings import differing
from gensim.episodes import Dataset, read_episode
from gensim.episodes.record import Maker, RecordConfig, record
from gensim.world.config import FitConfig
from gensim.world.fit import CHECKPOINT, fit

REPORT = "loop.json"
CLOCK = "loop.seconds.json"
MADE = "loop.made.json"
CHOICE = "choice of the best round"  # what the finalists' frames are charged to
SEEDS = 100_000  # reset seeds of one run of the loop; no two stages share one
LAST = 1_000  # of these, the last, on which the finalists play


@dataclass(frozen=True)
class LoopConfig:
    """How a world and its agent are made from nothing but a simulator."""

    out: Path
    """Folder of the data set, of every round's world and agent, and of the report; a killed loop goes on from here."""
    real_frames: int = 400_000
    """Simulator frames in all, skipped ones included: recorded, or played to choose the best agent. Recording may pass
    it by the episodes under way, one a process. Frames that a kill lost are taken again, alike, and count once."""
    rounds: int = 8
    """Rounds after the first, which knows only chance."""
    first: int = 40_000
    """Simulator frames of the first round, in cut episodes of chance."""
    first_steps: int = 100
    """Steps after which an episode of chance is cut."""
    alone: float = 0.4
    """Share of a round's frames that the agent drives as it is, whole episodes; noise and chance disturb the rest."""
    mixed_steps: int | None = None
    """Steps after which a disturbed episode is cut; None lets it end by itself."""
    choose: int = 0
    """Whole episodes that each of the `finalists` plays in the end, on equal seeds; 0 takes the last agent."""
    finalists: int = 3
    """Rounds whose agents play for being the best, by the returns they were recorded with."""
    longest: int = 1000
    """Simulator frames of the longest episode: so many are set aside for each that the finalists play."""
    fit_steps: tuple[int, int] = (600, 480)
    """Optimiser steps of the fit in the first round and in each later one; steps, not minutes, to do as well on a
    slow machine."""
    learn_steps: tuple[int, int] = (400_000, 500_000)
    """World steps dreamed to learn from in the first round and in each later one."""
    processes: int = 2
    """Simulators stepped side by side."""
    seed: int = 0
    """Of everything: 0 to 8, each with reset seeds of its own; those from 900,000 on are left for measuring."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= 8 or not 0 <= self.rounds <= 40:
            raise ValueError(f"seed={self.seed}, rounds={self.rounds}: give 0 to 8, and 0 to 40")
        if not 0 < self.alone < 1 or min(self.first, *self.fit_steps, *self.learn_steps) < 1:
            raise ValueError(
                f"alone={self.alone}, first={self.first}, fit_steps={self.fit_steps}, learn_steps={self.learn_steps}: "
                "give 0 < alone < 1, and at least 1 of the others"
            )
        if not 0 <= self.choose <= LAST or min(self.finalists, self.longest, self.processes) < 1:
            raise ValueError(
                f"choose={self.choose}, finalists={self.finalists}, longest={self.longest}, "
                f"processes={self.processes}: give 0 to {LAST:,} episodes, and at least 1 of the others"
            )
        if self.round_frames < 1:
            raise ValueError(
                f"{self.real_frames:,} real frames leave nothing for {self.rounds} rounds after the first "
                f"{self.first:,}: give more frames, or fewer rounds"
            )

    @property
    def round_frames(self) -> int:
        """Simulator frames of one round after the first, the finalists' longest episodes set aside."""
        aside = self.choose * self.finalists * self.longest
        return (self.real_frames - self.first - aside) // max(1, self.rounds)

    def identity(self) -> dict[str, Any]:
        """What must be equal for a loop to go on: all but how far it goes."""
        left_out = {"out", "real_frames", "rounds", "choose", "finalists", "longest", "processes"}
        left_out |= {"fit_steps", "learn_steps"}
        return json.loads(json.dumps({k: v for k, v in asdict(self).items() if k not in left_out}))


Make = Callable[[], Any]


@dataclass(frozen=True)
class Loop:
    """One run of the loop.

    Arguments:
        env_id: Gymnasium id of the simulator.
        make: makes it as it is recorded; pickles.
        config: budgets.
        fitting: how worlds are fitted; data, out, steps and seed are the loop's.
        learning: how agents learn; steps, init and seed are the loop's.
        say: is told each stage before it begins.
    """

    env_id: str
    make: Make
    config: LoopConfig
    fitting: FitConfig
    learning: PPOConfig
    say: Callable[[str], None] = print
    quiet: bool = True

    @property
    def data(self) -> Path:
        """The folder of the data set."""
        return self.config.out / "data"

    def folder(self, index: int, name: str) -> Path:
        """The folder of a round's "world" or "agent"."""
        return self.config.out / f"round-{index:02d}" / name

    def run(self) -> dict[str, Any]:
        """Runs what is left of all rounds and of the choice, and returns the report."""
        self._claim()
        for index in range(self.config.rounds + 1):
            self._round(index)
        self._last()
        return self.report(done=True)

    # ---------------------------------------------------------------- stages

    def _round(self, index: int) -> None:
        world, agent = self.folder(index, "world"), self.folder(index, "agent")
        if not (world / "world.json").exists():
            with self._timed("record"):
                self._record(index)
            self.report()
            self.say(f"round {index}: fit")
            with self._timed("fit"):
                self._fit(index, world)
        if not (agent / "agent.json").exists():
            self.say(f"round {index}: learn")
            with self._timed("learn"):
                learn(world, agent, self._lesson(index), quiet=self.quiet)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Adds the block's seconds to the stage's; those of a block that is killed are lost."""
        began, path, here = time.monotonic(), self.config.out / CLOCK, circumstances()
        made = self._made()
        if here not in made:
            write_json(self.config.out / MADE, {"made_by": [*made, here]})
        yield
        spent = read_json(path) if path.exists() else {}
        write_json(path, spent | {stage: round(spent.get(stage, 0.0) + time.monotonic() - began, 1)})

    def _record(self, index: int) -> None:
        config, names = self.config, self._names(index)
        due = config.first + index * config.round_frames
        if index == 0:
            self._take(names[0], due, "random", None, config.first_steps)
            return
        agent, before = self.folder(index - 1, "agent"), due - config.round_frames
        self._take(names[0], before + math.ceil(config.alone * config.round_frames), "agent", agent, None)
        self._take(names[1], due, "mixed", agent, config.mixed_steps)

    def _take(self, name: int, frames: int, policy: str, agent: Path | None, steps: int | None) -> None:
        self.say(f"round {name // 2}: record ({policy}) up to {frames:,} frames")
        first = self._first(name, frames)
        about = {} if agent is None else {"agent": sha256(agent / "policy.safetensors")}
        recording = RecordConfig(
            out=self.data,
            frames=frames,
            policy=policy,
            agent=agent,
            seed=first,
            seeds=self._choosing - first,
            round=name,
            processes=self.config.processes,
            max_episode_steps=steps,
        )
        record(recording, Maker(self.make, driver, about), self.quiet)

    def _first(self, name: int, frames: int) -> int:
        """A stage's first reset seed: the one after all earlier stages', which are done.

        ValueError if all that it may record is there already, from rounds that were meant to be fewer.
        """
        headers = Dataset(self.data).episodes if (self.data / "data.json").exists() else ()
        there = sum(header.real_frames for header in headers)
        if there >= frames and not any(header.meta["round"] == name for header in headers):
            raise ValueError(
                f"{there:,} frames are recorded, and {self.config.real_frames:,} in {self.config.rounds} rounds leave "
                f"{frames:,} up to here: give more real frames, or fewer rounds"
            )
        before = (header.meta["seed"] for header in headers if header.meta["round"] < name)
        return max(before, default=self.config.seed * SEEDS - 1) + 1

    def _fit(self, index: int, world: Path) -> None:
        """Goes on with the last round's fit, its moments and averages included, on the data of now."""
        goal, before = world / "fit" / "goal.json", self.folder(index - 1, "world") / CHECKPOINT
        if not goal.exists():
            spent = int(load_tensors(before)[1]["step"]) if index else 0
            if index:
                with atomic_path(world / CHECKPOINT) as temporary:
                    shutil.copyfile(before, temporary)
            write_json(goal, {"steps": spent + self.config.fit_steps[min(index, 1)]})
        steps = read_json(goal)["steps"]
        fit(replace(self.fitting, data=self.data, out=world, steps=steps, seed=self.config.seed), self.quiet)

    def _lesson(self, index: int) -> PPOConfig:
        first, later = self.config.learn_steps
        init = self.folder(index - 1, "agent") if index else None
        return replace(self.learning, steps=later if index else first, init=init, seed=self.config.seed)

    def _last(self) -> None:
        """Chooses among the finalists, every frame of it charged to the meter."""
        if not self.config.choose:
            return
        rows = [row for row in self._rows() if row["returns"]]
        last = {"round": self.config.rounds}
        finalists = [*sorted(rows, key=lambda row: -row["mean"])[: self.config.finalists - 1], last]
        paths = {row["round"]: self.folder(row["round"], "chosen.json") for row in finalists}
        due = self.config.choose * self.config.longest * sum(not path.exists() for path in paths.values())
        left = self.config.real_frames - self._meter()["real_frames"]
        if due > left + self.config.processes * self.config.longest:
            raise ValueError(
                f"choosing may take {due:,} frames, and {left:,} of {self.config.real_frames:,} are left: "
                "give more real frames, or choose on fewer episodes"
            )
        for index, path in paths.items():
            if not path.exists():
                self.say(f"round {index}: plays for being the best")
                with self._timed("choose"):
                    self._play(index, path)

    @property
    def _choosing(self) -> int:
        """The first reset seed on which the finalists play."""
        return (self.config.seed + 1) * SEEDS - LAST

    def _play(self, index: int, path: Path) -> None:
        agent, first = self.folder(index, "agent"), self._choosing
        played = score(agent, self.env_id, self.config.choose, first, self.config.processes)
        write_json(path, {"returns": played.returns, "real_frames": played.real_frames, "seeds": played.seeds})

    # ---------------------------------------------------------------- report

    def report(self, done: bool = False) -> dict[str, Any]:
        """What every round cost and brought, written as JSON, as a table and as a plot."""
        rows = self._rows()
        kept = [row for row in rows if row.get("chosen")]
        best = max(kept, key=lambda row: row["chosen"]["mean"]) if kept else (rows[-1] if rows else None)
        told: dict[str, Any] = {"env_id": self.env_id, "config": self._identity(), "rounds": rows}
        told |= {"best": best and best["round"], "meter": self._meter()}
        told["seconds"] = read_json(clock) if (clock := self.config.out / CLOCK).exists() else {}
        told |= {"made_by": self._made(), "done": done}
        write_json(self.config.out / REPORT, told)
        from gensim.agents.loop_report import write_plot, write_table

        write_table(self.config.out / "loop.md", told)
        write_plot(self.config.out / "loop.png", told)
        return told

    def _rows(self) -> list[dict[str, Any]]:
        """A row a round whose agent is there: frames that it had learned from, its real returns where recorded."""
        headers = Dataset(self.data).episodes if (self.data / "data.json").exists() else ()
        rows = []
        for index in range(self.config.rounds + 1):
            if not (self.folder(index, "agent") / "agent.json").exists():
                break
            mine = [h for h in headers if h.meta["round"] == self._names(index + 1)[0]]
            returns = [float(read_episode(h.path).rew.sum(dtype=np.float64)) for h in mine]
            seen = sum(h.real_frames for h in headers if h.meta["round"] < self._names(index + 1)[0])
            learning = read_json(self.folder(index, "agent") / "agent.json")["learning"]
            row = {"round": index, "real_frames": seen, "dreamed": learning["dreamed_return"], **_summary(returns)}
            if (path := self.folder(index, "chosen.json")).exists():
                chosen = read_json(path)
                row["chosen"] = {**_summary(chosen["returns"]), "real_frames": chosen["real_frames"]}
            rows.append(row)
        return rows

    def _meter(self) -> dict[str, Any]:
        """The data set's meter, with the finalists' episodes charged once."""
        if not (self.data / "data.json").exists():
            return {}
        data = Dataset(self.data)
        spent = sum(read_json(path)["real_frames"] for path in self.config.out.glob("round-*/chosen.json"))
        data.charge(CHOICE, max(0, spent - data.meter()["others"].get(CHOICE, 0)))
        return data.meter()

    def _made(self) -> list[dict[str, Any]]:
        """Commands, versions and machines that had a part in this loop."""
        path = self.config.out / MADE
        return read_json(path)["made_by"] if path.exists() else []

    def _claim(self) -> None:
        """ValueError if the folder holds another loop."""
        path = self.config.out / "loop.config.json"
        mine = {"env_id": self.env_id, **self._identity()}
        if path.exists():
            differ = differing(read_json(path), mine)
            if differ:
                raise ValueError(
                    f"{self.config.out} holds a loop with {differ}: give the same to go on, or another --out"
                )
        write_json(path, mine)

    def _identity(self) -> dict[str, Any]:
        """Settings of the loop, of its fits and of its lessons."""
        fitting, learning = json.loads(self.fitting.identity()), json.loads(self.learning.identity(""))
        kept = {f"fit {key}": value for key, value in fitting.items() if key != "seed"}
        kept["fit calibrate"] = self.fitting.calibrate
        kept |= {f"learn {key}": value for key, value in learning.items() if key not in ("seed", "world")}
        return self.config.identity() | kept

    @staticmethod
    def _names(index: int) -> tuple[int, int]:
        """The recorder's round numbers of a round: of the agent alone (or chance), and of the disturbed one."""
        return 2 * index, 2 * index + 1


def _summary(returns: list[float]) -> dict[str, Any]:
    """The returns with their mean and its 95 % interval, as far as there are any."""
    n = len(returns)
    mean = float(np.mean(returns)) if n else None
    half = student_t95(n) * float(np.std(returns, ddof=1)) / math.sqrt(n) if n > 1 else None
    ci95 = None if mean is None or half is None else [mean - half, mean + half]
    return {"returns": [round(x, 3) for x in returns], "mean": mean, "ci95": ci95}


def simulator(env_id: str, size: int | None = None, skip: int | None = None) -> Make:
    """Makes a simulator as it is recorded; pickles."""
    from gensim.envs.real import make_real

    return partial(make_real, env_id, size, skip)
