"""Encounters to learn behaviour from: people who want to cross where a robot comes along.

How they move is JuPedSim's social force model; whether they go is a model of gap acceptance; how they answer what the
robot does next is ours: they look again, wait at the kerb, hurry or step back, some time after there was something to
see.

References: Simulating dynamical features of escape panic (Helbing et al., 2000), doi:10.1038/35035023. Gap acceptance
probability model for pedestrians at unsignalized mid-block crosswalks based on logistic regression (Zhao et al., 2019),
doi:10.1016/j.aap.2019.05.012, whose gaps of 2.2, 5.9 and 9.6 s that 95 % accept over 4, 7.5 and 11 m are met here by
somebody of middling temperament; the slope of the law and what temperament does to it are ours.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import jupedsim
import numpy as np

from gensim.agents.road_users.senses import HALF, NEVER, Robot, Walkers, along, arrival, passing

DT, INNER = 0.1, 2  # seconds between two looks, and the simulator's steps in them
STEPS = 160
SLOPE, SURE = 1.6, np.log(0.95 / 0.05)  # of the law of gaps, a second; its log-odds where 95 % accept
DELAY = 4  # steps until somebody careful answers what they see; twice that, distracted, and with recklessness
MARGIN = 1.3  # seconds that recklessness takes off the second that people like to keep between them and a robot
FASTEST = 4.5  # metres a second
ROOM = 30.0  # metres of pavement to each side
WAIT, CROSS, BACK, HURRY, STAND = range(5)


@dataclass
class Encounter:
    """One street with a robot on it and some people, over time.

    Arrays by step: place and velocity (t, n, 2); robot_place and robot_velocity (t, 2); who they are; what they do, and
    whether it is a slip (t, n).
    """

    place: np.ndarray
    velocity: np.ndarray
    robot_place: np.ndarray
    robot_velocity: np.ndarray
    walkers: Walkers
    doing: np.ndarray
    slips: np.ndarray


def gap_wanted(width: np.ndarray, temperament: np.ndarray) -> np.ndarray:
    """Seconds until the robot comes that 95 % of such people want, to cross so many metres."""
    usual = 1.057 * width - 2.03
    return np.maximum(usual * (1.5 - 1.15 * temperament), 0.2)


def encounter(seed: int, slips: float = 0.0) -> Encounter:
    """The encounter of a seed: of those it draws the first in which the social forces throw nobody about.

    slips: share of people who now and then do what they would not: who learns from them sees how people get out of
    trouble, but is not to learn the slips (DART: Noise Injection for Robust Imitation Learning, Laskey et al., 2017,
    arXiv:1703.09327).
    """
    for attempt in range(100):
        with suppress(RuntimeError):  # the simulator's, when somebody was thrown out of the street
            found = _encounter(np.random.default_rng((seed, attempt)), slips)
            if np.linalg.norm(found.velocity, axis=-1).max() < FASTEST:
                return found
    raise RuntimeError(f"seed {seed}: in 100 encounters somebody was thrown about; the simulator's forces are broken")


def _encounter(rng: np.random.Generator, slips: float) -> Encounter:
    walkers, width = _people(rng)
    robot_place, robot_velocity = _drive(rng, width, walkers)
    mind = Mind(walkers, width, rng)
    street = Street(walkers, width)
    slipped = _slips(len(walkers), slips, rng)
    places, velocities, doing = [], [], []
    for step in range(STEPS):
        places.append(walkers.place.copy())
        velocities.append(walkers.velocity.copy())
        mind.think(_noticed(walkers, robot_place, robot_velocity, step))
        doing.append(np.where(slipped[step] >= 0, slipped[step], mind.doing))
        street.move(doing[-1])
    seen = np.stack(places), np.stack(velocities), robot_place, robot_velocity
    return Encounter(*seen, walkers, np.stack(doing), slipped >= 0)


def _slips(n: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """What people do by mistake (STEPS, n), a few times for up to a second and a half; -1: nothing."""
    found = np.full((STEPS, n), -1)
    for who in np.flatnonzero(rng.random(n) < share):
        for _ in range(int(rng.integers(1, 4))):
            begins, lasts = int(rng.integers(0, 110)), int(rng.integers(3, 16))
            found[begins : begins + lasts, who] = rng.choice((WAIT, CROSS, BACK, HURRY))
    return found


def _noticed(walkers: Walkers, place: np.ndarray, velocity: np.ndarray, step: int) -> Robot:
    """The robot as each expects it to be now, from what they saw of it some time ago."""
    slow = DELAY + 4 * walkers.temperament + DELAY * walkers.distracted
    ago = np.minimum(slow.round().astype(int), step)  # (n,)
    then = velocity[step - ago]
    return Robot(place[step - ago] + then * ago[:, None] * DT, then, np.ones(len(walkers), bool))


class Sight(NamedTuple):
    """What each sees (n,): metres ahead at which the robot's middle passes, the seconds until it does, metres to the
    kerb, and whether they are on the road."""

    lane: np.ndarray
    when: np.ndarray
    to_kerb: np.ndarray
    inside: np.ndarray


class Mind:
    """What people have in mind: to wait, to cross, to step back or to hurry."""

    def __init__(self, walkers: Walkers, width: float, rng: np.random.Generator) -> None:
        n = len(walkers)
        self.walkers, self.width = walkers, width
        self.doing = np.full(n, CROSS)
        self.decided = np.zeros(n, bool)  # to cross, for now
        self.looks = rng.uniform(0, 1, n)  # when they look next, seconds
        self.time = 0.0
        self.luck = rng.logistic(size=n)  # how much they differ from day to day
        self.jumpy = rng.random(n)

    def think(self, robot: Robot) -> None:
        """Each looks at the robot, as it was some time ago, and makes up their mind."""
        w, self.time = self.walkers, self.time + DT
        at = (w.place * w.goal).sum(-1)
        to_kerb, to_end = w.kerbs[:, 0] - at, w.kerbs[:, 1] - at
        place, velocity = along(w.goal, robot.place - w.place), along(w.goal, robot.velocity)
        when = self._when(place, velocity)
        looking = self.time > self.looks
        self.looks = np.where(looking, self.time + np.where(w.distracted > 0, 1.2, 0.4), self.looks)
        gap = when - gap_wanted(np.full(len(w), self.width), w.temperament)
        willing = SLOPE * gap + SURE + self.luck > 0
        before, inside = to_kerb > 0, (to_kerb <= 0) & (to_end > -0.3)
        near_kerb = before & (to_kerb < 1.0)
        self.decided = np.where(before & looking, willing, self.decided)
        before_now = self.doing
        self.doing = np.where(near_kerb & ~self.decided, WAIT, CROSS)
        self._answer(before_now == HURRY, Sight(passing(place, velocity), when, to_kerb, inside))

    def _when(self, place: np.ndarray, velocity: np.ndarray) -> np.ndarray:
        """Seconds until the robot comes, or NEVER: it has passed, or brakes to a stand."""
        slow = np.abs(velocity[:, 1]) < 0.6
        return np.where(slow & (np.abs(place[:, 1]) > HALF[0] + 0.7), NEVER, arrival(place, velocity))

    def _answer(self, hurries: np.ndarray, seen: Sight) -> None:
        """Who is on the road sees whether they and the robot will meet, and if so waits, steps back or hurries."""
        w, (lane, when, to_kerb, inside) = self.walkers, seen
        clear = np.maximum(lane + HALF[1] + 0.5, 0) / np.maximum(w.pace, 0.3)  # until they are past its path
        reach = np.maximum(lane - HALF[1] - 0.5, 0) / np.maximum(w.pace, 0.3)  # until they are in it
        margin = 1.0 - MARGIN * w.temperament
        meets = (when < clear + margin) & (when + 1.2 > reach - margin) & (lane > -HALF[1] - 0.5)
        halts = meets & (to_kerb > 0) & (to_kerb < 0.6)  # whatever they decided, nobody steps before it
        meets &= inside
        quick = np.maximum(lane + HALF[1] + 0.4, 0) / (w.pace * 1.9)
        hurry = meets & ((quick + 0.6 < when) | (lane < 0.3))  # who is past its middle gains nothing by turning round
        hurry |= meets & hurries & (lane < HALF[1] + 0.5)
        stay = meets & ~hurry & (lane > HALF[1] + 0.5)
        back = (meets & ~hurry & ~stay) | (stay & (lane < HALF[1] + 1.0 + 0.6 * self.jumpy))
        self.doing = np.where(hurry, HURRY, np.where(back, BACK, np.where(stay, STAND, self.doing)))
        self.doing = np.where(halts, WAIT, self.doing)


class Street:
    """JuPedSim's street: pavement, road, pavement."""

    def __init__(self, walkers: Walkers, width: float) -> None:
        self.walkers = walkers
        ends = [(-ROOM, -ROOM), (ROOM, -ROOM), (ROOM, width + ROOM), (-ROOM, width + ROOM)]
        self.sim = jupedsim.Simulation(model=jupedsim.SocialForceModel(), geometry=ends, dt=DT / INNER)
        stage = self.sim.add_direct_steering_stage()
        journey = self.sim.add_journey(jupedsim.JourneyDescription([stage]))
        self.ids = [
            self.sim.add_agent(
                jupedsim.SocialForceModelAgentParameters(
                    position=tuple(place),
                    velocity=tuple(velocity),
                    journey_id=journey,
                    stage_id=stage,
                    desired_speed=pace,
                    radius=0.25,
                )
            )
            for place, velocity, pace in zip(*(x.tolist() for x in (walkers.place, walkers.velocity, walkers.pace)))
        ]

    def move(self, doing: np.ndarray) -> None:
        """DT seconds more of what people (n,) do."""
        w = self.walkers
        speed = w.pace * np.array([0.0, 1.0, 0.9, 1.9, 0.0])[doing]
        sign = np.where(doing == BACK, -1.0, 1.0)
        target = w.place + w.goal * sign[:, None] * 5
        for i, agent in enumerate(self.ids):
            own = self.sim.agent(agent)
            own.model.desired_speed, own.target = float(max(speed[i], 1e-3)), tuple(target[i])
        self.sim.iterate(INNER)
        now = np.array([self.sim.agent(agent).position for agent in self.ids])
        w.velocity = (now - w.place) / DT
        w.place = now


def _people(rng: np.random.Generator) -> tuple[Walkers, float]:
    """Who wants to cross a street of some width, most of them from one side, apart from each other."""
    n, width = int(rng.integers(1, 5)), float(rng.uniform(4.2, 9))
    up = rng.random(n) < 0.75
    x = np.cumsum(rng.uniform(0.7, 2.5, n)) - 2
    start = rng.uniform(0.8, 5, n)
    place = np.stack([x, np.where(up, -start, width + start)], -1)
    turn = rng.normal(0, 0.12, n) * (rng.random(n) < 0.7)
    goal = np.stack([np.sin(turn), np.where(up, 1.0, -1.0) * np.cos(turn)], -1)
    kerb = np.stack([np.where(up, 0.0, width), np.where(up, width, 0.0)], -1)  # y where the road begins and ends
    foot = (place * goal).sum(-1)[:, None]
    kerbs = foot + np.abs(kerb - place[:, 1:]) / np.abs(goal[:, 1:])
    age = rng.uniform(6, 88, n)
    pace = np.clip(rng.normal(1.35, 0.2, n) - 0.006 * np.maximum(age - 60, 0) - 0.1 * (age < 9), 0.6, 2.0)
    temperament = rng.random(n)
    moving = goal * (pace * (rng.random(n) < 0.6))[:, None]  # the others stand at first
    walkers = Walkers(place, moving, goal, kerbs, pace, temperament, age, (rng.random(n) < 0.25) * 1.0)
    return walkers, width


def _drive(rng: np.random.Generator, width: float, walkers: Walkers) -> tuple[np.ndarray, np.ndarray]:
    """A robot's places and velocities (t, 2): it goes on, brakes to a stand and goes on again, slows or speeds up.

    Two in three come about when somebody would be before them: elsewhere there is little to answer.
    """
    way = 1.0 if rng.random() < 0.5 else -1.0
    speed, far = float(rng.uniform(2, 15)), float(rng.uniform(3, 70))
    lane = float(rng.uniform(1.9, width - 1.9))
    if rng.random() < 2 / 3:
        who = int(rng.integers(len(walkers)))
        when = abs(lane - walkers.place[who, 1]) / walkers.pace[who] + rng.uniform(-1.5, 1.5)
        far = max(speed * max(when, 1.2) - way * walkers.place[who, 0], 3.0)
    goes = np.full(STEPS, speed)
    kind = rng.choice(4, p=(0.4, 0.3, 0.2, 0.1))
    begins, hard = int(rng.integers(0, 80)), float(rng.uniform(1.5, 6))
    for step in range(1, STEPS):
        change = 0.0
        if kind == 1 and step >= begins:
            change = -hard if step < begins + 60 else 2.0
        elif kind == 2 and step >= begins:
            change = -hard / 2 if goes[step - 1] > speed / 2 else 0.0
        elif kind == 3 and step >= begins:
            change = 1.5
        goes[step] = np.clip(goes[step - 1] + change * DT, 0.0, 16.0 if kind == 3 else max(speed, 0.01))
    x = -way * far + way * np.concatenate([[0.0], np.cumsum(goes[:-1]) * DT])
    if rng.random() < 0.05:
        x = x + 1e3  # nobody comes
    return np.stack([x, np.full(STEPS, lane)], -1), np.stack([way * goes, np.zeros(STEPS)], -1)
