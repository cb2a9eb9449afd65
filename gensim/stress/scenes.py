"""Corner cases of the street, with their labels and with how probable each is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from gensim.agents.road_users import Person, RoadUser, RoadUsersVector
from gensim.agents.road_users.painter import Painter
from gensim.agents.road_users.person import BOTTOMS, GENDERS, HAIRS, TOPS
from gensim.envs.driving.things import things

AGES = {"child": (4.0, 12.0), "adult": (12.0, 65.0), "elder": (65.0, 90.0)}
NEAR, FAR = 5.0, 40.0  # metres
MANY = 64  # people in a scene at most
HIGH = 4  # pixels that something must be high to count
WEATHERS = ("clear", "rain", "fog", "night", "sun")
PACE = np.array([0.0, 0.15], np.float32)  # the robot's action


@dataclass(frozen=True)
class Law:
    """How probable the weather, and the age of people, is; how far away they are is even over metres or their log.

    Arguments:
        weather: probabilities of WEATHERS.
        age: probabilities of AGES.
        near: whether people are drawn evenly over the logarithm of their distance, so that more are near.
    """

    weather: Mapping[str, float]
    age: Mapping[str, float]
    near: bool = False

    def __post_init__(self) -> None:
        for name, law, known in (("weather", self.weather, WEATHERS), ("age", self.age, tuple(AGES))):
            if set(law) != set(known) or not np.isclose(sum(law.values()), 1) or min(law.values()) <= 0:
                raise ValueError(f"{name}={dict(law)}: give probabilities above 0 of {', '.join(known)}, that sum to 1")

    def distance(self, metres: float) -> float:
        """Log-density of a distance, of NEAR to FAR metres."""
        return float(-np.log(metres * np.log(FAR / NEAR)) if self.near else -np.log(FAR - NEAR))


USUAL = Law(
    {"clear": 0.74, "rain": 0.12, "fog": 0.03, "night": 0.08, "sun": 0.03}, {"child": 0.1, "adult": 0.75, "elder": 0.15}
)
CORNER = Law(dict.fromkeys(WEATHERS, 0.2), dict.fromkeys(AGES, 1 / 3), near=True)


@dataclass(frozen=True)
class Thing:
    """Something to be seen.

    Its kind; the box of what can be seen of it: left, top, right, bottom, in pixels; metres; visible share 0..1; and
    what else is known of it, as words.
    """

    kind: str
    box: tuple[float, float, float, float]
    distance: float
    visible: float
    traits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scene:
    """A frame uint8 (h, w, 3), what is in it, its weather; nats under the reference law, and as it was drawn."""

    frame: np.ndarray
    things: tuple[Thing, ...]
    weather: str
    log_p: float
    log_q: float
    seed: int


def scenes(
    count: int,
    seed: int,
    reference: Law = USUAL,
    proposal: Law = CORNER,
    people: int = 2,
    rows: int = 8,
    steps: int = 6,
    painter: Painter | None = None,
) -> Iterator[Scene]:
    """Frames of dreamed streets on which people cross, `rows` of each crowd and weather.

    Weather, ages and distances are drawn from the proposal and weighed by the reference law; all else, from genders to
    what the world dreams, is drawn alike under both.

    Raises:
        ValueError: if there is nothing to draw.
    """
    if min(count, rows, steps) < 1 or people < 0:
        raise ValueError(f"count={count}, rows={rows}, steps={steps}, people={people}: give at least 1, 1, 1 and 0")
    for batch in range(-(-count // rows)):
        rng = np.random.default_rng([seed, batch])
        weather = str(rng.choice(WEATHERS, p=[proposal.weather[name] for name in WEATHERS]))
        strength = float(rng.uniform(0.3, 1.0))
        crowd = [_somebody(rng, proposal) for _ in range(people)]
        log_p, log_q = (_log(law, weather, crowd) for law in (reference, proposal))
        wish = {} if weather == "clear" else {weather: strength}
        drawn = _dreamed(crowd, wish, rows, steps, seed * 1_000_003 % 2**31 + batch * rows, painter)
        for i, (frame, found) in enumerate(drawn):
            if batch * rows + i < count:
                yield Scene(frame, found, weather, log_p, log_q, batch * rows + i)


def crossing(count: int, seed: int, law: Law = USUAL) -> list[RoadUser]:
    """So many people about to cross, drawn by a seed.

    Raises:
        ValueError: if there are more than MANY, or seed is negative.
    """
    if not 0 <= count <= MANY or seed < 0:
        raise ValueError(f"people={count}, of seed {seed}: give 0 to {MANY}, and a seed of 0 or more")
    rng = np.random.default_rng(seed)
    return [_somebody(rng, law)[0] for _ in range(count)]


def _somebody(rng: np.random.Generator, law: Law) -> tuple[RoadUser, str, float]:
    """Somebody about to cross, their age's name, and how far away they are."""
    band = str(rng.choice(tuple(AGES), p=[law.age[name] for name in AGES]))
    u = rng.random()
    far = float(NEAR * (FAR / NEAR) ** u if law.near else NEAR + u * (FAR - NEAR))
    top, colours = str(rng.choice(TOPS)), rng.integers(10, 246, (2, 3))
    person = Person(
        age=float(rng.uniform(*AGES[band])),
        gender=str(rng.choice(GENDERS)),
        build=float(rng.random()),
        skin=float(rng.uniform(1, 10)),
        top=top,
        bottom=str(rng.choice(BOTTOMS[:2] if top == "dress" else BOTTOMS)),
        top_colour=_rgb(colours[0]),
        bottom_colour=_rgb(colours[1]),
        hair=str(rng.choice(HAIRS)),
        temperament=float(rng.random()),
        identity=int(rng.integers(2**31)),
    )
    side = 1 if rng.random() < 0.5 else -1
    left = side * float(rng.uniform(0.5, 4.5))
    return RoadUser(person, far, left, -side * np.pi / 2, (0.5, 8.0)), band, far


def _rgb(colour: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = (int(part) for part in colour)
    return red, green, blue


def _log(law: Law, weather: str, crowd: Sequence[tuple[RoadUser, str, float]]) -> float:
    own = [float(np.log(law.age[band])) + law.distance(far) for _, band, far in crowd]
    return float(np.log(law.weather[weather])) + sum(own)


def _dreamed(
    crowd: Sequence[tuple[RoadUser, str, float]],
    weather: Mapping[str, float],
    rows: int,
    steps: int,
    seed: int,
    painter: Painter | None,
) -> Iterator[tuple[np.ndarray, tuple[Thing, ...]]]:
    """A frame of each row, and what is in it: the last one before any row ends."""
    plain = gym.make_vec("gensim/Driving-v0", num_envs=rows, labels=True, trust_floor=0.0, autoreset_mode="Disabled")
    env = RoadUsersVector(plain, [user for user, _, _ in crowd], painter=painter)
    frames, info = env.reset(seed=seed, options={"weather": dict(weather)})
    for _ in range(steps):
        after, _, term, trunc, told = env.step(np.tile(PACE, (rows, 1)))
        if (term | trunc).any():
            break
        frames, info = after, told
    env.close()
    for row in range(rows):
        yield frames[row], _things(info, row, [band for _, band, _ in crowd])


def _things(info: Mapping[str, Any], row: int, bands: Sequence[str]) -> tuple[Thing, ...]:
    """People that were put there, and what the world itself drew beside them."""
    people = info["people"][row]
    taken = np.zeros(info["classes"][row].shape, bool)
    found = []
    for one in people:
        taken |= one["mask"]
        box = _around(one["mask"])
        if box is not None and box[3] - box[1] >= HIGH:
            found.append(Thing("person", box, one["distance"], one["visible"], _traits(one, bands)))
    classes = np.where(taken, 0, info["classes"][row])
    for thing in things(classes, info["depth"][row], HIGH):
        found.append(Thing(thing.kind, thing.box, thing.distance, 1.0))
    return tuple(found)


def _around(mask: np.ndarray) -> tuple[float, float, float, float] | None:
    """The box around what can be seen of something, None where nothing can."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _traits(one: Mapping[str, Any], bands: Sequence[str]) -> dict[str, str]:
    about = one["attributes"]
    skin = "light" if about["skin"] < 4 else "medium" if about["skin"] < 7 else "dark"
    return {"age": bands[one["who"]], "gender": about["gender"], "skin": skin, "top": about["top"]}
