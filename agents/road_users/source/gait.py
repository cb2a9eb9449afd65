"""How joints turn while somebody stands, walks or runs: angles over a stride."""

from __future__ import annotations

import numpy as np

# Degrees over a stride that begins as the heel touches the ground: hip flexion, knee flexion, ankle flexion upwards.
AT = np.array([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
WALK = {
    "hip": np.array([30, 25, 17, 7, -3, -9, -6, 10, 24, 31, 30]),
    "knee": np.array([4, 16, 18, 11, 6, 9, 32, 60, 55, 20, 4]),
    "ankle": np.array([0, -5, 4, 8, 10, 5, -16, -8, 0, 1, 0]),
}
RUN = {
    "hip": np.array([38, 34, 22, 5, -9, -4, 12, 32, 47, 47, 38]),
    "knee": np.array([18, 38, 36, 22, 18, 38, 78, 103, 92, 52, 18]),
    "ankle": np.array([6, 16, 22, 8, -18, -22, -8, 2, 6, 6, 6]),
}
LEAN = {"stand": 0.0, "walk": 2.0, "run": 9.0, "phone": 4.0}  # degrees forward
Turn = tuple[str, np.ndarray]  # a bone, and how it turns against the bone before it, a rotation matrix


def turns(gait: str, phase: float, age: float, looseness: float = 0.5) -> list[Turn]:
    """How bones turn, at a phase of the stride in 0..1, from a pose with the arms half raised and half bent.

    looseness, 0 to 1, is how far arms swing and stand out. The angles are read off the curves in Biomechanics and Motor
    Control of Human Movement (Winter, 2009) for walking, and in The biomechanics of running (Novacheck, 1998),
    doi:10.1016/S0966-6362(97)00038-6.
    """
    stoop = 14.0 * np.clip((age - 55) / 35, 0, 1)
    found: list[Turn] = [("spine05", about(LEAN[gait] + stoop * 0.4)), ("spine02", about(stoop * 0.6))]
    found += [("neck02", about(-stoop * 0.7 + (18 if gait == "phone" else 0)))]
    for side, sign, at in (("R", -1, phase % 1), ("L", 1, (phase + 0.5) % 1)):
        found += leg(gait, side, at) + arm(gait, side, sign, at, looseness)
    return found


def leg(gait: str, side: str, at: float) -> list[Turn]:
    """A leg's turns at its own part of the stride."""
    if gait == "stand":
        hip, knee, ankle = 2.0, 4.0, 2.0
    else:
        curves = RUN if gait == "run" else WALK
        hip, knee, ankle = (float(np.interp(at, AT, curves[name])) for name in ("hip", "knee", "ankle"))
    return [(f"upperleg01.{side}", about(-hip)), (f"lowerleg01.{side}", about(knee)), (f"foot.{side}", about(-ankle))]


def arm(gait: str, side: str, sign: int, at: float, looseness: float) -> list[Turn]:
    """An arm's turns: it hangs by the side, swings against its leg, and bends at the elbow, straight ahead."""
    down = sign * (46 - 10 * looseness)
    swing = {"stand": 0.0, "walk": 14 + 14 * looseness, "run": 30 + 15 * looseness, "phone": 10.0}[gait]
    forward = -swing * np.cos(2 * np.pi * at) + (8 if gait == "run" else 0)
    elbow = {"stand": -20.0, "walk": -12 + 10 * looseness, "run": 45.0, "phone": -15.0}[gait]
    if gait == "phone" and side == "R":
        forward, elbow = 20, 65
    bent = about(y=-down) @ about(-elbow) @ about(y=down)
    return [(f"upperarm01.{side}", about(-forward) @ about(y=down)), (f"lowerarm01.{side}", bent)]


def about(x: float = 0, y: float = 0, z: float = 0) -> np.ndarray:
    """A rotation (3, 3) by degrees about one of the axes to the left, to the back and up."""
    a = np.radians(x + y + z)
    i, j = [(1, 2), (2, 0), (0, 1)][[bool(x), bool(y), bool(z)].index(True)] if x or y or z else (0, 1)
    turned = np.eye(3)
    turned[i, i] = turned[j, j] = np.cos(a)
    turned[i, j], turned[j, i] = -np.sin(a), np.sin(a)
    return turned
