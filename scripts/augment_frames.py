"""Frames that scripts/augment trains on and judges by: recorded, generated, with people pasted, and through filters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np

from gensim.agents.road_users import RoadUsersVector
from gensim.agents.road_users.camera import DRIVING
from gensim.agents.road_users.wrapper import Stage
from gensim.core.files import atomic_path, load_arrays
from gensim.envs.driving.source.labels import FAR, GROUND, LINE, NEAR, PERSON, ROAD, STEPS, VEHICLE, WALK, metres
from gensim.envs.driving.things import things
from gensim.envs.driving.weather import HORIZON, Weather, apply
from gensim.stress.scenes import CORNER, PACE, crossing

HIGH, PIXELS = 5, 12  # of what is seen of a thing, for it to count: pixels high, and pixels
HALF = 0.5  # visible share of what is half occluded
COLUMNS = ("person", "left", "top", "right", "bottom", "pixels", "visible", "why")  # of things, float32
PARTS = ("frame", "classes", "instances", "depth", "things", "owner", "kind")
FOLLOWED = 3  # people on a dreamed street, at the most
Strengths = Mapping[str, tuple[float, float]]  # from which to which, of each weather that is drawn
ON = (ROAD, LINE, WALK, GROUND)


@dataclass(frozen=True)
class Shots:
    """Frames with their labels.

    Arguments:
        frame: uint8 (n, h, w, 3).
        classes: uint8 (n, h, w), of `CLASSES`.
        instances: uint8 (n, h, w), which thing a pixel is of.
        depth: float32 (n, h, w), metres along the view.
        things: float32 (m, 8), `COLUMNS` of each thing that counts; `visible` is its visible share, `why` is 1 if it
            is what makes a frame hard.
        owner: int (m,), the frame it is in.
        kind: int (n,), of the hardness; -1 for none.
    """

    frame: np.ndarray
    classes: np.ndarray
    instances: np.ndarray
    depth: np.ndarray
    things: np.ndarray
    owner: np.ndarray
    kind: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def careless(self) -> np.ndarray:
        """Pixels bool (n, h, w) of people and vehicles too small to count."""
        small = np.isin(self.classes, (PERSON, VEHICLE))
        for (_, left, t, right, b, *_), i in zip(self.things.astype(int), self.owner):
            small[i, t:b, left:right] = False
        return small

    def rows(self, index: np.ndarray) -> Shots:
        """Some of the frames."""
        at = [np.flatnonzero(self.owner == i) for i in index]
        owner = np.repeat(np.arange(len(index)), [len(one) for one in at])
        some = np.concatenate(at).astype(int) if at else np.zeros(0, int)
        few = (self.frame[index], self.classes[index], self.instances[index], self.depth[index])
        return Shots(*few, self.things[some], owner, self.kind[index])

    @classmethod
    def cat(cls, parts: Sequence[Shots]) -> Shots:
        """One after the other."""
        starts = np.cumsum([0, *(len(one) for one in parts)])
        owner = np.concatenate([one.owner + start for one, start in zip(parts, starts)])
        joined = {name: np.concatenate([getattr(one, name) for one in parts]) for name in PARTS if name != "owner"}
        return cls(**joined, owner=owner)

    def save(self, path: Path) -> None:
        """Writes them as one file."""
        with atomic_path(path) as part, part.open("wb") as file:
            np.savez_compressed(file, **{name: getattr(self, name) for name in PARTS})

    @classmethod
    def load(cls, path: Path) -> Shots:
        """Reads what `save` wrote."""
        return cls(**load_arrays(path, PARTS))


def recorded(folder: Path, first: int, count: int) -> Shots:
    """What augment_source.py drew of so many seeds; FileNotFoundError where one is not there."""
    names = ("frame", "classes", "instances", "depth", "things", "owner", "kind", "seed", "fog", "light", "step")
    found = [load_arrays(folder / f"seed-{seed:06d}.npz", names) for seed in range(first, first + count)]
    parts = []
    for one in (one for one in found if len(one["frame"])):
        rows = one["things"]
        counts = (rows[:, 5] - rows[:, 3] >= HIGH) & (rows[:, 6] >= PIXELS)
        share = rows[:, 6:7] / np.maximum(rows[:, 7:8], 1)
        table = np.c_[rows[:, 1:2] == PERSON, rows[:, 2:7], share, rows[:, 8:9]].astype(np.float32)[counts]
        few = (one["frame"], one["classes"], one["instances"], metres(one["depth"] / STEPS).astype(np.float32))
        parts.append(Shots(*few, table, one["owner"][counts], one["kind"].astype(int)))
    return Shots.cat(parts)


def table_of(classes: np.ndarray, instances: np.ndarray, numbers: Sequence[int]) -> np.ndarray:
    """`COLUMNS` of what is seen of some instances, of those that count."""
    rows = []
    for number in numbers:
        mask = instances == number
        if mask.sum() < PIXELS:
            continue
        high, wide = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if high[-1] + 1 - high[0] >= HIGH:
            person = float(classes[mask][0] == PERSON)
            rows.append((person, wide[0], high[0], wide[-1] + 1, high[-1] + 1, mask.sum(), 1.0, 0.0))
    return np.array(rows, np.float32).reshape(-1, len(COLUMNS))


def joined(some: Sequence[tuple[np.ndarray, ...]]) -> Shots:
    """Shots of a frame, its classes, instances, distances and table each."""
    frame, classes, instances, depth, tables = zip(*some)
    owner = np.repeat(np.arange(len(some)), [len(one) for one in tables])
    layers = (np.stack(frame), np.stack(classes), np.stack(instances), np.stack(depth))
    return Shots(*layers, np.concatenate(tables), owner, np.full(len(some), -1))


# -------------------------------------------------------------------- generated


def generated(count: int, seed: int, strengths: Strengths, rows: int = 4, steps: int = 4) -> Shots:
    """Dreamed streets with traffic and weather, on which people of `CORNER` cross: `rows` of each crowd and weather."""
    found: list[tuple[np.ndarray, ...]] = []
    for batch in range(-(-count // rows)):
        rng = np.random.default_rng([seed, batch])
        weather = str(rng.choice([*strengths]))
        strength = float(rng.uniform(*strengths[weather]))
        crowd = crossing(int(rng.integers(1, FOLLOWED + 1)), int(rng.integers(2**31)), CORNER)
        wish: dict[str, Any] = {"weather": {} if weather == "clear" else {weather: strength}}
        wish |= {"start": "mid", "traffic": round(float(rng.uniform(0.1, 0.4)), 3)}
        found += _dreamed(crowd, wish, rows, steps, seed * 1_000_003 % 2**31 + batch * rows)
    return joined(found[:count])


def _dreamed(crowd: list, wish: dict[str, Any], rows: int, steps: int, seed: int) -> Iterator[tuple[np.ndarray, ...]]:
    plain = gym.make_vec("gensim/Driving-v0", num_envs=rows, labels=True, trust_floor=0.0, autoreset_mode="Disabled")
    env = RoadUsersVector(plain, crowd)
    frames, info = env.reset(seed=seed, options=wish)
    for _ in range(steps):
        after, _, term, trunc, told = env.step(np.tile(PACE, (rows, 1)))
        if (term | trunc).any():
            break
        frames, info = after, told
    env.close()
    for row in range(rows):
        yield (frames[row].copy(), *_labels(info, row))


def _labels(info: dict[str, Any], row: int) -> tuple[np.ndarray, ...]:
    """Classes, instances, distances and table of what the world drew, and of the people put there."""
    classes = info["classes"][row].copy()
    instances = np.zeros(classes.shape, np.uint8)
    people = [one["mask"] for one in info["people"][row]]
    bare = np.where(np.any(people, 0), 0, classes) if people else classes
    for i, one in enumerate(things(bare, info["depth"][row], 3), 1):
        instances[one.mask] = i if one.kind != "object" else 0
    for i, mask in enumerate(people):
        instances[mask], classes[mask] = 200 + i, PERSON
    numbers = [n for n in np.unique(instances).tolist() if n]
    return classes, instances, info["depth"][row].astype(np.float32), table_of(classes, instances, numbers)


def inserted(
    clear: Shots, count: int, seed: int, strengths: Strengths, people: tuple[int, int] = (1, FOLLOWED)
) -> Shots:
    """Clear frames into which people of `CORNER`, so many at least and at most, and weather are put by their labels."""
    rng = np.random.default_rng([seed, 3])
    return joined([_inserted(clear, int(rng.integers(len(clear))), rng, strengths, people) for _ in range(count)])


def _inserted(
    clear: Shots, at: int, rng: np.random.Generator, strengths: Strengths, people: tuple[int, int]
) -> tuple[np.ndarray, ...]:
    crowd = crossing(int(rng.integers(people[0], people[1] + 1)), int(rng.integers(2**31)), CORNER)
    name = str(rng.choice([*strengths]))
    strength, key = float(rng.uniform(*strengths[name])), int(rng.integers(2**60))
    weather = Weather.of({} if name == "clear" else {name: strength}, 1)

    def under(frames: np.ndarray, classes: np.ndarray, depth: np.ndarray) -> np.ndarray:
        far = (np.log(np.clip(depth, NEAR, FAR) / NEAR) / np.log(FAR / NEAR)).astype(np.float32)
        return apply(weather, frames, classes, far, np.array([key], np.uint64), np.array([0]))

    frame, classes, depth = clear.frame[at : at + 1], clear.classes[at : at + 1], clear.depth[at : at + 1]
    stage = Stage(crowd, 1, DRIVING, 0.1, None, None, 0.6, float(rng.uniform(-np.pi, np.pi)))
    stage.scenes.reset(np.array([key], np.uint64), np.ones(1, bool))
    on = lambda frames, people, far: under(frames, np.where(people, PERSON, classes), far)  # noqa: E731
    told = {"depth": depth, "classes": classes}
    out, found = stage.drawn(under(frame, classes, depth), told, None if weather.clear.all() else on)
    instances = clear.instances[at].copy()
    for i, one in enumerate(found["people"][0]):
        instances[one["mask"]] = 250 + i
    numbers = [*_numbers(clear, at, clear.things[clear.owner == at]), *range(250, 250 + len(found["people"][0]))]
    return out[0], found["classes"][0], instances, found["depth"][0], table_of(found["classes"][0], instances, numbers)


# -------------------------------------------------------------------- pasted


def pasted(clear: Shots, count: int, seed: int) -> Shots:
    """Clear frames onto whose ground people and vehicles cut out of others are pasted, as large as they are there."""
    rng = np.random.default_rng([seed, 1])
    inner = (clear.things[:, 1] > 0) & (clear.things[:, 3] < clear.frame.shape[2])
    whole = inner & (clear.things[:, 6] > 0.9) & (clear.things[:, 4] - clear.things[:, 2] >= 7)
    cuts = [np.flatnonzero(whole & (clear.things[:, 0] == person)) for person in (0, 1)]
    return joined([_pasted(clear, int(rng.integers(len(clear))), cuts, rng) for _ in range(count)])


def _pasted(clear: Shots, onto: int, cuts: list[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    layers = [part[onto].copy() for part in (clear.frame, clear.classes, clear.instances)]
    here = clear.things[clear.owner == onto]
    kept = _numbers(clear, onto, here)
    bottoms = dict(zip(kept, here[:, 4]))
    for number in range(250, 250 + int(rng.integers(1, 4))):
        cut = int(rng.choice(cuts[int(rng.random() < 0.6)]))
        bottom = _paste(layers, _cutout(clear, cut), number, bottoms, rng)
        bottoms |= {number: bottom} if bottom else {}
    return (*layers, clear.depth[onto], table_of(layers[1], layers[2], [*bottoms]))


def _numbers(clear: Shots, at: int, here: np.ndarray) -> list[int]:
    """The instances that rows of a frame's things are of: the commonest one of the class in each box."""
    found = []
    for person, left, t, right, b, *_ in here.astype(int):
        kind = clear.classes[at, t:b, left:right] == (PERSON if person else VEHICLE)
        found.append(int(np.bincount(clear.instances[at, t:b, left:right][kind]).argmax()))
    return found


def _cutout(clear: Shots, cut: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """A thing's pixels, its mask, its class, and the row it stands on."""
    at, (person, left, t, right, b) = clear.owner[cut], clear.things[cut, :5].astype(int)
    kind = PERSON if person else VEHICLE
    inside = clear.classes[at, t:b, left:right] == kind
    number = np.bincount(clear.instances[at, t:b, left:right][inside]).argmax()
    return clear.frame[at, t:b, left:right], inside & (clear.instances[at, t:b, left:right] == number), kind, int(b)


def _paste(
    layers: list[np.ndarray], cut: tuple, number: int, bottoms: dict[int, float], rng: np.random.Generator
) -> float:
    """Pastes a cutout where ground is, behind what stands nearer; returns the row it stands on, 0 if nowhere."""
    (frame, classes, instances), (pixels, mask, kind, stood) = layers, cut
    h, w = classes.shape
    horizon = h * HORIZON
    for _ in range(20):
        scale = float(np.exp(rng.uniform(np.log(0.6), np.log(1.8))))
        bottom, x = round(horizon + (stood - horizon) * scale), int(rng.integers(w))
        size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
        left, top = x - size[0] // 2, bottom - size[1]
        if bottom > h or top < 0 or left < 0 or left + size[0] > w or classes[min(bottom, h - 1), x] not in ON:
            continue
        place = (slice(top, bottom), slice(left, left + size[0]))
        nearer = np.isin(instances[place], [n for n, row in bottoms.items() if row > bottom])
        small = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
        over = (cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0) & ~nearer
        frame[place][over], classes[place][over], instances[place][over] = small[over], kind, number
        return float(bottom)
    return 0.0


# -------------------------------------------------------------------- filtered


def filtered(clear: Shots, count: int, seed: int, menu: int = 5) -> Shots:
    """Clear frames through one plain filter each, of the first ones of haze, darkness, noise, blur, less contrast."""
    rng = np.random.default_rng([seed, 2])
    some = clear.rows(rng.integers(len(clear), size=count))
    frames = [_filtered(frame.astype(np.float32), int(rng.integers(menu)), rng) for frame in some.frame]
    return replace(some, frame=np.stack(frames))


def _filtered(x: np.ndarray, which: int, rng: np.random.Generator) -> np.ndarray:
    if which == 0:
        x = x + float(rng.uniform(0.3, 0.75)) * (float(rng.uniform(180, 230)) - x)
    elif which == 1:
        x = 255 * (x / 255) ** float(rng.uniform(1.2, 2.2)) * float(rng.uniform(0.25, 0.7))
    elif which == 2:
        x = x + rng.normal(0, float(rng.uniform(5, 20)), x.shape)
    elif which == 3:
        x = cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.5, 1.5)))
    else:
        x = x.mean() + float(rng.uniform(0.3, 0.8)) * (x - x.mean())
    return np.clip(x + 0.5, 0, 255).astype(np.uint8)
