"""The benchmark's list: which frames are usual, which are not, and what may be chosen on.

It was written down before any detector was fitted. Every source was seen to render without a screen; every shift was
looked at, and at strength 3 it is visible to a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["environment", "simple", "camera", "weather", "time", "dynamics"]

CHOOSING = ("carracing", "classic", "minigrid", "mujoco")
REPORTING = ("atari", "box2d", "highway", "vizdoom")
LEVEL = 3  # the strength that a pair's figure is for; the other four stand beside it
STRENGTHS = (1, 2, 3, 4, 5)
WINDOW = 50  # frames
BEGIN = 20  # the step at which a simulator's dynamics change, where they do
LATE = 3  # steps by which actions come late at `LEVEL`
SEEDS = {"fit": 700_000, "held": 800_000}  # first reset seeds of a source's two parts


@dataclass(frozen=True)
class Source:
    """Frames of one simulator under one driver.

    Arguments:
        name: of the folder that it is recorded to.
        family: of the simulators that it belongs to.
        env_id: Gymnasium id, "module:Name-v0" where a module registers it.
        about: what is seen.
        skip: simulator frames a step.
        kwargs: arguments of the simulator.
        look: "observation", "render", or "band" for VizDoom's rows that TakeCover's world is shown.
        agent: folder in agents/ of who acts; chance acts without.
        steps: the longest episode.
        fit: steps recorded for fitting and calibration; none for what is only ever unusual.
        held: steps recorded for scores, of other seeds.
        change: the change of dynamics in `gensim.ood.changes` that sets in at step `BEGIN`, at strength `LEVEL`.
    """

    name: str
    family: str
    env_id: str
    about: str
    skip: int = 1
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    look: Literal["observation", "render", "band"] = "render"
    agent: str | None = None
    steps: int = 100
    fit: int = 0
    held: int = 400
    change: str | None = None

    @property
    def parts(self) -> dict[str, int]:
        """Steps to record by part."""
        return {part: steps for part, steps in (("fit", self.fit), ("held", self.held)) if steps}


@dataclass(frozen=True)
class Pair:
    """Usual frames beside unusual ones.

    Arguments:
        inside: the source of usual frames.
        outside: a source, or a shift that is laid over the held-out frames of `inside`.
        kind: environment (another simulator), simple (plain pictures made from the usual frames), camera, weather,
            time (frames that freeze, drop or lag behind), dynamics (the simulator itself behaves otherwise).
        trap: whether the unusual frames are so plain that raw likelihood is expected to prefer them.
    """

    inside: str
    outside: str
    kind: Kind
    trap: bool = False

    @property
    def name(self) -> str:
        """inside/outside."""
        return f"{self.inside}/{self.outside}"

    @property
    def family(self) -> str:
        """That of the usual frames."""
        return source(self.inside).family

    @property
    def part(self) -> Literal["choosing", "reporting"]:
        """Whether choices may be made on it."""
        return "choosing" if self.family in CHOOSING else "reporting"

    @property
    def windowed(self) -> bool:
        """Whether single frames look usual, so that windows of `WINDOW` frames are what counts."""
        return self.kind in ("time", "dynamics")

    @property
    def strengths(self) -> tuple[int, ...]:
        """Strengths that it is measured at; a recorded source has one."""
        return STRENGTHS if self.kind in ("camera", "weather", "time") else (LEVEL,)


def source(name: str) -> Source:
    """The source of a name; ValueError for none."""
    found = _BY_NAME.get(name)
    if found is None:
        raise ValueError(f"no source {name!r}: there are {', '.join(_BY_NAME)}")
    return found


def usual() -> tuple[Source, ...]:
    """The sources that a detector is fitted to."""
    return tuple(one for one in SOURCES if one.fit)


_DOOM = "vizdoom.gymnasium_wrapper:Vizdoom"
_SCREEN = {"screen_resolution": "RES_160X120", "screen_format": "RGB24"}
_TILES = {"tile_size": 8}
_SMALL = {"width": 64, "height": 64}
_ROAD = {
    "config": {
        "simulation_frequency": 5,
        "policy_frequency": 5,
        "offscreen_rendering": True,
        "screen_width": 192,
        "screen_height": 192,
        "scaling": 5.0,
        "duration": 1000,
    }
}
_TRAFFIC = {"config": {**_ROAD["config"], "vehicles_count": 15}}


def _car(name: str, about: str, **more: Any) -> Source:
    kept = {"skip": 4, "look": "observation", "agent": "carracing", "steps": 150, **more}
    return Source(name, "carracing", "CarRacing-v3", about, **kept)


def _doom(name: str, scenario: str, about: str, **more: Any) -> Source:
    kept = {"skip": 4, "kwargs": _SCREEN, "look": "band", **more}
    return Source(name, "vizdoom", f"{_DOOM}{scenario}-v1", about, **kept)


def _road(name: str, env_id: str, about: str, **more: Any) -> Source:
    kept = {"kwargs": _ROAD, "steps": 60, "held": 300, **more}
    return Source(name, "highway", f"highway_env:{env_id}", about, **kept)


def _grid(name: str, env_id: str, about: str, **more: Any) -> Source:
    return Source(name, "minigrid", f"minigrid:MiniGrid-{env_id}", about, kwargs=_TILES, **more)


def _atari(name: str, about: str, **more: Any) -> Source:
    return Source(name.lower(), "atari", f"ale_py:ALE/{name}-v5", about, look="observation", **more)


def _body(name: str, env_id: str, about: str, **more: Any) -> Source:
    return Source(name, "mujoco", env_id, about, skip=2, kwargs=_SMALL, **{"held": 300, **more})


SOURCES: tuple[Source, ...] = (
    # CarRacing, driven by the shipped agent
    _car("carracing", "a racing car on its track from above", fit=10_000, held=2250),
    _car("carracing-colours", "the same in colours drawn anew each episode", kwargs={"domain_randomize": True}),
    _car("carracing-friction", "tyres that lose half of their grip", held=1200, change="friction"),
    _car("carracing-power", "an engine that loses more than half of its power", held=1200, change="power"),
    _car("carracing-late", "actions that come three steps late", held=1200, change="late"),
    # VizDoom, seen in the rows of the picture that TakeCover's world is shown
    _doom(
        "takecover",
        "TakeCover",
        "monsters throw fireballs, played by the shipped agent",
        look="observation",
        agent="takecover",
        steps=150,
        fit=10_000,
        held=2250,
    ),
    _doom(
        "takecover-late",
        "TakeCover",
        "actions that come three steps late",
        look="observation",
        agent="takecover",
        steps=150,
        held=1200,
        change="late",
    ),
    _doom("healthgathering", "HealthGathering", "a room with a green floor and medicine on it"),
    _doom("defendline", "DefendLine", "a brick room much like TakeCover's, with a pistol in view"),
    _doom("basic", "Basic", "a room with one monster, with a pistol in view"),
    _doom("mywayhome", "MyWayHome", "rooms of many textures"),
    _doom("predictposition", "PredictPosition", "a cave with a rocket launcher in view"),
    # highway-env, with fewer vehicles and one simulated moment a step, for speed
    _road("highway", "highway-v0", "a four-lane highway from above", kwargs=_TRAFFIC, steps=100, fit=6000, held=1500),
    _road("roundabout", "roundabout-v1", "a roundabout"),
    _road("intersection", "intersection-v2", "a crossing"),
    _road("racetrack", "racetrack-v1", "a winding track"),
    _road("two-way", "two-way-v0", "a road of two lanes"),
    _road("parking", "parking-v0", "a car park"),
    # MiniGrid, the whole grid as it is rendered
    _grid("fourrooms", "FourRooms-v0", "four rooms with doors in random places", fit=8000, held=2000),
    _grid("lava", "LavaCrossingS11N5-v0", "rivers of lava"),
    _grid("crossing", "SimpleCrossingS11N5-v0", "walls with gaps"),
    _grid("multiroom", "MultiRoom-N6-v0", "six rooms in a row"),
    _grid("empty", "Empty-16x16-v0", "one empty room"),
    _grid("balls", "Dynamic-Obstacles-16x16-v0", "a room with balls that move"),
    # Atari 2600
    _atari("MsPacman", "a maze with ghosts", fit=8000, held=2000),
    _atari("Pong", "two bats and a ball on one colour"),
    _atari("Breakout", "a wall of bricks on black"),
    _atari("SpaceInvaders", "rows of invaders on black"),
    _atari("Enduro", "a road to the horizon"),
    _atari("Seaquest", "a submarine"),
    # classic control, as pygame draws it
    Source("acrobot", "classic", "Acrobot-v1", "two links that swing, on white", skip=2, fit=6000, held=1500),
    Source("cartpole", "classic", "CartPole-v1", "a pole on a cart, on white"),
    Source("mountaincar", "classic", "MountainCar-v0", "a car in a valley, on white", skip=2),
    Source("pendulum", "classic", "Pendulum-v1", "a pendulum, on white", skip=2),
    # Box2D
    Source("lander", "box2d", "LunarLander-v3", "a lander above random ground", steps=150, fit=8000, held=2000),
    Source("walker", "box2d", "BipedalWalker-v3", "a walker before clouds", skip=2),
    Source("hardcore", "box2d", "BipedalWalkerHardcore-v3", "a walker among obstacles", skip=2),
    # MuJoCo, through EGL, without shadows, for speed
    _body("halfcheetah", "HalfCheetah-v5", "a runner on a chequered floor", fit=6000, held=1500),
    _body("hopper", "Hopper-v5", "a hopper on a chequered floor with a horizon"),
    _body("ant", "Ant-v5", "a thing with four legs on a chequered floor"),
    _body("swimmer", "Swimmer-v5", "a snake on a chequered floor"),
    _body("cartpoles", "InvertedDoublePendulum-v5", "two thin poles on grey"),
)

_BY_NAME = {one.name: one for one in SOURCES}


def _each(inside: str, kind: Kind, *outside: str, trap: bool = False) -> list[Pair]:
    return [Pair(inside, one, kind, trap) for one in outside]


PAIRS: tuple[Pair, ...] = (
    # -------------------------------------------------------------------- choosing
    *_each("carracing", "environment", "carracing-colours", "takecover", "mountaincar"),
    *_each("carracing", "environment", "racetrack", trap=True),
    *_each("carracing", "simple", "flat", "tiled", "magnified", trap=True),
    *_each("carracing", "camera", "noise", "blur", "contrast", "jpeg", "occlusion"),
    *_each("carracing", "weather", "fog", "rain", "night"),
    *_each("carracing", "time", "frozen", "dropped"),
    *_each("carracing", "dynamics", "carracing-friction", "carracing-power", "carracing-late"),
    *_each("fourrooms", "environment", "lava", "crossing", "multiroom", "balls"),
    *_each("fourrooms", "environment", "empty", trap=True),
    *_each("fourrooms", "simple", "flat", "emptied", trap=True),
    *_each("fourrooms", "camera", "motion", "brighter", "salt", "lines"),
    *_each("fourrooms", "weather", "snow"),
    *_each("fourrooms", "time", "late"),
    *_each("acrobot", "environment", "cartpole", "mountaincar", "pendulum"),
    *_each("acrobot", "simple", "flat", trap=True),
    *_each("acrobot", "camera", "noise", "darker", "tint", "dead"),
    *_each("acrobot", "time", "frozen"),
    *_each("halfcheetah", "environment", "hopper", "ant", "swimmer"),
    *_each("halfcheetah", "environment", "cartpoles", trap=True),
    *_each("halfcheetah", "simple", "flat", "emptied", "magnified", trap=True),
    *_each("halfcheetah", "camera", "motion", "pixels", "brighter", "tilt"),
    *_each("halfcheetah", "weather", "snow", "sun"),
    *_each("halfcheetah", "time", "frozen"),
    # -------------------------------------------------------------------- reporting
    *_each("takecover", "environment", "healthgathering", "defendline", "basic", "mywayhome", "predictposition"),
    *_each("takecover", "environment", "cartpoles", "racetrack", trap=True),
    *_each("takecover", "simple", "flat", "tiled", "magnified", trap=True),
    *_each("takecover", "camera", "noise", "motion", "darker", "pixels", "tint", "dead"),
    *_each("takecover", "weather", "fog", "snow", "sun"),
    *_each("takecover", "time", "frozen", "dropped"),
    *_each("takecover", "dynamics", "takecover-late"),
    *_each("highway", "environment", "roundabout", "intersection", "racetrack", "two-way", "parking"),
    *_each("highway", "simple", "flat", "emptied", trap=True),
    *_each("highway", "camera", "blur", "brighter", "salt", "occlusion", "lines"),
    *_each("highway", "weather", "rain", "night"),
    *_each("highway", "time", "frozen"),
    *_each("mspacman", "environment", "breakout", "spaceinvaders", "enduro", "seaquest"),
    *_each("mspacman", "environment", "pong", trap=True),
    *_each("mspacman", "simple", "flat", "tiled", "magnified", trap=True),
    *_each("mspacman", "camera", "noise", "jpeg", "contrast", "tilt", "tint"),
    *_each("mspacman", "time", "frozen"),
    *_each("lander", "environment", "walker", "hardcore"),
    *_each("lander", "simple", "flat", "emptied", trap=True),
    *_each("lander", "camera", "noise", "pixels", "occlusion", "dead"),
    *_each("lander", "weather", "fog"),
    *_each("lander", "time", "frozen"),
)
