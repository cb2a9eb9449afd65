"""MetaDrive as a recorder needs it: an episode from a seed, a step with an action or a driver's, and what is seen."""

from __future__ import annotations

from typing import Any

import headless  # first: it sets Panda3D up
import numpy as np
from camera import MASK, Eye, View, say
from drivers import Driver, mind
from labels import KINDS, OBJECT, VEHICLE
from manners import MANNERS
from meshes import baked
from metadrive.component.static_object.traffic_object import TrafficObject
from metadrive.component.vehicle.base_vehicle import BaseVehicle
from panda3d.core import NodePath
from people import Crowd

SECONDS = 0.1  # of a step: five of the physics' own
ENDS = {"crash_vehicle": 1, "crash_object": 2, "crash_building": 2, "out_of_road": 4, "arrive_dest": 5}
PENALTY = 5.0  # for touching a person, as for vehicles
NEAR = 150.0  # metres within which actors are told
PAINTS = ((1, 1, 1), (0.75, 0.77, 0.8), (0.25, 0.26, 0.28), (0.8, 0.2, 0.17), (0.25, 0.38, 0.75), (0.3, 0.5, 0.35))
TRIANGLES = {"vehicle.gltf": 2500, "tire": 150, "": 600}


class Street:
    """One engine; MetaDrive has no room for two in a process."""

    def __init__(self) -> None:
        self.env = headless.make()
        self.engine = self.env.engine
        self._bake()
        self.env.reset(force_seed=0)
        self.eye, self.crowd = Eye(self.engine), Crowd(self.engine)
        mind(self.crowd)
        self.reset(0, 0.0, 0, 0.0, "usual")  # the first picture of a process differs from its second in some pixels

    def reset(self, seed: int, traffic: float, people: int, accidents: float, manner: str) -> dict[str, Any]:
        """Opens the episode of a seed.

        Arguments:
            seed: of map, traffic, people and driver.
            traffic: vehicles for each 10 m of lane, 0..0.4.
            people: how many there are along the way.
            accidents: probability in each block of cones, barriers or a vehicle broken down.
            manner: how the ego's driver drives, where it is asked; one of `MANNERS`.
        """
        rng = np.random.default_rng([seed, 20])
        np.random.seed(seed)  # MetaDrive draws from it, too
        self.engine.global_config.update({"traffic_density": traffic, "accident_prob": accidents})
        self.env.reset(force_seed=seed)
        self.ego = self.env.vehicle
        self._mark(rng)
        self.eye.draw(self.env.current_map.blocks)
        self.crowd.reset(rng, _roads(self.env.current_map), people)
        self.driver = Driver(self.ego, MANNERS[manner], rng)
        self.heading = self._heading()
        return self._told(np.zeros(2, np.float32), 0.0, 0)

    def step(self, act: Any = None) -> dict[str, Any]:
        """A tenth of a second with an action (steer, pedal), left and gas being positive, or with the driver's own."""
        act = self.driver.act() if act is None else np.clip(np.asarray(act, np.float32), -1, 1)
        _, rew, done, info = self.env.step(act.tolist())
        self.crowd.step(self.ego, SECONDS)
        kind = _kind(info) if done else 0
        if kind in (0, KINDS.index("arrived")) and self.crowd.touches(self.ego):
            rew, kind = -PENALTY, KINDS.index("person")
        return self._told(act, rew, kind)

    def _told(self, act: np.ndarray, rew: float, kind: int) -> dict[str, Any]:
        view: View = self.eye.see(self.ego, [v for v in self._vehicles() if v is not self.ego])
        arrays = {"frame": view.frame, "classes": view.classes, "instances": view.instances, "depth": view.depth}
        arrays |= {"act": act, "ego": self._ego(act), "actors": self._actors()}
        return {"rew": float(rew), "end": kind, "arrays": arrays}

    def _ego(self, act: np.ndarray) -> np.ndarray:
        """What `EGO` names, float32: metres, radians, m/s, rad/s, steering -1..1, metres, share of the route."""
        heading, ego = self._heading(), self.ego
        turned = (heading - self.heading + np.pi) % (2 * np.pi) - np.pi
        self.heading = heading
        x, y, _ = ego.origin.getPos()
        lane = ego.navigation.current_ref_lanes[0] if ego.lane is None else ego.lane
        aside = -lane.local_coordinates(ego.position)[1]
        return np.array([x, y, heading, ego.speed, turned / SECONDS, act[0], aside, self._completed()], np.float32)

    def _completed(self) -> float:
        """The share of the route that lies behind."""
        navigation = self.ego.navigation
        graph, points = navigation.map.road_network.graph, navigation.checkpoints
        lengths = [graph[a][b][0].length for a, b in zip(points, points[1:])]
        at = min(navigation._target_checkpoints_index[0], len(lengths) - 1)
        along = navigation.current_ref_lanes[0].local_coordinates(self.ego.position)[0]
        return min(1.0, max(0.0, (sum(lengths[:at]) + along) / sum(lengths)))

    def _heading(self) -> float:
        ahead = self.ego.origin.getQuat().getForward()
        return float(np.arctan2(ahead[1], ahead[0]))

    def _actors(self) -> np.ndarray:
        """What `ACTOR` names of everything that moves or stands in the way within 150 m, float32 (n, 9)."""
        rows = [_row(v, self.names.get(v.name, 0), VEHICLE) for v in self._vehicles() if v is not self.ego]
        rows += [_row(thing, 0, OBJECT) for thing in self._things()]
        actors = np.concatenate([np.array(rows, np.float32).reshape(-1, 9), self.crowd.rows()])
        x, y, _ = self.ego.origin.getPos()
        return actors[np.hypot(actors[:, 2] - x, actors[:, 3] - y) < NEAR]

    def _vehicles(self) -> list[Any]:
        return list(self.engine.get_objects(lambda o: isinstance(o, BaseVehicle)).values())

    def _things(self) -> list[Any]:
        return list(self.engine.get_objects(lambda o: isinstance(o, TrafficObject)).values())

    def _mark(self, rng: np.random.Generator) -> None:
        """Tells the camera what is what, paints vehicles, and hides the one that it sits on."""
        self.names: dict[str, int] = {}
        for vehicle in self._vehicles():
            self.names[vehicle.name] = 1 + len(self.names) % 199
            say(vehicle.origin, VEHICLE, self.names[vehicle.name])
            vehicle.origin.setColorScale(*PAINTS[rng.integers(len(PAINTS))], 1.0)
        self.ego.origin.hide(MASK)
        for thing in self._things():
            say(thing.origin, OBJECT)

    def _bake(self) -> None:
        """Has models of vehicles and obstacles loaded once, baked, and given out as copies."""
        load, kept = self.engine.loader.loadModel, {}

        def baking(path: Any, *args: Any, **kwargs: Any) -> NodePath:
            name = str(path)
            if not name.endswith(".gltf"):
                return load(path, *args, **kwargs)
            if name not in kept:
                count = next(n for part, n in TRIANGLES.items() if part in name)
                kept[name] = baked(load(path, *args, **kwargs), count)
            return kept[name].copyTo(NodePath("baked"))

        self.engine.loader.loadModel = baking


def _row(thing: Any, number: int, kind: int) -> tuple[float, ...]:
    x, y, _ = thing.origin.getPos()
    ahead = thing.origin.getQuat().getForward()
    speed = float(getattr(thing, "speed", 0.0))
    return number, kind, x, y, np.arctan2(ahead[1], ahead[0]), speed, thing.LENGTH, thing.WIDTH, thing.HEIGHT


def _roads(map_: Any) -> list[list[Any]]:
    """The lanes of each road of the map's blocks but the first, long enough to stand beside."""
    found = [lanes for block in map_.blocks[1:] for lanes in block.block_network.get_positive_lanes()]
    return [lanes for lanes in found if len(lanes) and lanes[0].length > 15]


def _kind(info: dict[str, Any]) -> int:
    """Which of `KINDS` ended an episode."""
    return next((kind for name, kind in ENDS.items() if info.get(name)), 0)
