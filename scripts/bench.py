"""Speed of the dream against the simulator that it imitates, side by side on the same cores; writes JSON.

Each round times every lane once, forwards and backwards in turn, so that whatever else the machine does
hits all lanes alike. A ratio is paired: both of its sides come from one round, and its real side is the
faster of gymnasium's AsyncVectorEnv and plain processes in that round. Steps in which an episode is opened
anew are left out on both sides. A figure is the median over rounds, and its interval is that of order
statistics which covers the median with at least 95 % (with fewer than 6 rounds it is their range).
"""

from __future__ import annotations

import json
import math
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import tyro

from gensim.core.circumstances import circumstances, cores, tell
from gensim.core.files import write_json
from gensim.envs.registry import folder_of

REAL = "CarRacing-v3"
TAPE = 512  # actions are drawn before anything is timed, and played in a loop
GEMM = 1536  # side of the square matrices
Lane = Callable[[float], Any]  # takes seconds to run for, returns what it measured


@dataclass(frozen=True)
class Bench:
    """Compare the dream with the simulator on the machine at hand."""

    rounds: int = 10
    """Times that every lane runs; the median counts."""
    seconds: float = 1.5
    """Seconds of a lane in a round."""
    world: Path | None = None
    """World folder; the shipped CarRacing unless given."""
    seed: int = 0
    """Of the actions and the episodes."""
    imports: int = 10
    """Fresh interpreters that import gensim."""
    out: Path = Path("results/bench.json")
    """Where the result goes."""

    @property
    def dream(self) -> tuple[str, dict[str, str]]:
        """The id and the arguments of the dream."""
        if self.world is None:
            return "gensim/CarRacing-v0", {}
        return "gensim/World-v0", {"world": str(self.world)}

    @property
    def folder(self) -> Path:
        """Where the world lies."""
        return folder_of(self.world or "gensim:carracing")


def main(bench: Bench) -> None:
    """Measures, writes the result and prints it as a table."""
    with ExitStack() as stack:
        lanes = {name: stack.enter_context(lane) for name, lane in entrants(bench).items()}
        rounds = race(lanes, bench)
    result = report(bench, rounds)
    write_json(bench.out, result)
    print(table(result["figures"]))
    print(f"\nwritten to {bench.out}")


def race(lanes: dict[str, Lane], bench: Bench) -> list[dict[str, Any]]:
    """What each lane measured in each round; a short round before them warms up and is thrown away."""
    rounds = []
    for turn in range(bench.rounds + 1):
        print(f"round {turn} of {bench.rounds}", file=sys.stderr)
        order = list(lanes) if turn % 2 else list(reversed(lanes))
        seconds = bench.seconds if turn else min(0.3, bench.seconds)
        rounds.append({name: lanes[name](seconds) for name in order})
    return rounds[1:]


# ---------------------------------------------------------------------- lanes


def entrants(bench: Bench) -> dict[str, AbstractContextManager[Lane]]:
    """The lanes by name; each makes what it needs when it is entered."""
    return {
        "real_async": asynchronous(bench.seed),
        "real_processes": processes(bench.seed),
        "frames_64": dreams(bench, 64, "frames"),
        "latents_64": dreams(bench, 64, "latents"),
        "latents_128": dreams(bench, 128, "latents"),
        "alone": alone(bench),
        "gemm_bfloat16": matrices("bfloat16"),
        "gemm_float32": matrices("float32"),
    }


@contextmanager
def asynchronous(seed: int) -> Iterator[Lane]:
    """The simulator in gymnasium's AsyncVectorEnv, one process a core: steps a second, all rows counted."""
    make = partial(gym.make, REAL, disable_env_checker=True)
    env = gym.vector.AsyncVectorEnv([make] * cores(), context="spawn")
    yield rate(vector_steps(env, pedals(driving(cores(), seed)), seed), cores())
    env.close()


@contextmanager
def processes(seed: int) -> Iterator[Lane]:
    """The simulator in unconnected processes, one a core: the sum of their steps a second."""
    context = multiprocessing.get_context("spawn")
    links = []
    for row in range(cores()):
        here, there = context.Pipe()
        context.Process(target=simulate, args=(there, seed + row), daemon=True).start()
        there.close()
        links.append(here)

    def run(seconds: float) -> float:
        for link in links:
            link.send(seconds)
        return sum(link.recv() for link in links)

    yield run
    for link in links:
        link.close()


def simulate(link: Connection, seed: int) -> None:
    """One of the processes: answers each number of seconds with its steps a second, until the link closes."""
    env = gym.make(REAL, disable_env_checker=True)
    run = rate(single_steps(env, pedals(driving(1, seed))[:, 0], seed), 1)
    try:
        while True:
            link.send(run(link.recv()))
    except EOFError:
        env.close()


@contextmanager
def dreams(bench: Bench, rows: int, observation: str) -> Iterator[Lane]:
    """Dreams in one vector environment: steps a second, all rows counted."""
    id_, kwargs = bench.dream
    env: Any = gym.make_vec(id_, num_envs=rows, observation=observation, **kwargs)
    yield rate(vector_steps(env, driving(rows, bench.seed), bench.seed), rows)
    env.close()


@contextmanager
def alone(bench: Bench) -> Iterator[Lane]:
    """One dream by itself: the seconds of every step, frame included."""
    id_, kwargs = bench.dream
    env = gym.make(id_, **kwargs)
    steps = single_steps(env, driving(1, bench.seed)[:, 0], bench.seed)
    yield partial(timed, steps)
    env.close()


@contextmanager
def matrices(kind: str) -> Iterator[Lane]:
    """The best GFLOP/s of a large matrix product on all cores."""
    import torch

    a, b = torch.randn(2, GEMM, GEMM).to(getattr(torch, kind))

    def products() -> Iterator[float]:
        while True:
            began = time.perf_counter()
            torch.mm(a, b)
            yield time.perf_counter() - began

    def run(seconds: float) -> float:
        torch.set_num_threads(cores())  # also where a dream has just computed on one
        return 2 * GEMM**3 / min(timed(products(), seconds / 3)) / 1e9

    yield run


def vector_steps(env: Any, actions: np.ndarray, seed: int) -> Iterator[float]:
    """Seconds of a vector environment's steps under actions (t, rows, k), of those that open no row anew."""
    env.reset(seed=seed)
    ended = False
    for act in cycle(actions):
        began = time.perf_counter()
        _, _, term, trunc, _ = env.step(act)
        took = time.perf_counter() - began
        if not ended:
            yield took
        ended = bool((term | trunc).any())


def single_steps(env: gym.Env, actions: np.ndarray, seed: int) -> Iterator[float]:
    """Seconds of each step of an environment under actions (t, k); resets are not timed."""
    env.reset(seed=seed)
    for act in cycle(actions):
        began = time.perf_counter()
        _, _, term, trunc, _ = env.step(act)
        yield time.perf_counter() - began
        if term or trunc:
            env.reset()


def timed(steps: Iterator[float], seconds: float) -> list[float]:
    """The durations that come within so many seconds, at least one."""
    stop, seen = time.perf_counter() + seconds, [next(steps)]
    while time.perf_counter() < stop:
        seen.append(next(steps))
    return seen


def rate(steps: Iterator[float], rows: int) -> Lane:
    """A lane that measures rows times steps a second."""
    return lambda seconds: rows / statistics.fmean(timed(steps, seconds))


def driving(rows: int, seed: int) -> np.ndarray:
    """Random driving with a memory, (TAPE, rows, 2) float32 in -1..1: (steer, pedal)."""
    noise = np.random.default_rng(seed).normal(0, 0.25, (TAPE, rows, 2))
    for step in range(1, TAPE):
        noise[step] += 0.9 * noise[step - 1]
    return np.clip(noise, -1, 1).astype(np.float32)


def pedals(actions: np.ndarray) -> np.ndarray:
    """The same driving as the simulator takes it, (TAPE, rows, 3): (steer, gas, brake)."""
    steer, pedal = actions[..., 0], actions[..., 1]
    return np.stack([steer, np.maximum(pedal, 0), np.maximum(-pedal, 0)], -1)


# ---------------------------------------------------------------------- what needs no rounds


def import_seconds(runs: int) -> list[float]:
    """Seconds of `import gensim` in fresh interpreters, after one that warms the disk."""
    code = "import time; t = time.perf_counter(); import gensim; print(time.perf_counter() - t)"
    return [float(fresh(code)) for _ in range(runs + 1)][1:]


def memory(bench: Bench) -> dict[str, float]:
    """MB that a fresh process with 64 dreams has above the same process right after `import torch`."""
    id_, kwargs = bench.dream
    return json.loads(
        fresh(f"""
import json, torch
def held():
    keep = {{"Rss", "Pss", "VmHWM", "VmRSS"}}
    lines = [*open("/proc/self/smaps_rollup"), *open("/proc/self/status")]
    rows = [line.replace(":", "").split() for line in lines]
    return {{row[0]: int(row[1]) / 1024 for row in rows if row[0] in keep}}
before = held()
import gymnasium, gensim
env = gymnasium.make_vec({id_!r}, num_envs=64, **{kwargs!r})
env.reset(seed=0)
env.action_space.seed(0)
for _ in range(30):
    env.step(env.action_space.sample())
after = held()
above = {{"rss": "Rss", "pss": "Pss"}}
print(json.dumps({{name: after[key] - before[key] for name, key in above.items()}}
    | {{"peak": after["VmHWM"] - before["VmRSS"], "torch_rss": before["Rss"]}}))""")
    )


def flops(bench: Bench) -> tuple[dict[str, float], str]:
    """Floating-point operations of a row's latent step and of its frame, and the type of their numbers."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from gensim.envs.engine import load_world

    world, rows = load_world(bench.folder), 16
    state = world.start(np.arange(rows, dtype=np.uint64))
    act, draws = torch.zeros(rows, world.action_dim), torch.rand(rows, world.config.groups, dtype=torch.float64)
    with FlopCounterMode(display=False) as step:
        world.fast.dream(state.h, state.z, state.tally, state.cond, act, state.mask, draws, draws[:, 0])
    with FlopCounterMode(display=False) as frame:
        world.fast.paint(state.z)
    counted = {"step": step.get_total_flops() / rows, "frame": frame.get_total_flops() / rows}
    return counted, str(world.dtype).removeprefix("torch.")


def fresh(code: str) -> str:
    """What code prints in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout


# ---------------------------------------------------------------------- the report


def report(bench: Bench, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures with their intervals, and all that is needed to make them again."""
    from gensim.envs.engine import load_world

    counted, kind = flops(bench)
    seconds, above = import_seconds(bench.imports), memory(bench)
    figures = {**speeds(rounds), **latencies([r["alone"] for r in rounds]), **shares(rounds, counted, kind)}
    figures["import_seconds"] = figure(seconds, "s", below=0.3)
    figures["memory_64_rows_rss"] = figure([above["rss"]], "MB", below=1000)
    figures["memory_64_rows_peak"] = figure([above["peak"]], "MB", below=1000)
    kept = [{name: value for name, value in r.items() if name != "alone"} for r in rounds]
    return {
        "figures": figures,
        "rounds": [{name: round(value, 2) for name, value in r.items()} for r in kept],
        "memory_mb": {name: round(value, 1) for name, value in above.items()},
        "flops_a_row": counted,
        "computed_in": kind,
        "world": load_world(bench.folder).hash,
        "seed": bench.seed,
        **circumstances(),
    }


def speeds(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Steps a second of both sides, and their paired ratios."""
    real = [max(r["real_async"], r["real_processes"]) for r in rounds]
    lanes = ("real_async", "real_processes", "frames_64", "latents_64", "latents_128")
    figures = {name: figure([r[name] for r in rounds], "steps/s") for name in lanes}
    for name, bar in (("frames_64", 10), ("latents_64", 25), ("latents_128", 25)):
        paired = [r[name] / other for r, other in zip(rounds, real)]
        figures[f"{name}_over_real"] = figure(paired, "times", above=bar)
    return figures


def latencies(rounds: list[list[float]]) -> dict[str, Any]:
    """One dream alone: frames a second; median and 99th percentile of the steps of all rounds together."""
    every = np.concatenate(rounds)
    figures = {"alone_frames": figure([1 / statistics.fmean(r) for r in rounds], "frames/s", above=60)}
    for percent, bar in ((50, None), (99, 16.0)):
        spread = figure([1e3 * float(np.percentile(r, percent)) for r in rounds], "ms", below=bar)
        pooled = round(1e3 * float(np.percentile(every, percent)), 3)
        met = {} if bar is None else {"met": pooled < bar}
        figures[f"alone_p{percent}"] = spread | {"value": pooled, "steps": len(every)} | met
    return figures


def shares(rounds: list[dict[str, Any]], counted: dict[str, float], kind: str) -> dict[str, Any]:
    """The machine's matrix peak, and what part of it the dream's own operations come to, round by round."""
    peaks = ("gemm_bfloat16", "gemm_float32")
    figures = {name: figure([r[name] for r in rounds], "GFLOP/s") for name in peaks}
    step, frame = counted["step"], counted["step"] + counted["frame"]
    for name, cost in {"latents_64": step, "latents_128": step, "frames_64": frame}.items():
        used = [100 * r[name] * cost / 1e9 / r[f"gemm_{kind}"] for r in rounds]
        figures[f"{name}_share_of_peak"] = figure(used, "%")
    return figures


def figure(values: list[float], unit: str, above: float | None = None, below: float | None = None) -> dict[str, Any]:
    """The median of some values with its interval and, where there is a bar, whether it is met."""
    value, spread = statistics.median(values), [round(end, 3) for end in interval(values)]
    found: dict[str, Any] = {"value": round(value, 3), "interval": spread, "unit": unit}
    if above is not None:
        found |= {"bar": f">= {above:g}", "met": value >= above}
    if below is not None:
        found |= {"bar": f"< {below:g}", "met": value < below}
    return found | {"n": len(values)}


def interval(values: list[float]) -> tuple[float, float]:
    """The innermost pair of order statistics that holds the median with at least 95 %, or the range."""
    ordered, n, inside, missed = sorted(values), len(values), 0, 1.0
    while 2 * (missed + math.comb(n, inside + 1)) / 2**n <= 0.05:
        inside += 1
        missed += math.comb(n, inside)
    return ordered[inside], ordered[-1 - inside]


def table(figures: dict[str, Any]) -> str:
    """The figures, one a line."""
    lines = [f"{'figure':<28} {'value':>10} {'95 % interval':>21}  {'unit':<9} bar"]
    for name, found in figures.items():
        low, high = found["interval"]
        bar = f"{found['bar']} {'met' if found['met'] else 'MISSED'}" if "bar" in found else ""
        spread = f"{low:,.4g} to {high:,.4g}"
        lines.append(f"{name:<28} {found['value']:>10,.4g} {spread:>21}  {found['unit']:<9} {bar}")
    return "\n".join(lines)


if __name__ == "__main__":
    tell(["scripts/bench", *sys.argv[1:]])
    main(tyro.cli(Bench, description=__doc__))
