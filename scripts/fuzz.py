#!/usr/bin/env python
"""Fuzzes the environments: random actions, resets, snapshots and interleavings, compared byte for byte.

A session makes a vector environment with random settings, and beside it a few single environments that live
through the same as their rows. Each return is checked against the contract, each row against its single
environment, and the bytes of a session on one thread against those on two. Writes results/fuzz.json; exits 1
on any violation.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

SIZES = (1, 7, 64)
MODES = ("NextStep", "SameStep", "Disabled")
WITNESSES = 3
INFO = ["log_prob", "log_q", "trust", "is_success", "elapsed", "truncation_reason"]


def expect(holds: Any, what: str) -> None:
    """AssertionError unless the contract holds."""
    if not holds:
        raise AssertionError(what)


def equal(a: Any, b: Any) -> bool:
    """Equal in dtype, shape and every byte."""
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@dataclass
class Session:
    """One vector environment, its witnesses, and what they have seen."""

    seed: int
    world: str | None
    rows: int
    ops: int
    ended: int = 0
    counts: Counter = field(default_factory=Counter)
    digest: Any = field(default_factory=hashlib.sha256)

    def __post_init__(self) -> None:
        import gensim  # noqa: F401  registers the ids

        self.rng = np.random.default_rng([self.seed, self.rows])
        self.mode = str(self.rng.choice(MODES))
        self.config = self._config()
        self.id = "gensim/World-v0" if self.world else "gensim/CarRacing-v0"
        self.env = gym.make_vec(self.id, num_envs=self.rows, autoreset_mode=self.mode, **self.config)
        chosen = self.rng.choice(self.rows, min(WITNESSES, self.rows), replace=False)
        self.witnesses = {int(i): gym.make(self.id, **self.config).unwrapped for i in chosen}
        self.done = np.zeros(self.rows, bool)
        self.kept: Any = None
        self.last: list[np.ndarray] = []

    def _config(self) -> dict[str, Any]:
        pick = self.rng.choice
        return {
            **({"world": self.world} if self.world else {}),
            "observation": str(pick(["frames", "latents"])),
            "horizon": int(pick([2, 5, 9, 16])),
            "temperature": float(pick([0.5, 1.0, 1.3])),
            "dropout": bool(pick([False, True])),
            "trust_floor": float(pick([0.0, 0.3, 1.0])),
            "start_mix": float(pick([0.0, 0.5, 1.0])),
        }

    def run(self) -> None:
        """Lives through `ops` random operations, and compares after each."""
        self._reset(everyone=True, seeded=True)
        names, weights = ["step", "reset", "some", "keep", "back", "copy", "alone"], [82, 3, 5, 4, 3, 2, 1]
        chances = np.array(weights) / sum(weights)
        for _ in range(self.ops):
            name = str(self.rng.choice(names, p=chances))
            if self.mode == "Disabled" and self.done.any():
                name = "some"
            self.counts[name] += 1
            getattr(self, f"_do_{name}")()

    # ------------------------------------------------------------------ operations

    def _do_step(self) -> None:
        act = self._actions()
        before, out = self.done.copy(), self.env.step(act)
        obs, rew, term, trunc, info = out
        self._check(obs, info, rew, term, trunc)
        for i, env in self.witnesses.items():
            if self.mode == "NextStep" and before[i]:
                self._match(i, obs, info, env.reset(), (rew, term, trunc), (0.0, False, False))
                continue
            one_obs, *flags, one_info = env.step(act[i])
            if self.mode == "SameStep" and (flags[1] or flags[2]):
                self._match_final(i, info, one_obs, one_info)
                one_obs, one_info = env.reset()
            self._match(i, obs, info, (one_obs, one_info), (rew, term, trunc), flags)
        self.done = term | trunc
        self.ended += int(self.done.sum())
        if self.mode == "SameStep":
            self.done = np.zeros(self.rows, bool)

    def _do_reset(self) -> None:
        self._reset(everyone=True, seeded=bool(self.rng.random() < 0.5))

    def _do_some(self) -> None:
        self._reset(everyone=False, seeded=bool(self.rng.random() < 0.5))

    def _reset(self, everyone: bool, seeded: bool) -> None:
        mask = np.ones(self.rows, bool) if everyone else self.done | (self.rng.random(self.rows) < 0.3)
        mask[int(self.rng.integers(self.rows))] = True
        seed = int(self.rng.integers(2**62)) if seeded else None
        options = self._options()
        vector = options if everyone else {**options, "reset_mask": mask}
        obs, info = self.env.reset(seed=seed, options=vector)
        self._check(obs, info, mask=mask)
        for i, env in self.witnesses.items():
            if mask[i]:
                one = env.reset(seed=None if seed is None else seed + i, options=self._option_of(options, i))
                self._match(i, obs, info, one)
        self.done = self.done & ~mask

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.kept is not None and not self.kept.done.any() and self.rng.random() < 0.3:
            return {"snapshot": self.kept}
        if self.rng.random() < 0.5:
            many = self.rng.integers(0, len(self.env.unwrapped.dream.world.starts), self.rows)
            options["start"] = ["real", "mid", int(many[0]), many][int(self.rng.integers(4))]
        if self.rng.random() < 0.3:
            options["temperature"] = float(self.rng.uniform(0.5, 2))
        if self.rng.random() < 0.3:
            options["dropout"] = bool(self.rng.random() < 0.5)
        return options

    def _option_of(self, options: dict[str, Any], i: int) -> dict[str, Any]:
        """What a single environment is told where row i of the vector is told `options`."""
        own = dict(options)
        if isinstance(own.get("start"), np.ndarray):
            own["start"] = int(own["start"][i])
        if "snapshot" in own:
            own["snapshot"] = own["snapshot"].rows([i])
        return own

    def _do_keep(self) -> None:
        self.kept = self.env.unwrapped.snapshot()
        for i, env in self.witnesses.items():
            expect(_same_rollout(self.kept.rows([i]), env.snapshot()), f"the snapshot of row {i} differs")

    def _do_back(self) -> None:
        if self.kept is None:
            return self._do_keep()
        obs, info = self.env.unwrapped.restore(self.kept)
        self._check(obs, info)
        for i, env in self.witnesses.items():
            self._match(i, obs, info, env.restore(self.kept.rows([i])))
        self.done = self.kept.done.copy()
        return None

    def _do_copy(self) -> None:
        import pickle

        self.env = pickle.loads(pickle.dumps(self.env))
        self.witnesses = {i: pickle.loads(pickle.dumps(env)) for i, env in self.witnesses.items()}

    def _do_alone(self) -> None:
        """Branches do not disturb what they come from, and equal branches have equal futures."""
        if self.done.any():
            return
        before = self.env.unwrapped.snapshot()
        fans = [self.env.unwrapped.branch(2) for _ in range(2)]
        act = np.concatenate([self._actions(), self._actions()])
        one, two = (fan.step(act) for fan in fans)
        expect(all(equal(x, y) for x, y in zip(one[:4], two[:4])), "equal branches differ")
        expect(_same_rollout(before, self.env.unwrapped.snapshot()), "branching disturbed its source")
        self._hash(*one[:4])

    # ------------------------------------------------------------------ checks

    def _actions(self) -> np.ndarray:
        space = self.env.single_action_space
        if isinstance(space, gym.spaces.Discrete):
            return self.rng.integers(0, space.n, self.rows)
        return self.rng.uniform(-1, 1, (self.rows, *space.shape)).astype(np.float32)

    def _check(self, obs: np.ndarray, info: dict[str, Any], *flags: np.ndarray, mask: Any = None) -> None:
        expect(obs in self.env.observation_space, "an observation is outside its space")
        expect([key for key in info if key in INFO] == INFO, f"info has {list(info)}")
        shown = np.ones(self.rows, bool) if mask is None else mask
        expect(all(equal(info[f"_{key}"], shown) for key in INFO), "an info mask is wrong")
        expect(((info["trust"] >= 0) & (info["trust"] <= 1)).all(), "trust is outside [0, 1]")
        fresh = [obs, *flags, *(info[key] for key in INFO)]
        shared = any(np.shares_memory(x, y) for x in fresh for y in self.last)
        expect(not shared, "an array is shared between two calls")
        if flags:
            expect([x.dtype for x in flags] == [np.float64, np.bool_, np.bool_], "a dtype is wrong")
            final = info["final_info"]["elapsed"] if "final_info" in info else info["elapsed"]
            expect(not (flags[2] & (np.maximum(final, info["elapsed"]) < 2)).any(), "a first step truncated")
            expect(not (flags[1] & flags[2]).any(), "an end is both")
        self.last = fresh
        self._hash(*fresh)

    def _match(self, i: int, obs: Any, info: Any, one: tuple[Any, Any], many: Any = (), flags: Any = ()) -> None:
        expect(equal(obs[i], one[0]), f"the observation of row {i} differs")
        expect({key: info[key][i].item() for key in INFO} == one[1], f"the info of row {i} differs")
        expect([x[i].item() for x in many] == list(flags), f"the reward or flags of row {i} differ")

    def _match_final(self, i: int, info: dict[str, Any], obs: np.ndarray, own: dict[str, Any]) -> None:
        expect(
            info["_final_obs"][i] and equal(info["final_obs"][i], obs),
            f"the last observation of row {i} differs",
        )
        final = {key: info["final_info"][key][i].item() for key in INFO}
        expect(final == own, f"the last info of row {i} differs")

    def _hash(self, *arrays: np.ndarray) -> None:
        for array in arrays:
            self.digest.update(np.ascontiguousarray(array).tobytes())


def _same_rollout(a: Any, b: Any) -> bool:
    arrays = ("seed", "episode", "elapsed", "returns", "confidence", "done")
    one, two = a.state.to_dict(), b.state.to_dict()
    return all(equal(getattr(a, x), getattr(b, x)) for x in arrays) and all(equal(one[x], two[x]) for x in one)


def fuzz(world: str | None, episodes: int, ops: int, seed: int) -> dict[str, Any]:
    """Runs sessions of 1, 7 and 64 rows, a third of the episodes each; violations are gathered."""
    report: dict[str, Any] = {
        "episodes": {},
        "sessions": 0,
        "operations": Counter(),
        "violations": [],
        "digests": [],
    }
    for rows in SIZES:
        ended = 0
        while ended < episodes / len(SIZES):
            session = Session(seed + report["sessions"], world, rows, ops)
            try:
                session.run()
            except Exception as fault:  # every fault is a violation, and the next session goes on
                report["violations"].append(f"{rows} rows, seed {session.seed}: {type(fault).__name__}: {fault}")
            ended += max(session.ended, 1)
            report["sessions"] += 1
            report["operations"] += session.counts
            report["digests"].append(session.digest.hexdigest())
        report["episodes"][str(rows)] = ended
    return report


def on_threads(threads: int, arguments: list[str]) -> dict[str, Any]:
    """The report of a process that has so many threads, and as many processors."""
    if hasattr(os, "sched_getaffinity"):
        cpus = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cpus[:threads])
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--worker", *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    if hasattr(os, "sched_getaffinity"):
        os.sched_setaffinity(0, cpus)
    return json.loads(done.stdout)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", help="a world folder; the shipped CarRacing unless given")
    parser.add_argument("--episodes", type=int, default=2000, help="episodes that end, at least")
    parser.add_argument("--ops", type=int, default=40, help="operations a session")
    parser.add_argument("--seed", type=int, default=0, help="of the first session")
    parser.add_argument("--out", type=Path, default=Path("results/fuzz.json"))
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(fuzz(given.world, given.episodes, given.ops, given.seed)))
        return 0
    return report(given)


def report(given: argparse.Namespace) -> int:
    """Fuzzes on one thread and on two, compares, and writes what was found."""
    from gensim.core.circumstances import circumstances, tell
    from gensim.core.files import write_json

    tell(["scripts/fuzz", *sys.argv[1:]])
    began = time.perf_counter()
    arguments = ["--episodes", str(given.episodes), "--ops", str(given.ops), "--seed", str(given.seed)]
    arguments += ["--world", given.world] if given.world else []
    one, two = (on_threads(threads, arguments) for threads in (1, 2))
    differ = sum(x != y for x, y in zip(one["digests"], two["digests"])) + abs(one["sessions"] - two["sessions"])
    found = [*one["violations"], *two["violations"]]
    result = {
        "episodes": sum(one["episodes"].values()),
        "episodes_by_num_envs": one["episodes"],
        "sessions": one["sessions"],
        "operations": one["operations"],
        "violations": found,
        "sessions_that_differ_between_one_thread_and_two": differ,
        "digest": hashlib.sha256("".join(one["digests"]).encode()).hexdigest(),
        "world": world_hash(given.world),
        "seeds": [given.seed, given.seed + one["sessions"] - 1],
        "seconds": round(time.perf_counter() - began, 1),
        **circumstances(),
    }
    write_json(given.out, result)
    print(json.dumps(result, indent=2))
    return int(bool(found) or differ > 0)


def world_hash(world: str | None) -> str:
    """The sha256 of the weights."""
    from gensim.envs.engine import load_world
    from gensim.envs.registry import folder_of

    return load_world(folder_of(world or "gensim:carracing")).hash


if __name__ == "__main__":
    sys.exit(main())
