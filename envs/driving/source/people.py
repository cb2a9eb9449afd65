"""People beside and on the road: who stands, who walks along it, who crosses when somebody comes.

The figure is MetaDrive's one pedestrian, "Nathan Animated 003 - Walking 3D Man" by Renderpeople, CC-BY-4.0
(https://sketchfab.com/3d-models/nathan-animated-003-walking-3d-man-143a2b1ea5eb4385ae90a73657aca3bc), decimated. They
are moved and touched by code of ours: MetaDrive has no outcome for touching a person.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from camera import say
from direct.actor.Actor import Actor
from labels import PERSON
from meshes import baked
from metadrive.engine.asset_loader import AssetLoader
from panda3d.core import NodePath

STANDS, WALKS, CROSSES = range(3)
SHARES = (0.3, 0.3, 0.4)
POSES, TRIANGLES = 12, 700
STRIDE = 1.5  # metres in which a walk repeats
TALL, RADIUS = 1.75, 0.3  # metres
BESIDE = 2.0  # metres from the road's edge at which people stand
WATCH = 60.0  # metres: who crosses sets off when somebody comes nearer, at the most


@dataclass
class Person:
    """Somebody with a place, a way to go and a moment to set off.

    Places are (x, y) in metres, to the left of x being positive y; headings in radians.
    """

    kind: int
    place: np.ndarray  # (2,)
    goal: np.ndarray  # (2,)
    pace: float  # m/s
    trigger: float  # metres; sets off when the ego is nearer
    stop: float  # metres of the way after which to hesitate
    wait: float  # seconds to hesitate
    scale: float
    tint: np.ndarray  # (3,)
    node: NodePath
    heading: float = 0.0
    speed: float = 0.0
    walked: float = 0.0
    poses: list[NodePath] = field(default_factory=list)


class Crowd:
    """The people of an episode."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.people: list[Person] = []
        self.walk, self.stand = _figures()

    def reset(self, rng: np.random.Generator, roads: list[list[Any]], count: int) -> None:
        """Puts so many people along roads, each a list of its lanes from left to right."""
        for person in self.people:
            person.node.removeNode()
        lengths = np.array([lanes[0].length for lanes in roads])
        count = count if roads else 0
        chosen = rng.choice(max(len(roads), 1), size=count, p=lengths / lengths.sum() if roads else None)
        self.people = [self._person(rng, roads[i], number) for number, i in enumerate(chosen, 1)]

    def step(self, ego: Any, seconds: float) -> None:
        """Moves everybody on."""
        here = np.array(tuple(ego.origin.getPos())[:2])
        for person in self.people:
            _walk(person, float(np.linalg.norm(person.place - here)), seconds)
            self._pose(person)

    def touches(self, vehicle: Any) -> bool:
        """Whether somebody is within a vehicle's outline."""
        ahead, aside = self._seen(vehicle)
        return bool(((abs(ahead) < vehicle.LENGTH / 2 + RADIUS) & (abs(aside) < vehicle.WIDTH / 2 + RADIUS)).any())

    def allowance(self, vehicle: Any) -> float:
        """The greatest pedal -1..1 with which a vehicle stops in front of people in its way."""
        ahead, aside = self._seen(vehicle)
        room = ahead[(ahead > 0) & (ahead < 40) & (abs(aside) < 2.4)] - vehicle.LENGTH / 2 - 2.0  # metres
        if not len(room):
            return 1.0
        needed = vehicle.speed**2 / (2 * max(float(room.min()), 0.5))  # m/s^2
        return 1.0 if needed < 1.5 and room.min() > 6 else -min(1.0, needed / 5.0 + 0.1)

    def rows(self) -> np.ndarray:
        """Instance, class, x, y, heading, speed, length, width, height of each (n, 9)."""
        found = [
            (200 + i % 55, PERSON, *p.place, p.heading, p.speed, 2 * RADIUS, 2 * RADIUS, TALL * p.scale)
            for i, p in enumerate(self.people)
        ]
        return np.array(found, np.float32).reshape(-1, 9)

    def _seen(self, vehicle: Any) -> tuple[np.ndarray, np.ndarray]:
        """How far ahead and to the left of a vehicle everybody is, in metres (n,) each."""
        x, y = tuple(vehicle.origin.getPos())[:2]
        toward = np.array([p.place for p in self.people]).reshape(-1, 2) - (x, y)
        turn = vehicle.origin.getQuat().getForward()
        ahead = np.array([turn[0], turn[1]])
        return toward @ ahead, toward @ (-ahead[1], ahead[0])

    def _person(self, rng: np.random.Generator, lanes: list[Any], number: int) -> Person:
        right, left = lanes[-1], lanes[0]
        along = rng.uniform(0, right.length)
        edge = right.width / 2 + BESIDE + rng.uniform(-0.5, 1.0)
        other = -(left.width * (len(lanes) + 0.5) + BESIDE)
        sides = [_place(right, along, edge), _place(left, along * left.length / right.length, other)]
        if rng.random() < 0.5:
            sides.reverse()
        kind = int(rng.choice(3, p=SHARES))
        goal = sides[1] if kind == CROSSES else _place(right, right.length if rng.random() < 0.5 else 0.0, edge)
        goal = sides[0] if kind == STANDS else goal
        start = sides[0] if kind != WALKS else _place(right, along, edge)
        node = self.engine.render.attachNewNode("person")
        way = float(np.linalg.norm(goal - start))
        hesitates = rng.random() < 0.3
        person = Person(
            kind=kind,
            place=start,
            goal=goal,
            pace=rng.uniform(0.9, 1.9),
            trigger=rng.uniform(15, WATCH) if kind == CROSSES else np.inf,
            stop=rng.uniform(0.2, 0.7) * way if hesitates else np.inf,
            wait=rng.uniform(0.5, 3.0),
            scale=rng.uniform(0.82, 1.08),
            tint=rng.uniform(0.55, 1.25, 3),
            node=node,
            heading=rng.uniform(-np.pi, np.pi),
        )
        person.poses = [pose.instanceTo(node) for pose in (*self.walk, self.stand)]
        node.setScale(person.scale)
        node.setColorScale(*person.tint, 1.0)
        say(node, PERSON, 200 + (number - 1) % 55)
        self._pose(person)
        return person

    def _pose(self, person: Person) -> None:
        person.node.setPos(*person.place, 0.0)
        person.node.setH(np.rad2deg(person.heading))
        now = int(person.walked / (STRIDE * person.scale) * POSES) % POSES if person.speed > 0 else POSES
        for i, pose in enumerate(person.poses):
            pose.show() if i == now else pose.hide()


def _place(lane: Any, along: float, aside: float) -> np.ndarray:
    """(x, y) of a place along a lane and to the right of its middle; MetaDrive counts y to the right."""
    x, y = lane.position(along, aside)
    return np.array([x, -y])


def _walk(person: Person, far: float, seconds: float) -> None:
    way = person.goal - person.place
    left = float(np.linalg.norm(way))
    off = person.walked > 0 or far < person.trigger
    hesitates = person.walked >= person.stop and person.wait > 0
    person.wait -= seconds * hesitates
    person.speed = person.pace * float(off and not hesitates and left > 0.1)
    if person.speed:
        step = min(person.speed * seconds, left)
        person.place = person.place + way / left * step
        person.heading, person.walked = float(np.arctan2(way[1], way[0])), person.walked + step


def _figures() -> tuple[list[NodePath], NodePath]:
    """The figure in the poses of a walk, and standing; one metre of it is one metre, x is ahead."""
    actor = Actor(AssetLoader.file_path("models", "pedestrian", "scene.gltf"))
    holder = NodePath("figure")
    actor.reparentTo(holder)
    actor.setScale(0.01)
    actor.setH(actor.getH() + 90)
    frames = actor.getAnimControl("Take 001").getNumFrames()
    poses = []
    for i in range(POSES + 1):
        actor.pose("Take 001", i * frames // POSES if i < POSES else 1)
        actor.update()
        poses.append(baked(holder, TRIANGLES))
    actor.cleanup()
    return poses[:-1], poses[-1]
