"""People around robots: where they are, how they walk on, and what is known of them, many scenes at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from gensim.agents.road_users.behaviour import Behaviour, followed, velocity
from gensim.agents.road_users.camera import Camera
from gensim.agents.road_users.compositor import Cast
from gensim.agents.road_users.person import GAITS, STRIDE, WIDTH, Person, looks, seen_so
from gensim.agents.road_users.senses import Robot, Walkers, gaps, sense
from gensim.core.seeds import fold, uniform

DT = 0.1  # seconds of a step of behaviour
OF_PERSONS = ("phase", "facing", "memory", "log_prob")
OF_SCENES = ("robot", "speed", "key", "step")
STREAM = 66  # of draws of what people do
FREE = np.inf  # where no road begins


@dataclass(frozen=True)
class RoadUser:
    """Somebody in a scene, as it begins.

    Arguments:
        person: who.
        ahead, left: metres from the robot's middle.
        heading: radians from where the robot looks, anticlockwise; where they are going.
        road: metres ahead of them at which the road that they cross begins and ends; None where they cross none.
        pace: metres a second that they like to walk; None: what is usual for their age, 0 for who stands.
    """

    person: Person
    ahead: float
    left: float
    heading: float = 0.0
    road: tuple[float, float] | None = None
    pace: float | None = None

    def __post_init__(self) -> None:
        if self.road is not None and not self.road[0] < self.road[1]:
            raise ValueError(f"road={self.road}: give where it begins and then where it ends, metres ahead of them")
        if self.pace is not None and not 0 <= self.pace <= 3:
            raise ValueError(f"pace={self.pace}: give 0 to 3 metres a second")

    @property
    def likes(self) -> float:
        """Metres a second that they like to walk."""
        if self.pace is not None:
            return self.pace
        usual = 1.35 - 0.006 * max(self.person.age - 60, 0) - 0.1 * (self.person.age < 9)
        return {"stand": 0.0, "walk": usual, "phone": usual * 0.85, "run": 2.6}[self.person.gait]


@dataclass
class People:
    """The people of all scenes in one row (n), and the robots (m) that they see.

    scene (n,) whose; walkers: in the frame in which their robot began; phase (n,) of the stride; facing (n,) radians;
    memory (n, hidden); log_prob (n,) of their last step; robot (m, 3): metres ahead and to the left, radians; speed
    (m,); key (m,) uint64; step (m,).
    """

    scene: np.ndarray
    walkers: Walkers
    phase: np.ndarray
    facing: np.ndarray
    memory: np.ndarray
    log_prob: np.ndarray
    robot: np.ndarray
    speed: np.ndarray
    key: np.ndarray
    step: np.ndarray

    def copy(self) -> People:
        """The same, in memory of its own."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        walkers = Walkers(**{name: value.copy() for name, value in vars(self.walkers).items()})
        return People(**{name: value.copy() for name, value in own.items() if name != "walkers"} | {"walkers": walkers})

    def rows(self, index: np.ndarray) -> People:
        """A copy of some scenes (m,), all of which have equally many people."""
        index, k = np.asarray(index), len(self.scene) // max(len(self.key), 1)
        whose = (index[:, None] * k + np.arange(k)).reshape(-1)
        walkers = Walkers(**{name: value[whose] for name, value in vars(self.walkers).items()})
        own = {name: getattr(self, name)[whose] for name in OF_PERSONS}
        scenes = {name: getattr(self, name)[index] for name in OF_SCENES}
        return People(scene=np.repeat(np.arange(len(index)), k), walkers=walkers, **own, **scenes)

    @classmethod
    def join(cls, some: Sequence[People]) -> People:
        """All scenes of several, one after the other."""
        joined = lambda values: np.concatenate(list(values))  # noqa: E731
        walkers = {name: joined(vars(one.walkers)[name] for one in some) for name in vars(some[0].walkers)}
        arrays = {name: joined(getattr(one, name) for one in some) for name in (*OF_PERSONS, *OF_SCENES)}
        k = len(some[0].scene) // max(len(some[0].key), 1)
        return cls(scene=np.repeat(np.arange(len(arrays["key"])), k), walkers=Walkers(**walkers), **arrays)


class Scenes:
    """What people do beside robots, m scenes at once, all with the same people at first.

    Arguments:
        users: who is there.
        rows: scenes.
        behaviour: what they do next; None: they go on as they like, whatever the robot does.
        dt: seconds of a robot's step.
        unseen: whether nobody notices the robot, which is there all the same.
    """

    def __init__(
        self, users: Sequence[RoadUser], rows: int, behaviour: Behaviour | None, dt: float = DT, unseen: bool = False
    ) -> None:
        self.users, self.rows, self.behaviour, self.dt, self.unseen = list(users), rows, behaviour, dt, unseen
        self.persons = [user.person for user in self.users]
        self.identity = np.tile(np.array([person.identity for person in self.persons], np.uint64), rows)
        self.looks = np.tile(np.array([looks(person) for person in self.persons]).reshape(-1, WIDTH), (rows, 1))
        self.gaits = np.tile([GAITS.index(person.gait) for person in self.persons], rows).astype(int)
        self.tall = np.tile([person.tall for person in self.persons], rows)
        self.inner = max(1, round(dt / DT))
        self.now = self._begun()

    def _begun(self) -> People:
        k, n = len(self.users), len(self.users) * self.rows
        tiled = lambda values: np.tile(np.array(values, float).reshape(k, -1), (self.rows, 1))  # noqa: E731
        one = lambda values: tiled(values)[:, 0] if k else np.zeros(0)  # noqa: E731
        facing = one([user.heading for user in self.users])
        goal = np.stack([np.cos(facing), np.sin(facing)], -1)
        place = tiled([(user.ahead, user.left) for user in self.users]) if k else np.zeros((0, 2))
        road = tiled([user.road or (FREE, FREE) for user in self.users]) if k else np.zeros((0, 2))
        pace = one([user.likes for user in self.users])
        distracted = one([float(user.person.gait == "phone") for user in self.users])
        walkers = Walkers(
            place=place,
            velocity=goal * pace[:, None],
            goal=goal,
            kerbs=(place * goal).sum(-1)[:, None] + road,
            pace=pace,
            temperament=one([user.person.temperament for user in self.users]),
            age=one([user.person.age for user in self.users]),
            distracted=distracted,
        )
        hidden = self.behaviour.hidden if self.behaviour else 0
        return People(
            scene=np.repeat(np.arange(self.rows), k),
            walkers=walkers,
            phase=uniform(self.identity, STREAM, np.zeros(n, np.int64), 1)[:, 0] if n else np.zeros(0),
            facing=facing,
            memory=np.zeros((n, hidden), np.float32),
            log_prob=np.zeros(n),
            robot=np.zeros((self.rows, 3)),
            speed=np.zeros(self.rows),
            key=np.zeros(self.rows, np.uint64),
            step=np.zeros(self.rows, np.int64),
        )

    def reset(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """Opens some scenes (bool (m,)) anew under keys (m,) uint64."""
        fresh, now = self._begun(), self.now
        some = rows[now.scene]
        for name, value in vars(fresh.walkers).items():
            getattr(now.walkers, name)[some] = value[some]
        for name in ("phase", "facing", "memory", "log_prob"):
            getattr(now, name)[some] = getattr(fresh, name)[some]
        for name in ("robot", "speed", "step"):
            getattr(now, name)[rows] = getattr(fresh, name)[rows]
        now.key[rows] = keys[rows]

    def advance(self, motion: np.ndarray, speed: np.ndarray, live: np.ndarray) -> None:
        """One step of robots: metres ahead and to the left and radians (m, 3), metres a second (m,), who moves (m,)."""
        now = self.now
        x, y, turn = now.robot.T
        moved = np.stack(
            [
                x + motion[:, 0] * np.cos(turn) - motion[:, 1] * np.sin(turn),
                y + motion[:, 0] * np.sin(turn) + motion[:, 1] * np.cos(turn),
                turn + motion[:, 2],
            ],
            -1,
        )
        now.robot = np.where(live[:, None], moved, now.robot)
        now.speed = np.where(live, speed, now.speed)
        for part in range(self.inner):
            self._walk(live[now.scene], part)
        now.step = now.step + live

    def _walk(self, live: np.ndarray, part: int) -> None:
        """What people do for DT seconds more."""
        now, w = self.now, self.now.walkers
        if not len(w):
            return
        if self.behaviour is None:
            next_velocity = w.goal * w.pace[:, None]
            now.log_prob = np.zeros(len(w))
        else:
            next_velocity = followed(w.velocity, self._chosen(live, part))
        w.velocity = np.where(live[:, None], next_velocity, w.velocity)
        w.place = w.place + np.where(live[:, None], w.velocity * DT, 0.0)
        self._pose(live)

    def _chosen(self, live: np.ndarray, part: int) -> np.ndarray:
        """What people aim at (n, 2)."""
        assert self.behaviour is not None
        now, w = self.now, self.now.walkers
        robot = self.robots()
        robot.there &= not self.unseen
        noticed = torch.from_numpy(sense(w, robot, now.scene))
        u = self._draws(part)
        bins, log_p, memory = _apart(self.behaviour, noticed, torch.from_numpy(now.memory), u)
        stands = w.pace <= 0.05  # who stands stands, unless something comes at them
        found = velocity(bins, w.goal)
        still = stands & (np.linalg.norm(found, axis=-1) < 0.5)
        now.memory = np.where(live[:, None], memory, now.memory)
        now.log_prob = np.where(live, log_p, 0.0)
        return np.where(still[:, None], 0.0, found)

    def _draws(self, part: int) -> np.ndarray:
        """Uniform draws (n, 2): of each scene's key, each person's place in the order, and the step."""
        now, k = self.now, max(len(self.users), 1)
        own = fold(now.key[now.scene], np.arange(len(now.scene)) % k)
        return uniform(own, STREAM, now.step[now.scene] * self.inner + part + 1, 2)

    def _pose(self, live: np.ndarray) -> None:
        """People turn to where they go, and their strides go on."""
        now, w = self.now, self.now.walkers
        fast = np.linalg.norm(w.velocity, axis=-1)
        wanted = np.where(fast > 0.3, np.arctan2(w.velocity[:, 1], w.velocity[:, 0]), now.facing)
        goal = np.arctan2(w.goal[:, 1], w.goal[:, 0])
        backwards = (w.velocity * w.goal).sum(-1) < 0  # who steps back keeps looking ahead
        turn = (np.where(backwards, goal, wanted) - now.facing + np.pi) % (2 * np.pi) - np.pi
        now.facing = now.facing + np.where(live, np.clip(turn, -0.35, 0.35), 0.0)
        stride = self.tall * np.where(fast > 2.1, STRIDE["run"], STRIDE["walk"])
        now.phase = (now.phase + np.where(live, fast * DT * np.where(backwards, -1, 1) / stride, 0.0)) % 1

    def robots(self) -> Robot:
        """Each person's robot."""
        now = self.now
        turn = now.robot[:, 2]
        ahead = np.stack([np.cos(turn), np.sin(turn)], -1)
        there = np.ones(len(now.scene), bool)
        return Robot(now.robot[now.scene, :2], (ahead * now.speed[:, None])[now.scene], there)

    def gaps(self) -> np.ndarray:
        """Metres (n,) between each person and their robot, a car of 4.6 by 1.9 metres; below 0 where they touch."""
        turn = self.now.robot[self.now.scene, 2]
        return gaps(self.now.walkers, self.robots(), np.stack([np.cos(turn), np.sin(turn)], -1))

    def touched(self) -> np.ndarray:
        """Whether each person (n,) is touched by their robot."""
        return self.gaps() < 0

    def seen(self) -> np.ndarray:
        """Where people are beside their robots (n, 2): metres ahead and to the left."""
        now = self.now
        gap, turn = now.walkers.place - now.robot[now.scene, :2], now.robot[now.scene, 2]
        c, s = np.cos(turn), np.sin(turn)
        return np.stack([gap[:, 0] * c + gap[:, 1] * s, gap[:, 1] * c - gap[:, 0] * s], -1)

    def cast(self, camera: Camera, sun: float, sun_azimuth: float) -> Cast:
        """Who is to be drawn how; the sun's share of the light, and radians from the robot's first heading to it."""
        now, place = self.now, self.seen()
        world = camera.bearing(place) + now.robot[now.scene, 2]
        fast = np.linalg.norm(now.walkers.velocity, axis=-1)
        told = seen_so(
            self.looks,
            _gaits(self.gaits, fast),
            phase=now.phase,
            azimuth=now.facing - world,
            elevation=np.clip(camera.elevation(place), -0.05, 0.6),
            sun=np.full(len(place), sun),
            sun_azimuth=sun_azimuth - world,
        )
        who = np.tile(np.arange(len(self.users)), self.rows)
        return Cast(now.scene, who, place, told, self.identity)


def _apart(
    model: Behaviour, noticed: Tensor, memory: Tensor, u: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bins, log-probabilities and memories of people, each computed in a tile of one shape."""
    from gensim.world.tiles import map_tiles

    def step(x: Tensor, h: Tensor, draws: Tensor) -> tuple[Tensor, ...]:
        bins, log_p, after = model.sample(x, h[None].contiguous(), draws.numpy())
        return torch.from_numpy(bins), torch.from_numpy(log_p), after[0]

    bins, log_p, after = map_tiles(step, noticed, memory, torch.from_numpy(u))
    return bins.numpy(), log_p.numpy(), after.numpy()


def _gaits(liked: np.ndarray, speed: np.ndarray) -> np.ndarray:
    """Gaits (n,) at speeds (n,) of people who like some, all as indices."""
    stand, walk, run = (GAITS.index(name) for name in ("stand", "walk", "run"))
    walks = np.where(np.isin(liked, (stand, run)), walk, liked)
    return np.where(speed < 0.15, stand, np.where(speed > 2.1, run, walks))
