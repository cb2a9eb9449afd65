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
    from gensim.rare.dreams import Dreams, Policy
    from gensim.rare.export import Picture

COLUMNS = 8  # of a picture of a case
SCENARIO = "openscenario"
ABOUT: dict[str, Any] = {"world": str, "agent": str, "event": str, "horizon": (int, type(None))}
ABOUT |= {"temperature": (int, float), "people": int, "people_seed": int, "hashes": dict}
NOTHING: dict[str, Any] = {"people": 0, "people_seed": 0, "hashes": {}}  # what a case need not tell
LABELLED = (
    "which people, data sets and events that look at labels need: give gensim/Driving-v0, or another world that was "
    "fitted to data with labels"
)


@dataclass(frozen=True)
class Dreamed:
    """Whose dreams, and of what."""

    world: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WORLD")]
    """Id or folder of a world."""
    agent: str
    """Folder of the agent that acts; or idle, or pace, who holds a little gas: they look at nothing."""
    event: str
    """Name of one of the world's events, or MODULE:NAME of a gensim.envs.events.Event of your own."""
    out: Path = Path("rare")
    """Folder of cases, and of what is said of them."""
    horizon: int | None = None
    """Steps of a dream; None takes the world's own."""
    people: int = 0
    """So many about to cross, in worlds with labels; agents that see latents do not see them, and are refused."""
    people_seed: int = 0
    """Draws who they are, and where; the same in all dreams."""
    seed: int = 0
    """Of everything."""
    json: bool = False
    """Print one JSON object and no progress."""


@dataclass(frozen=True)
class Estimate(Dreamed):
    """Estimate how probable an event is in a world's dreams under an agent; run again after a stop to go on."""

    rounds: int = 1
    """Rounds, each of so many replicates."""
    many: int = 200
    """Dreams of a replicate at first."""
    replicates: int = 10
    """Independent estimates of a round, of whose differences the interval is made."""
    share: float = 0.3
    """Share of the dreams that are branched anew at a level, where none foretells."""
    temperature: float = 1.0
    """Above 1, dreams are wilder, and weighed for it."""
    cases: int = 8
    """Failures of each round that are kept as files."""
    foresight: int = 0
    """Dreams from which it learns first what the latents foretell, 1000 or so, for a swarm instead of splitting."""


@dataclass(frozen=True)
class Find(Dreamed):
    """Find different failures, as cases, by quality-diversity search; needs ribs, of the extra "rare"."""

    out: Path = Path("atlas")
    """Folder of cases and atlas.json; one that holds no cases yet."""
    calls: int = 4000
    """Dreams."""
    most: int = 24
    """Failures that are kept as files, none of which behaves like another."""


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
    """coco, kitti or yolo; or openscenario, the paths of everybody in cases with people."""
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
    Annotated[Find, tyro.conf.subcommand("find")],
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
    verbs: list[tuple[type, Callable[[Any], int]]]
    verbs = [(Estimate, _estimate), (Find, _find), (Replay, _replay), (Export, _export), (Bench, _bench)]
    return dict(verbs)[type(options.action)](options.action)


def _estimate(options: Estimate) -> int:
    from gensim.rare.campaign import campaign
    from gensim.rare.splitting import Splitting

    dreams, about = _asked(options, options.temperature)
    config = Splitting(options.many, options.replicates, options.share, dreams.event.grain)
    with _Levels(options.rounds, options.json) as levels:
        o = options
        told = campaign(dreams, o.out, o.rounds, o.seed, config, about, o.cases, levels.of, o.foresight)
    if options.json:
        print(json.dumps(told.told() | {"out": str(options.out)}))
        return 0
    if told.p > 0:
        print(f"{options.event}: p = {told.p:.3g} ({told.low:.3g} to {told.high:.3g}), {told.calls:,} dreamed steps")
        sure = told.effective >= 1e9
        worth = "all replicates say the same" if sure else f"worth {told.effective:.0f} failures by chance"
        print(f"{worth}; largest replicate's share {told.largest:.0%}")
    else:
        print(f"{options.event}: {told.calls:,} dreamed steps cannot say how probable it is: give more, or --rounds")
    for doubt in told.doubts:
        print(f"not to be believed: {doubt}")
    if told.likeliest is not None:
        print(f"{len(told.failures)} failures in {options.out / 'cases'}; the likeliest is {told.likeliest}")
    return 0


def _find(options: Find) -> int:
    from gensim.core.progress import bar
    from gensim.rare.atlas import atlas
    from gensim.rare.find import Finding

    dreams, about = _asked(options, 1.0)
    first = min(1000, options.calls // 2)
    config = Finding(options.calls, first=first, seed=options.seed)
    with bar(options.calls, "dreams", options.json, unit="dream") as shown:

        def told(calls: int, different: int, least: float) -> None:
            shown.update(calls - shown.n)
            shown.set_postfix(different=different, nearest=f"{least:.3f}")

        found = atlas(dreams, options.out, config, about, options.most, told)
    many, out = len(found["cases"]), options.out / "cases"
    text = f"{options.event}: {found['different']} different failures in {found['calls']:,} dreams"
    print(json.dumps(found) if options.json else f"{text}, {many} of them in {out}")
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
    from gensim.rare.dreams import AgentPolicy

    if not options.real:
        return {}, ""
    pilot = Pilot(dreams.policy.agent) if isinstance(dreams.policy, AgentPolicy) else None
    told = confirm(dreams, case, pilot)
    acted, played = ("happens" if one else "does not happen" for one in (told.by_actions, told.by_agent))
    text = f"\nin the simulator it {acted} under the same actions"
    text += "" if pilot is None else f", and {played} under the agent"
    return {"real": {"by_actions": told.by_actions, "by_agent": told.by_agent}}, text


def _export(options: Export) -> int:
    from gensim.core.progress import bar
    from gensim.rare.cases import Case
    from gensim.rare.export import FORMATS, export
    from gensim.rare.scenario import write_scenario
    from gensim.rare.scenes import KINDS, pictures

    if options.format not in (*FORMATS, SCENARIO):
        raise ValueError(f"format={options.format!r}: give one of {', '.join((*FORMATS, SCENARIO))}")
    paths = sorted((options.folder / "cases").glob("*.json")) or sorted(options.folder.glob("*.json"))
    if not paths:
        raise FileNotFoundError(f"{options.folder} holds no cases: give a folder that `gensim rare estimate` wrote")
    found: list[Picture] = []
    for path in bar(paths, "cases", options.json, unit="case"):
        case = Case.load(path)
        dreams = _dreams(case.about, labels=True)
        _check(case, dreams, path)
        if options.format == SCENARIO:
            write_scenario(dreams, case, options.out / f"{path.stem}.xosc")
        else:
            found += pictures(dreams, case, path.stem, options.every)
    told: dict[str, Any] = {"out": str(options.out), "format": options.format, "cases": len(paths)}
    text = f"{options.out}: {len(paths)} cases as {options.format}"
    if options.format != SCENARIO:
        things = sum(len(one.things) for one in found)
        told |= {"frames": export(found, options.out, options.format, KINDS), "things": things}
        text += f", {told['frames']} frames with {things} things in them"
    print(json.dumps(told) if options.json else text)
    return 0


def _bench(options: Bench) -> int:
    from gensim.rare.bench import bench, table

    told = bench(BenchConfig(**{item.name: getattr(options, item.name) for item in fields(BenchConfig)}), options.json)
    print(json.dumps(told) if options.json else table(told))
    return 0


def _asked(options: Dreamed, temperature: float) -> tuple[Dreams, dict[str, Any]]:
    """The dreams that are asked for, and what a case tells of them."""
    about: dict[str, Any] = {"world": options.world, "agent": options.agent, "event": options.event}
    about |= {"horizon": options.horizon, "temperature": temperature}
    about |= {"people": options.people, "people_seed": options.people_seed} if options.people else {}
    dreams = _dreams(about)
    return dreams, about | {"hashes": _hashes(dreams)}


def _dreams(about: Any, labels: bool = False) -> Dreams:
    """What a case or a campaign was dreamed with."""
    from gensim.agents.reference import world_folder
    from gensim.envs.engine import DreamConfig, load_world
    from gensim.envs.events import named
    from gensim.rare.dreams import Dreams
    from gensim.stress.scenes import crossing

    wrong = [name for name, kind in ABOUT.items() if not isinstance(about.get(name, NOTHING.get(name, ...)), kind)]
    if wrong:
        raise ValueError(f"the case tells no {', '.join(wrong)}: give one that `gensim rare estimate` wrote")
    folder, many = world_folder(about["world"]), about.get("people", 0)
    policy, observation = _policy(about["agent"], folder, many)
    event, people = named(about["event"], folder.name), crossing(many, about.get("people_seed", 0))
    labels = labels or event.labels or bool(people)
    if labels and not load_world(folder).config.labels:
        raise ValueError(f"{about['world']} has no labels, {LABELLED}")
    config = DreamConfig(str(folder), observation, about["horizon"], float(about["temperature"]), labels=labels)
    return Dreams(config, policy, event, people=people)


def _policy(name: str, world: Path, people: int) -> tuple[Policy, str]:
    """Who acts in a world, and what they observe."""
    from gensim.agents.filter import load
    from gensim.envs.engine import load_world
    from gensim.episodes.actions import ActionSpec
    from gensim.rare.dreams import AgentPolicy
    from gensim.rare.policies import HABITS, habit

    loaded = load_world(world)
    if name in HABITS:
        return habit(name, ActionSpec.from_dict(loaded.spec["action"])), "latents"
    if not Path(name).is_dir():
        raise FileNotFoundError(f"{name} is no agent: give the folder of one, or one of {', '.join(HABITS)}")
    agent = load(name)
    if agent.world is not None and agent.world.hash != loaded.hash:
        raise ValueError(f"{name} sees latents of another world than {world.name}: give its own")
    if people and agent.config.observation == "latents":
        raise ValueError(
            f"{name} sees latents, in which no people are drawn: with --people give an agent that learned on frames "
            f"(`gensim learn --observation frames`), or one of {', '.join(HABITS)}"
        )
    return AgentPolicy(agent), agent.config.observation


def _hashes(dreams: Dreams) -> dict[str, str]:
    from gensim.agents.road_users import behaviour, painter
    from gensim.core.files import sha256
    from gensim.envs.engine import load_world
    from gensim.envs.registry import folder_of
    from gensim.rare.dreams import AgentPolicy

    found = {"world": load_world(folder_of(dreams.config.world)).hash}
    if isinstance(dreams.policy, AgentPolicy) and dreams.policy.agent.folder is not None:
        found |= {"agent": sha256(dreams.policy.agent.folder / "policy.safetensors")}
    if dreams.people:
        found |= {"people": sha256(painter.WEIGHTS), "behaviour": sha256(behaviour.WEIGHTS)}
    return found


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
            self.bar.set_postfix(round=f"{index + 1}/{self.rounds}", severity=f"{severity:.3f}", p=f"{p:.2g}")

        return shown
