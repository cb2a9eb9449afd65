"""Kills and mutations: what was recorded stays, every run goes on, and a file that is not as it was is refused.

Kills: record, fit, learn and loop are killed, all their processes at once, at random moments, some times in a row.
After each kill every finished file must be whole and every episode what it was; in the end the run must come to
the result of one that nobody disturbed. Mutations: see mutants.py; each is read as gensim reads it, in a process of
bounded memory, and must be refused in one line, or read as what it was. Writes results/faults.json; exits 1 on any
violation.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "tests")]

from mutants import Mutant, for_file  # noqa: E402

ENV_ID = "simulators:test/Counting-v0"
CHAIN = 3  # kills of one run, in a row
SECONDS = 20.0  # of processor time in which a file must be read or refused
MEMORY = 3 << 30  # bytes that a file may make its reader take
RECORD = f"record {ENV_ID} --size 32 --frames 400 --out data --env-kwargs pause 0.002 --json --processes"
FIT = "fit data --out world --steps 30 --hidden 32 --batch 2 --length 8 --decoded 2 --save-every 0 --holdout 0.2 --json"
LEARN = (
    "learn world --out agent --steps 640 --rows 4 --n-steps 8 --batch 16 --epochs 1 --horizon 10 --net 16 "
    "--save-every 0 --threads 1 --json"
)
LOOP = (
    f"loop {ENV_ID} --out loop --real-frames 600 --first 150 --rounds 1 --first-steps 8 --processes 1 --json "
    "--choose 2 --finalists 2 --longest 75 "
    "--fit-steps 8 8 --learn-steps 320 320 --fit batch 2 length 8 decoded 2 hidden 32 holdout 0.2 "
    "--learn rows 4 n_steps 8 batch 16 epochs 1 horizon 10 net [16]"
)


# ---------------------------------------------------------------------- kills


@dataclass(frozen=True)
class Stage:
    """A verb that is killed.

    Arguments:
        name: what it is called.
        command: of gensim, in a folder of its own.
        needs: folders that earlier stages made.
        result: files that must be equal, byte for byte, to those of an undisturbed run.
        least: files that must be there in the end.
    """

    name: str
    command: str
    needs: tuple[str, ...] = ()
    result: tuple[str, ...] = ()
    least: tuple[str, ...] = ()


STAGES = (
    Stage("record", f"{RECORD} 1", result=("data/*.npz", "data/*.json")),
    Stage("record in two processes", f"{RECORD} 2", least=("data/data.json", "data/meter.json")),
    Stage("fit", FIT, ("data",), ("world/world.safetensors", "world/starts.npz")),
    Stage("learn", LEARN, ("world",), ("agent/policy.safetensors",)),
    Stage(
        "loop",
        LOOP,
        result=("loop/data/*.npz", "loop/data/*.json", "loop/round-*/*/*.safetensors", "loop/round-*/chosen.json"),
        least=("loop/loop.json",),
    ),
)


@dataclass
class Tally:
    """What was seen, and what should not have been."""

    kills: Counter = field(default_factory=Counter)
    survived: int = 0
    violations: list[str] = field(default_factory=list)


def kills(folder: Path, n: int, seed: int, stages: tuple[Stage, ...] = STAGES) -> Tally:
    """Kills the stages n times in all, in turn, each run up to CHAIN times in a row."""
    rng, tally, whole = np.random.default_rng(seed), Tally(), folder / "whole"
    whole.mkdir(parents=True)
    spans = {stage.name: undisturbed(stage, whole) for stage in stages}
    run = 0
    while sum(tally.kills.values()) < n and run < 20 * n:
        stage = stages[run % len(stages)]
        left = n - sum(tally.kills.values())
        spans[stage.name] = chain(stage, folder / f"run-{run}", whole, spans[stage.name], min(CHAIN, left), rng, tally)
        run += 1
    return tally


def undisturbed(stage: Stage, whole: Path) -> float:
    """Seconds that a stage takes when nobody disturbs it."""
    began = time.monotonic()
    status = gensim(stage, whole).wait()
    if status:
        raise RuntimeError(f"{stage.name} fails undisturbed, with {status}: gensim {stage.command}")
    return time.monotonic() - began


def chain(stage: Stage, folder: Path, whole: Path, span: float, n: int, rng: Any, tally: Tally) -> float:
    """One run that is killed up to n times, goes on each time, and is held to the undisturbed one.

    Returns the seconds that a run takes now, where one ended before it was killed: machines are not always as busy.
    """
    folder.mkdir()
    for name in stage.needs:
        shutil.copytree(whole / name, folder / name)
    kept: dict[str, str] = {}
    for i in range(n):
        began = time.monotonic()
        done = not killed(stage, folder, float(rng.uniform(0, span)))
        tally.survived += done
        tally.kills[stage.name] += not done
        kept = settle(stage, folder, kept, tally)
        if done:
            span = span if i else time.monotonic() - began
            break
    status = gensim(stage, folder).wait()
    tally.violations += [f"{stage.name}: does not go on after a kill: {status}"] if status else []
    settle(stage, folder, kept, tally)
    tally.violations += [f"{stage.name}: {what}" for what in differences(stage, folder, whole)]
    shutil.rmtree(folder)
    return span


def gensim(stage: Stage, folder: Path) -> subprocess.Popen:
    """The stage, begun in a process group of its own."""
    places = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": places, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", "gensim", *stage.command.split()]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)


def killed(stage: Stage, folder: Path, after: float) -> bool:
    """Whether the run was still going when it was killed, all its processes at once."""
    process = gensim(stage, folder)
    try:
        process.wait(after)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def settle(stage: Stage, folder: Path, kept: dict[str, str], tally: Tally) -> dict[str, str]:
    """Checks that every file is whole and every episode what it was; returns the episodes' digests."""
    now = {str(path.relative_to(folder)): digest(path) for path in sorted(folder.rglob("ep-*.npz"))}
    lost = [name for name in kept if now.get(name) != kept[name]]
    tally.violations += [f"{stage.name}: {name} was changed or lost" for name in lost]
    tally.violations += [f"{stage.name}: {path.name} is half a file: {fault}" for path, fault in halves(folder)]
    return now


def halves(folder: Path) -> Iterator[tuple[Path, str]]:
    """Files that cannot be read. Temporary ones, whose names begin with a dot, are nobody's."""
    from gensim.core.files import load_tensors, read_json
    from gensim.episodes import Dataset, read_episode

    readers: dict[str, Callable[[Path], Any]] = {".json": read_json, ".safetensors": load_tensors, ".npz": np.load}
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        read = read_episode if path.match("ep-*.npz") else readers.get(path.suffix)
        try:
            if read is not None:
                read(path)
            if path.name == "data.json":
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    Dataset(path.parent).meter()
        except Exception as fault:  # half a file fails in as many ways as it can be cut
            yield path, str(fault)


def differences(stage: Stage, folder: Path, whole: Path) -> Iterator[str]:
    """In what a run that was killed came to something else than one that was not."""
    for pattern in stage.result:
        there, here = (
            {str(path.relative_to(place)): digest(path) for path in place.glob(pattern)} for place in (whole, folder)
        )
        if not there:
            yield f"an undisturbed run leaves no {pattern}"
        if there != here:
            yield f"{pattern} differs from an undisturbed run in {sorted(dict(there.items() ^ here.items()))}"
    yield from (f"{name} is not there in the end" for name in stage.least if not (folder / name).is_file())
    same = {path.name: digest(path) for path in whole.glob("data/ep-*.npz")}
    for path in folder.glob("data/ep-*.npz"):
        if same.get(path.name, digest(path)) != digest(path):
            yield f"{path.name} is another episode than an undisturbed run recorded"


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------------- mutations


@dataclass(frozen=True)
class Target:
    """A folder that is mutated, and the folder beside it that must come along.

    Arguments:
        name: what it is called.
        folder: of the world or of the agent.
        beside: the world of an agent, as it is called where the agent looks for it.
    """

    name: str
    folder: Path
    beside: dict[str, Path] = field(default_factory=dict)

    @property
    def files(self) -> list[str]:
        """The files that gensim reads."""
        known = ["world.json", "world.safetensors", "starts.npz", "heldout.npz", "gap.json"]
        names = [*known, "agent.json", "policy.safetensors"]
        return [name for name in names if (self.folder / name).is_file()]


def read(folder: Path, name: str) -> str:
    """A digest of what gensim makes of a file; ValueError or FileNotFoundError when it refuses it."""
    if name == "heldout.npz":
        from gensim.world.heldout import Heldout

        heldout = Heldout.load(folder / name)
        return _digest(heldout.frames, heldout.inputs, heldout.rew, heldout.past)
    if name == "gap.json":
        from gensim.commands.worlds import describe

        return json.dumps(describe("world", folder)["gap"])
    return _acted(folder) if name in ("agent.json", "policy.safetensors") else _dreamed(folder)


def _dreamed(folder: Path) -> str:
    from gensim.world import World

    world = World.load(folder)
    state, parts = world.start(np.arange(3, dtype=np.uint64)), []
    for start in ("real", "mid"):
        state = world.start(np.arange(3, dtype=np.uint64), start)
        for _ in range(2):
            state, step = world.imagine(state, np.zeros((3, world.action_dim), np.float32))
            parts += [step.rew, step.log_p, step.trust]
    about = {name: value for name, value in world.spec.items() if name != "fit_seconds"}
    return _digest(*parts, world.decode(state)) + json.dumps(about, sort_keys=True)


def _acted(folder: Path) -> str:
    from gensim.agents import load

    agent = load(folder)
    rng, shape = np.random.default_rng(0), agent.config.shape
    if agent.config.observation == "latents":
        obs = rng.normal(size=(3, *shape)).astype(np.float32)
    else:
        obs = rng.integers(0, 256, (3, *shape[:2], 3), np.uint8)
    agent.reset(3)
    return _digest(agent.act(obs), agent.act(obs)) + agent.config.settings


def _digest(*arrays: np.ndarray) -> str:
    told = hashlib.sha256()
    for array in arrays:
        told.update(np.ascontiguousarray(array).tobytes())
    return told.hexdigest()


def _link(file: Any, to: str) -> None:
    """A second name for a file, which no mutant writes to, or a copy where that cannot be."""
    try:
        os.link(file, to)
    except OSError:
        shutil.copy(file, to)


class Late(BaseException):
    """A file took too long."""


@dataclass
class Jury:
    """Mutates copies of a target's files, has them read, and judges what came of it.

    Arguments:
        targets: what is mutated.
        scratch: a folder for the copies.
    """

    targets: list[Target]
    scratch: Path
    outcomes: Counter = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    unpickled: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.truth = {(t.name, file): read(t.folder, file) for t in self.targets for file in t.files}
        self.pairs = [(t, file, mutant) for t in self.targets for file in t.files for mutant in for_file(file)]

    def some(self, n: int, seed: int) -> list[tuple[int, tuple[Target, str, Mutant]]]:
        """n mutants with seeds of their own: all files take turns, and each file's in random order, over and over."""
        rng, names = np.random.default_rng(seed), sorted({file for _, file, _ in self.pairs})
        queues: dict[str, list[Any]] = {name: [] for name in names}
        chosen = []
        for i in range(n):
            queue = queues[name := names[i % len(names)]]
            if not queue:
                mine = [pair for pair in self.pairs if pair[1] == name]
                queue += [mine[k] for k in rng.permutation(len(mine))]
            chosen.append((seed * 1_000_000 + i, queue.pop()))
        return chosen

    def judge(self, seed: int, target: Target, file: str, mutant: Mutant) -> str:
        """One mutant: "refused", "equal", or what is wrong."""
        case, canary = self.scratch / "case", self.scratch / "case" / "canary"
        shutil.rmtree(case, ignore_errors=True)
        for name, folder in {"mutated": target.folder, **target.beside}.items():
            shutil.copytree(folder, case / name, copy_function=_link, ignore=shutil.ignore_patterns("__pycache__"))
        mutant.apply(np.random.default_rng(seed), case / "mutated" / file, str(canary))
        self.unpickled.clear()
        outcome = self._outcome(case / "mutated", target, file, mutant)
        if canary.exists() or self.unpickled:
            outcome = f"ran code: {self.unpickled}"
        self.outcomes[outcome if outcome in ("refused", "equal") else "violated"] += 1
        if outcome not in ("refused", "equal"):
            self.violations.append(f"{target.name}, {file}, {mutant.name}, seed {seed}: {outcome}")
        return outcome

    def _outcome(self, folder: Path, target: Target, file: str, mutant: Mutant) -> str:
        try:
            with _hurried():
                told = read(folder, file)
        except (ValueError, FileNotFoundError) as refusal:
            text = str(refusal)
            return "refused" if text and "\n" not in text else f"refused in other than one line: {text!r}"
        except (Exception, Late) as fault:
            return f"{type(fault).__name__}: {fault}"
        if told != self.truth[target.name, file]:
            return "read as something else"
        return "equal" if mutant.harmless else "read, though it must be refused"


@contextmanager
def _hurried() -> Iterator[None]:
    """Late when the block takes more processor time than SECONDS."""

    def late(number: int, frame: Any) -> None:
        raise Late(f"more than {SECONDS} s")

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def targets(scratch: Path, shipped: bool) -> list[Target]:
    """Small worlds and an agent made here, and all that gensim ships."""
    made = small(scratch)
    if not shipped:
        return made
    from gensim.envs.registry import shipped as worlds

    worlds_there = [Target(f"shipped {name}", folder) for name, folder in worlds().items()]
    agents = [path.parent for path in sorted((ROOT / "agents").glob("*/agent.json"))]
    return [*made, *worlds_there, *(Target(f"shipped agent {folder.name}", folder) for folder in agents)]


def small(scratch: Path) -> list[Target]:
    """A small world with held-out frames, one of choices, and an agent of the first."""
    from functools import partial

    from tiny import KINDS, SIZE, make_world

    from gensim.agents import Agent, AgentConfig
    from gensim.agents.reference import refer
    from gensim.core.files import write_json
    from gensim.envs import make_real
    from gensim.episodes import ActionSpec, Dataset
    from gensim.episodes.record import Maker, RecordConfig, record
    from gensim.world import World
    from gensim.world.heldout import Heldout

    worlds = {kind: make_world(scratch / "made" / f"world-{kind}", kind) for kind in KINDS}
    box, folder = worlds["box"], scratch / "made" / "agent"
    record(RecordConfig(out=scratch / "data", frames=60), Maker(partial(make_real, ENV_ID, SIZE)), json=True)
    Heldout.gather(Dataset(scratch / "data").episodes, 3, 8).save(box / "heldout.npz")
    write_json(box / "gap.json", {"summary": "far apart", "n": 3})
    world = World.load(box)
    config = AgentConfig("latents", (world.latent_dim,), ActionSpec("box", 2), net=(16, 16), world=refer(world, folder))
    Agent.new(config).save(folder)
    made = [Target(f"small world, {kind}", place) for kind, place in worlds.items()]
    return [*made, Target("small agent", folder, {box.name: box})]


def work(n: int, seed: int, shipped: bool) -> dict[str, Any]:
    """What n mutants came to, in this process, whose memory is bounded from now on."""
    with tempfile.TemporaryDirectory() as folder:
        jury = Jury(targets(Path(folder), shipped), Path(folder))
        sys.addaudithook(lambda event, args: _heard(jury, event, args))
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, resource.RLIM_INFINITY))
        files: Counter = Counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for key, (target, file, mutant) in jury.some(n, seed):
                jury.judge(key, target, file, mutant)
                files[file] += 1
    return {
        "mutants": n,
        "kinds": len({(file, mutant.name) for _, file, mutant in jury.pairs}),
        "files": dict(sorted(files.items())),
        "refused": jury.outcomes["refused"],
        "equal": jury.outcomes["equal"],
        "targets": [target.name for target in jury.targets],
        "violations": jury.violations,
    }


def _heard(jury: Jury, event: str, args: Any) -> None:
    """Notes what only run code does: unpickling what has a name, and beginning processes."""
    if event in ("pickle.find_class", "os.system", "subprocess.Popen", "os.exec", "os.posix_spawn"):
        jury.unpickled.append(f"{event} {args[:2]}")


# ---------------------------------------------------------------------- the report


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=50, help="in all, over record, fit, learn and loop")
    parser.add_argument("--mutants", type=int, default=1000, help="mutated files")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of the mutants")
    parser.add_argument("--small", action="store_true", help="leave out what gensim ships")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "faults.json")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        print(json.dumps(work(given.mutants, given.seed, not given.small)))
        return 0
    return report(given)


def mutations(n: int, seed: int, small: bool) -> dict[str, Any]:
    """The same as `work`, in a process of its own."""
    command = [sys.executable, __file__, "--worker", "--mutants", str(n), "--seed", str(seed)]
    done = subprocess.run([*command, *(["--small"] if small else [])], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def report(given: argparse.Namespace) -> int:
    """Kills, mutates, and writes what was found."""
    from gensim.core.circumstances import circumstances, tell
    from gensim.core.files import write_json

    tell(["scripts/faults", *sys.argv[1:]])
    began = time.perf_counter()
    mutated = mutations(given.mutants, given.seed, given.small) if given.mutants else {"violations": []}
    with tempfile.TemporaryDirectory() as folder:
        tally = kills(Path(folder), given.kills, given.seed) if given.kills else Tally()
    result = {
        "kills": {"all": sum(tally.kills.values()), **tally.kills, "ended before their kill": tally.survived},
        "mutations": {name: value for name, value in mutated.items() if name != "violations"},
        "violations": [*tally.violations, *mutated["violations"]],
        "seed": given.seed,
        "seconds": round(time.perf_counter() - began, 1),
        **circumstances(),
    }
    write_json(given.out, result)
    print(json.dumps(result, indent=2))
    return int(bool(result["violations"]))


if __name__ == "__main__":
    sys.exit(main())
