"""gensim rare: how probable is failure, which one is the likeliest, and what does it look like?"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

import tyro

from gensim.rare.bench import BenchConfig

if TYPE_CHECKING:
    from gensim.rare.cases import Case
    from gensim.rare.dreams import Dreams
    from gensim.rare.export import Picture

COLUMNS = 8  # of a picture of a case


@dataclass(frozen=True)
class Estimate:
    """Estimate how probable an event is in a world's dreams under an agent; run again after a stop to go on."""

    world: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WORLD")]
    """Id or folder of a world."""
    agent: Path
    """Folder of the agent that acts."""
    event: str
    """Name of one of the world's events, or MODULE:NAME of a gensim.envs.events.Event of your own."""
    out: Path = Path("rare")
    """Folder of rounds, cases and the estimate."""
    rounds: int = 1
    """Rounds, each of so many replicates."""
    many: int = 200
    """Dreams of a replicate at first."""
    replicates: int = 10
    """Independent estimates of a round, of whose differences the interval is made."""
    share: float = 0.1
    """Share of the dreams that are branched anew at a level."""
    horizon: int | None = None
    """Steps of a dream; None takes the world's own."""
    temperature: float = 1.0
    """Above 1, dreams are wilder, and weighed for it."""
    seed: int = 0
    """Of everything."""
    cases: int = 8
    """Failures of each round that are kept as files."""
    json: bool = False
    """Print one JSON object and no progress."""


@dataclass(frozen=True)
class Replay:
    """Dream a case again, byte for byte."""

    case: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CASE")]
    """File that `gensim rare` wrote."""
    picture: Path | None = None
    """A PNG to write, of its frames in order."""
    video: Path | None = None
    """An MP4 to write."""
    minimal: Path | None = None
    """Case to write with the fewest steps left to chance that it still fails with; it is what is shown then."""
    avoid: int | None = None
    """So many steps before the end, try other actions under the same luck."""
    real: bool = False
    """Try the same start in the simulator, under the case's actions and under the agent."""
    json: bool = False
    """Print one JSON object."""


@dataclass(frozen=True)
class Export:
    """Write the frames of cases as a data set, with boxes of what is in them; for worlds with labels."""

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Folder of cases that `gensim rare estimate` wrote."""
    out: Path
    """Folder of the data set."""
    format: str = "coco"
    """coco, kitti or yolo."""
    every: int = 5
    """Steps between two frames of a case, counted back from its last."""
    json: bool = False
    """Print one JSON object and no progress."""


@dataclass(frozen=True)
class Bench(BenchConfig):
    """Hold the estimator against known answers, beside OpenTURNS' where that is there."""

    json: bool = False
    """Print one JSON object and no progress."""


Action = Union[  # noqa: UP007
    Annotated[Estimate, tyro.conf.subcommand("estimate")],
    Annotated[Replay, tyro.conf.subcommand("replay")],
    Annotated[Export, tyro.conf.subcommand("export")],
    Annotated[Bench, tyro.conf.subcommand("bench")],
]


@dataclass(frozen=True)
class Rare:
    """Rare events of dreams: how probable they are, and cases of them."""

    action: tyro.conf.OmitSubcommandPrefixes[Action]
    """What to do."""


def run(options: Rare) -> int:
    """Estimates or replays, and prints what came of it."""
    verbs: dict[type, Callable[[Any], int]] = {Estimate: _estimate, Replay: _replay, Export: _export, Bench: _bench}
    return verbs[type(options.action)](options.action)


def _estimate(options: Estimate) -> int:
    from gensim.rare.campaign import campaign
    from gensim.rare.splitting import Splitting

    about: dict[str, Any] = {"world": options.world, "agent": str(options.agent), "event": options.event}
    about |= {"horizon": options.horizon, "temperature": options.temperature}
    dreams = _dreams(about)
    config = Splitting(options.many, options.replicates, options.share, dreams.event.grain)
    about |= {"hashes": _hashes(dreams)}
    with _Levels(options.rounds, options.json) as levels:
        told = campaign(dreams, options.out, options.rounds, options.seed, config, about, options.cases, levels.of)
    if options.json:
        print(json.dumps(told.told() | {"out": str(options.out)}))
        return 0
    print(f"{options.event}: p = {told.p:.3g} ({told.low:.3g} to {told.high:.3g}), {told.calls:,} dreamed steps")
    print(f"worth {told.effective:.0f} failures by chance; largest replicate's share {told.largest:.0%}")
    for doubt in told.doubts:
        print(f"not to be believed: {doubt}")
    if told.likeliest is not None:
        print(f"{len(told.failures)} failures in {options.out / 'cases'}; the likeliest is {told.likeliest}")
    return 0


def _replay(options: Replay) -> int:
    from gensim.core.frames import mosaic, write_png
    from gensim.core.video import VideoWriter
    from gensim.rare.cases import Case, replay
    from gensim.rare.minimise import minimise

    case = Case.load(options.case)
    dreams = _dreams(case.about)
    _check(case, dreams, options.case)
    if options.minimal is not None:
        case = minimise(dreams, case)
        case.save(options.minimal)
    told = replay(dreams, case)
    if options.picture is not None:
        write_png(options.picture, mosaic(told.frames, COLUMNS))
    if options.video is not None:
        with VideoWriter(options.video, 10, told.frames.shape[1:3]) as video:
            for frame in told.frames:
                video.write(frame)
    said = {"case": str(options.case), "event": case.event, "steps": case.steps, "same": told.same}
    said |= {"severities": [round(float(one), 4) for one in told.severities], "log_p": case.log_p}
    alike = "byte for byte as it was found" if told.same else "not as it was found: another kind of processor, or torch"
    text = f"{case.event} after {case.steps} steps, {alike}; severity {told.severities[-1]:.3f} at the end"
    said["chance"] = case.steps - len(case.calm)
    text += f"\n{said['chance']} of its steps are left to chance" if case.calm else ""
    for more, line in (_tried(options, dreams, case), _confirmed(options, dreams, case)):
        said |= more
        text += line
    print(json.dumps(said) if options.json else text)
    return 0


def _tried(options: Replay, dreams: Dreams, case: Case) -> tuple[dict[str, Any], str]:
    from gensim.rare.avoid import avoid

    if options.avoid is None:
        return {}, ""
    other = avoid(dreams, case, options.avoid)
    many = int(other.survived.sum())
    text = f"\n{options.avoid} steps before, {many} of {len(other.acts)} other actions survive"
    return {"avoidable": other.avoidable, "surviving": other.acts[other.survived].tolist()}, text


def _confirmed(options: Replay, dreams: Dreams, case: Case) -> tuple[dict[str, Any], str]:
    from gensim.agents.filter import Pilot
    from gensim.rare.confirm import confirm

    if not options.real:
        return {}, ""
    told = confirm(dreams, case, Pilot(dreams.policy.agent))  # type: ignore[attr-defined]
    acted, played = ("happens" if one else "does not happen" for one in (told.by_actions, told.by_agent))
    text = f"\nin the simulator it {acted} under the same actions, and {played} under the agent"
    return {"real": {"by_actions": told.by_actions, "by_agent": told.by_agent}}, text


def _export(options: Export) -> int:
    from gensim.core.progress import bar
    from gensim.rare.cases import Case
    from gensim.rare.export import export
    from gensim.rare.scenes import KINDS, pictures

    paths = sorted((options.folder / "cases").glob("*.json")) or sorted(options.folder.glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"{options.folder} holds no cases: give a folder that `gensim rare estimate` wrote")
    found: list[Picture] = []
    for path in bar(paths, "cases", options.json, unit="case"):
        case = Case.load(path)
        dreams = _dreams(case.about, labels=True)
        _check(case, dreams, path)
        found += pictures(dreams, case, path.stem, options.every)
    many = export(found, options.out, options.format, KINDS)
    things = sum(len(one.things) for one in found)
    told = {"out": str(options.out), "format": options.format, "cases": len(paths), "frames": many, "things": things}
    text = f"{options.out}: {many} frames of {len(paths)} cases, {things} things in them, as {options.format}"
    print(json.dumps(told) if options.json else text)
    return 0


def _bench(options: Bench) -> int:
    from gensim.rare.bench import bench, table

    told = bench(BenchConfig(**{item.name: getattr(options, item.name) for item in fields(BenchConfig)}), options.json)
    print(json.dumps(told) if options.json else table(told))
    return 0


def _dreams(about: Any, labels: bool = False) -> Dreams:
    """What a case or a campaign was dreamed with."""
    from gensim.agents.filter import load
    from gensim.agents.reference import world_folder
    from gensim.envs.engine import DreamConfig, load_world
    from gensim.envs.events import named
    from gensim.rare.dreams import AgentPolicy, Dreams

    missing = [name for name in ("world", "agent", "event", "horizon", "temperature") if name not in about]
    if missing:
        raise ValueError(f"the case tells no {', '.join(missing)}: give one that `gensim rare estimate` wrote")
    folder = world_folder(about["world"])
    agent = load(about["agent"])
    if agent.world is not None and agent.world.hash != load_world(folder).hash:
        raise ValueError(f"{about['agent']} sees latents of another world than {about['world']}: give its own")
    event = named(about["event"], folder.name)
    config = DreamConfig(
        str(folder),
        agent.config.observation,
        about["horizon"],
        about["temperature"],
        labels=labels or event.labels,
    )
    return Dreams(config, AgentPolicy(agent), event)


def _hashes(dreams: Dreams) -> dict[str, str]:
    from gensim.core.files import sha256
    from gensim.envs.engine import load_world
    from gensim.envs.registry import folder_of

    folder = dreams.policy.agent.folder  # type: ignore[attr-defined]
    return {"world": load_world(folder_of(dreams.config.world)).hash, "agent": sha256(folder / "policy.safetensors")}


def _check(case: Case, dreams: Dreams, path: Path) -> None:
    for name, value in _hashes(dreams).items():
        kept = case.about.get("hashes", {}).get(name)
        if kept != value:
            raise ValueError(f"{path} is of the {name} {str(kept)[:12]}, this is {value[:12]}: put the old one back")


class _Levels:
    """A bar of levels, with the current one and the estimate so far."""

    def __init__(self, rounds: int, quiet: bool) -> None:
        from gensim.core.progress import bar

        self.rounds, self.bar = rounds, bar(None, "levels", quiet, unit="level")

    def __enter__(self) -> _Levels:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def of(self, index: int) -> Any:
        """What a round tells its levels to."""

        def shown(level: int, severity: float, p: float) -> None:
            self.bar.update()
            self.bar.set_postfix(round=f"{index + 1}/{self.rounds}", severity=f"{severity:.3f}", p=f"<{p:.2g}")

        return shown
