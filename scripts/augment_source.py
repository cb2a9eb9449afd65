"""Frames of MetaDrive for scripts/augment: clear ones, and hard ones, which alone are drawn; a file a seed.

It runs with the Python of MetaDrive's own environment: augment_source.py clear|hard FIRST COUNT FOLDER. Run again to go
on. Fog and low light are Panda3D's own: a Fog and dimmed AmbientLight and DirectionalLight in the scene, which the
camera's shader obeys.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "envs" / "driving" / "source"))

import camera
import headless  # noqa: F401  first of MetaDrive: it sets Panda3D up
import numpy as np
from labels import PERSON, VEHICLE
from manners import MANNERS
from panda3d.core import AmbientLight, DirectionalLight, Fog, NodePath
from people import CROSSES
from street import Street

KINDS = ("crossing", "cut_in", "occluded", "collision", "fog", "dark")
STEPS, EVERY, APART, MOST = 250, 8, 10, 2  # of an episode; between clear frames; between hard ones of a kind; of a kind
EMPTY = 0.2  # share of clear frames that are kept though nobody is near
HIGH, PIXELS = 5, 12  # of what is seen of a thing, for it to be asked for: pixels high, and pixels
CROSSING, CUT_IN, SECONDS, HALF = 15.0, 25.0, 1.5, 0.5  # metres; metres; seconds to collision; visible share
LONG_AGO = 10  # steps within which somebody came into the lane
SEEN = 32.0  # metres within which something is, for fog and low light

LIT = """uniform struct { vec4 ambient; } p3d_LightModel;
uniform struct { vec4 color; vec4 position; } p3d_LightSource[1];
"""
FOGGED = """uniform struct { vec4 color; float density; float start; float end; float scale; } p3d_Fog;
"""


def in_weather() -> None:
    """Has the camera's shaders obey the scene's lights and fog; in white light and without fog nothing changes."""
    was = "light = 0.45 + 0.62 * max(dot(normalize(p3d_NormalMatrix * p3d_Normal), sun), 0.0);"
    now = was.replace("0.45", "0.45 * p3d_LightModel.ambient.r").replace("0.62", "0.62 * p3d_LightSource[0].color.r")
    camera.VERTEX = _changed(_changed(camera.VERTEX, was, now), "uniform mat4", LIT + "uniform mat4")
    was = "color = vec4(clamp(c, 0.0, 1.0), 1.0);"
    fogged = "c = mix(p3d_Fog.color.rgb, clamp(c, 0.0, 1.0), exp(-p3d_Fog.density * dist));\n  "
    shader = _changed(camera.FRAGMENT, was, fogged + was)
    camera.FRAGMENT = _changed(shader, "uniform sampler2D", FOGGED + "uniform sampler2D")
    was = "color = vec4(pow(textureLod(p3d_Texture0, uv, 0.0).rgb, vec3(1.0 / 2.2)), 1.0);"
    c = "vec3 c = pow(textureLod(p3d_Texture0, uv, 0.0).rgb, vec3(1.0 / 2.2)) * air.g;\n  "
    sky = c + "color = vec4(mix(vec3(air.r), c, exp(-air.b * 500.0)), 1.0);"
    shader = _changed(camera.SKY_FRAGMENT, was, sky)
    camera.SKY_FRAGMENT = _changed(shader, "uniform sampler2D", "uniform vec3 air; uniform sampler2D")


def _changed(text: str, was: str, now: str) -> str:
    if was not in text:
        raise ValueError(f"the camera's shader has no {was!r} any more: adapt scripts/augment_source.py to it")
    return text.replace(was, now, 1)


class Hard(Street):
    """A street that draws only when asked, and says what of it is hard."""

    def __init__(self) -> None:
        in_weather()
        self.drawing = True  # its first picture is drawn while it is made
        self.lamps: list[NodePath] = []
        super().__init__()
        self.drawing = False

    def _mark(self, rng: np.random.Generator) -> None:
        super()._mark(rng)
        self.weather()

    def weather(self, fog: float = 0.0, light: float = 1.0) -> None:
        """Puts Panda3D's fog and lights there: extinction a metre, and the share of the day's light.

        They are made anew each time: what changes in a Fog or a lamp in place may reach the shader a picture late.
        """
        render, grey = self.engine.render, 0.75 * light
        haze, lamps = Fog("fog"), (AmbientLight("sky"), DirectionalLight("sun"))
        haze.setColor(grey, grey, grey)
        haze.setExpDensity(fog)
        for old in self.lamps:
            old.removeNode()
        self.lamps = [render.attachNewNode(lamp) for lamp in lamps]
        render.clearLight()
        render.setLightOff()  # those that MetaDrive put there for its own camera
        for path in self.lamps:
            path.node().setColor((light, light, light, 1))
            render.setLight(path, 1)
        render.setFog(haze)
        self.eye.sky.setShaderInput("air", (grey, light, fog))  # the dome is no part of what lights and fog reach

    def _told(self, act: np.ndarray, rew: float, kind: int) -> dict[str, Any]:
        if self.drawing:
            return super()._told(act, rew, kind)
        return {"rew": rew, "end": kind, "arrays": {}}

    def look(self) -> dict[str, np.ndarray]:
        """A picture with its labels, and of each thing `COLUMNS`."""
        view = self.eye.see(self.ego, [v for v in self._vehicles() if v is not self.ego])
        found = [row for node, number, kind in self._nodes() for row in self._thing(view, node, number, kind)]
        things = np.array(found, np.float32).reshape(-1, 8)
        layers = {"classes": view.classes, "instances": view.instances, "depth": view.depth}
        return {"frame": view.frame, "things": things, **layers}

    def _nodes(self) -> list[tuple[Any, int, int]]:
        some = [(v.origin, self.names.get(v.name, 0), VEHICLE) for v in self._vehicles() if v is not self.ego]
        return some + [(p.node, 200 + i % 55, PERSON) for i, p in enumerate(self.crowd.people)]

    def _thing(self, view: Any, node: Any, number: int, kind: int) -> list[tuple[float, ...]]:
        """Instance, class, box of what is seen, pixels seen and pixels that would be seen with nothing in between."""
        mask = (view.instances == number) & (view.classes == kind)
        pixels = int(mask.sum())
        if pixels < PIXELS:
            return []
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        return [(number, kind, *box, pixels, max(pixels, self._whole(node, number)))]

    def _whole(self, node: NodePath, number: int) -> int:
        """How many pixels a thing would have with nothing else in the scene."""
        eye = self.eye
        eye.path.node().setScene(node)
        node.setShaderInput("shade", eye.shade)
        view = eye.see(self.ego, [])
        eye.path.node().setScene(self.engine.render)
        return int((view.instances == number).sum())


def crossing(street: Hard) -> list[int]:
    """Instances of people who are on their way across within 15 m ahead."""
    ahead, _ = street.crowd._seen(street.ego)
    people = street.crowd.people
    on = [p.kind == CROSSES and p.speed > 0 and 0 < a < CROSSING for p, a in zip(people, ahead)]
    return [200 + i % 55 for i, yes in enumerate(on) if yes]


def colliding(street: Hard) -> list[int]:
    """Instances of those whom the car hits within 1.5 s if all go on as they go."""
    actors, ego = street._actors(), street.ego
    if not len(actors):
        return []
    heading, (x, y, _) = street._heading(), ego.origin.getPos()
    turn = np.array([[np.cos(heading), np.sin(heading)], [-np.sin(heading), np.cos(heading)]])
    place = (actors[:, 2:4] - (x, y)) @ turn.T  # (n, 2) ahead, to the left
    speed = actors[:, 5:6] * np.stack([np.cos(actors[:, 4]), np.sin(actors[:, 4])], 1) @ turn.T - (ego.speed, 0.0)
    away = np.hypot(*(speed.T)) > 0.5
    times = np.linspace(0, SECONDS, 16)[:, None, None]
    gap = np.abs(place + times * speed)  # (16, n, 2)
    side = np.abs(np.sin(actors[:, 4] - heading))
    long = (actors[:, 6] * (1 - side) + actors[:, 7] * side + ego.LENGTH) / 2
    wide = (actors[:, 7] * (1 - side) + actors[:, 6] * side + ego.WIDTH) / 2
    hit = ((gap[..., 0] < long) & (gap[..., 1] < wide)).any(0) & away & (place[:, 0] > 0) & (actors[:, 0] > 0)
    return [int(number) for number in actors[hit, 0]]


class Lanes:
    """Who came into the car's own lane, within 25 m ahead, in the last second."""

    def __init__(self) -> None:
        self.before: dict[str, int] = {}
        self.lane: Any = None

    def cut_in(self, street: Hard, step: int) -> list[int]:
        """Instances of those who did."""
        lane, found = street.ego.lane, []
        if lane is None or lane is not self.lane:
            self.lane, self.before = lane, {}
        if lane is None:
            return []
        here = lane.local_coordinates(street.ego.position)[0]
        for one in street._vehicles():
            along, aside = lane.local_coordinates(one.position)
            if one is street.ego or not 0 < along - here < CUT_IN:
                continue
            if abs(aside) > lane.width / 2:
                self.before[one.name] = step
            elif step - self.before.get(one.name, -99) <= LONG_AGO and one.speed > 0.5:
                found.append(street.names.get(one.name, 0))
        return found


def hidden(street: Hard) -> bool:
    """Whether of two things near enough one stands about before another, so that it is worth a look."""
    actors = street._actors()
    heading, (x, y, _) = street._heading(), street.ego.origin.getPos()
    way = actors[:, 2:4] - (x, y)
    far, angle = np.hypot(*way.T), np.arctan2(way[:, 1], way[:, 0]) - heading
    angle = (angle + np.pi) % (2 * np.pi) - np.pi
    half = np.arctan(np.maximum(actors[:, 7], 0.5) / 2 / np.maximum(far, 1.0))
    near = (far < SEEN) & (np.abs(angle) < np.deg2rad(28)) & (far > 3)
    before = np.abs(angle[:, None] - angle[None]) < (half[:, None] + half[None]) * 0.7
    return bool((before & near[:, None] & near[None] & (far[:, None] < far[None] - 1.5)).any())


def anything(street: Hard) -> bool:
    """Whether somebody is near enough and in view."""
    actors = street._actors()
    heading, (x, y, _) = street._heading(), street.ego.origin.getPos()
    way = actors[:, 2:4] - (x, y)
    angle = np.arctan2(way[:, 1], way[:, 0]) - heading
    angle = np.abs((angle + np.pi) % (2 * np.pi) - np.pi)
    return bool(((np.hypot(*way.T) < SEEN * 0.8) & (angle < np.deg2rad(25)) & (actors[:, 0] > 0)).any())


def hard(street: Hard, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Hard frames of the episode that the street stands at the beginning of, at most `MOST` of a kind."""
    found: list[dict[str, Any]] = []
    last, count, lanes = dict.fromkeys(KINDS, -APART), dict.fromkeys(KINDS, 0), Lanes()
    sometime = rng.uniform(size=(STEPS, 2)) < 0.03
    for t in range(STEPS):
        asked = {"crossing": crossing(street), "cut_in": lanes.cut_in(street, t), "collision": colliding(street)}
        asked |= {"occluded": [-1] if t % 4 == 0 and hidden(street) else []}
        asked |= {kind: [0] if sometime[t, i] and anything(street) else [] for i, kind in enumerate(("fog", "dark"))}
        for kind, who in asked.items():
            if who and t - last[kind] >= APART and count[kind] < MOST:
                shown = _shown(street, kind, who, rng)
                last[kind] = t if shown else last[kind]
                count[kind] += len(shown)
                found += [one | {"step": np.int64(t)} for one in shown]
        if street.step()["end"] or min(count.values()) == MOST:
            break
    return found


def _shown(street: Hard, kind: str, who: list[int], rng: np.random.Generator) -> list[dict[str, Any]]:
    """The frame, if what makes it hard can be seen in it."""
    fog = float(rng.uniform(0.04, 0.12)) if kind == "fog" else 0.0  # visibility of 100 down to 33 m
    light = float(rng.uniform(0.12, 0.35)) if kind == "dark" else 1.0
    street.weather(fog, light)
    view = street.look()
    street.weather()
    things = view["things"]
    seen = things[(things[:, 5] - things[:, 3] >= HIGH)]
    if kind == "occluded":
        matter = seen[seen[:, 6] <= HALF * seen[:, 7], 0]
    else:
        matter = seen[:, 0] if who == [0] else seen[np.isin(seen[:, 0], who), 0]
    told = {"kind": np.int64(KINDS.index(kind)), "fog": np.float64(fog), "light": np.float64(light)}
    why = np.zeros(len(things), np.float32) + np.isin(things[:, 0], matter)
    return [{**view, **told, "things": np.c_[things, why]}] if len(matter) else []


def clear(street: Hard, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Every so-manieth frame of the episode if somebody may be near, and of others a share."""
    found, offset = [], int(rng.integers(EVERY))
    for t in range(STEPS):
        if t % EVERY == offset and (anything(street) or rng.random() < EMPTY):
            view = street.look()
            things = np.c_[view["things"], np.zeros(len(view["things"]), np.float32)]
            told = {"kind": np.int64(-1), "fog": np.float64(0), "light": np.float64(1), "step": np.int64(t)}
            found.append({**view, **told, "things": things})
        if street.step()["end"]:
            break
    return found


def main(which: str, first: int, count: int, folder: Path) -> None:
    """Writes what is not there."""
    if which not in ("clear", "hard"):
        raise ValueError(f"{which!r}: give clear or hard")
    folder.mkdir(parents=True, exist_ok=True)
    street = None
    for seed in range(first, first + count):
        path, began = folder / f"seed-{seed:06d}.npz", time.monotonic()
        if path.exists():
            continue
        street = street or Hard()
        rng = np.random.default_rng([seed, 77])
        street.reset(seed, **_conditions(seed))
        found = (clear if which == "clear" else hard)(street, rng)
        _write(path, seed, found)
        kinds = np.bincount([int(one["kind"]) + 1 for one in found], minlength=1 + len(KINDS)).tolist()
        print(f"{which} seed {seed}: {len(found)} frames {kinds}, {time.monotonic() - began:.1f} s", flush=True)


def _conditions(seed: int) -> dict[str, Any]:
    """What `gensim.envs.driving.simulator.drawn` draws, which lies on the other side."""
    rng = np.random.default_rng([seed, 5])
    return {
        "traffic": round(float(rng.uniform(0.0, 0.4)), 3),
        "people": int(rng.integers(0, 25)),
        "accidents": round(float(rng.uniform(0, 0.6)), 3),
        "manner": str(rng.choice([*MANNERS], p=(0.25, 0.3, 0.2, 0.13, 0.12))),
    }


def _write(path: Path, seed: int, found: list[dict[str, Any]]) -> None:
    shape = (camera.HEIGHT, camera.WIDTH)
    stack = lambda name, rest: np.stack([one[name] for one in found]) if found else np.zeros((0, *rest))  # noqa: E731
    arrays: dict[str, Any] = {"frame": stack("frame", (*shape, 3)).astype(np.uint8), "seed": np.full(len(found), seed)}
    arrays |= {name: stack(name, shape).astype(np.uint8) for name in ("classes", "instances")}
    arrays["depth"] = stack("depth", shape).astype(np.uint16)
    arrays |= {name: stack(name, ()) for name in ("kind", "fog", "light", "step")}
    owner = [np.full(len(one["things"]), i) for i, one in enumerate(found)]
    things = [one["things"] for one in found]
    arrays["owner"] = np.concatenate(owner) if found else np.zeros(0, np.int64)
    arrays["things"] = (np.concatenate(things) if found else np.zeros((0, 9))).astype(np.float32)
    part = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    with part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    os.replace(part, path)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
