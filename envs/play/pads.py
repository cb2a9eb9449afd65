"""Keyboard and gamepad as names and numbers: what is pressed becomes an action, or a command."""

from __future__ import annotations

from typing import Any

import numpy as np

from gensim.envs.controls import Controls
from gensim.envs.play.command import Command

RISE, FALL = 4.0, 8.0  # full throws a second, of a key pressed and of one let go
DEAD = 0.12  # of a stick, around its middle
HELD = 0.4  # seconds after which a held undo repeats itself
STEER, BRAKE, GAS = 0, 2, 5  # axes of an Xbox pad, as the joysticks of Linux number them
ARROWS = {"left": "a1", "right": "d2", "up": "w3", "down": "s4"}  # the first key of each that the world has
KEYS = {
    Command.PAUSE: ("space", "p"),
    Command.STEP: (".",),
    Command.UNDO: ("backspace", "u"),
    Command.RESET: ("r", "f2"),
    Command.NEXT: ("n", "f3"),
    Command.SWAP: ("tab",),
    Command.BOTH: ("b", "f4"),
    Command.MEET: ("c", "f5"),
    Command.DRIVER: ("h", "f6"),
    Command.HOTTER: ("]", "="),
    Command.COLDER: ("[", "-"),
    Command.HELP: ("f1", "?"),
    Command.SHOT: ("f12",),
    Command.QUIT: ("escape", "q"),
}
BUTTONS = {
    1: Command.UNDO,
    2: Command.SWAP,
    3: Command.DRIVER,
    4: Command.BOTH,
    5: Command.STEP,
    6: Command.RESET,
    7: Command.PAUSE,
}  # B, X, Y, left and right shoulder, back, start


class Pads:
    """What is pressed, by names of keys and numbers of axes, read once a step.

    A key moves an axis of the action as a hand moves a stick: in a quarter of a second, and back in half of that. A
    key that was let go before it could be read still counts once. A world's own keys come before the commands'.

    Arguments:
        controls: the world's actions and keys.
    """

    def __init__(self, controls: Controls) -> None:
        self.action, self.table = controls.action, controls.keys_to_action()
        self.own = set("".join(self.table))
        self.arrows = {arrow: key for arrow, keys in ARROWS.items() for key in keys[::-1] if key in self.own}
        self.commands = {name: wish for wish, names in KEYS.items() for name in names if name not in self.own}
        self.held: list[str] = []
        self.tapped: list[str] = []
        self.axes: dict[int, float] = {}
        self.hat = (0, 0)
        self.value = np.zeros(self.action.size, np.float32)
        self.undoing: float | None = None  # seconds for which undo was held

    def press(self, name: str) -> Command | None:
        """A key goes down; the command that it asks for, if it does."""
        key = self.arrows.get(name, name)
        if key in self.own:
            self.held = [*(other for other in self.held if other != key), key]
            self.tapped.append(key)
            return None
        wish = self.commands.get(name)
        self.undoing = 0.0 if wish is Command.UNDO else self.undoing
        return wish

    def release(self, name: str) -> None:
        """A key comes up."""
        key = self.arrows.get(name, name)
        self.held = [other for other in self.held if other != key]
        if self.commands.get(name) is Command.UNDO:
            self.undoing = None

    def let_go(self) -> None:
        """All keys come up, as when the window is left."""
        self.held, self.tapped, self.undoing = [], [], None

    def button(self, number: int) -> Command | None:
        """A gamepad's button goes down; the command that it asks for, if it does."""
        return BUTTONS.get(number)

    def axis(self, number: int, value: float) -> None:
        """A gamepad's stick or trigger is at -1..1; a trigger rests at -1."""
        self.axes[number] = float(value)

    def cross(self, x: int, y: int) -> None:
        """A gamepad's d-pad is at (x, y), each -1, 0 or 1, up being 1; it presses the arrow keys."""
        for name, now, before in _arrows(self.hat, (x, y)):
            if now and not before:
                self.press(name)
            if before and not now:
                self.release(name)
        self.hat = (x, y)

    def read(self, seconds: float) -> Any:
        """The action of the next step, float32 (k,) or int64, after so many seconds since the last reading."""
        pressed = [*self.tapped, *self.held]
        self.tapped = []
        if self.undoing is not None:
            self.undoing += seconds
        return self._choice(pressed) if self.action.type == "discrete" else self._throw(pressed, seconds)

    @property
    def rewinding(self) -> bool:
        """Whether undo is held for so long that it repeats itself."""
        return self.undoing is not None and self.undoing > HELD

    def _choice(self, pressed: list[str]) -> np.int64:
        """What all keys together mean, or else the one that was pressed last."""
        together = "".join(sorted(set(pressed)))
        return np.int64(self.table.get(together, self.table.get(pressed[-1] if pressed else "", 0)))

    def _throw(self, pressed: list[str], seconds: float) -> np.ndarray:
        target = np.asarray(self.table["".join(sorted(set(pressed)))], np.float32)
        self.value = ramp(self.value, target, seconds)
        return np.where(np.isnan(stick := self._stick()), self.value, stick).astype(np.float32)

    def _stick(self) -> np.ndarray:
        """The gamepad's own (k,), NaN where it is left alone: steering, then gas less brake."""
        says = np.full(self.action.size, np.nan, np.float32)
        steer = self.axes.get(STEER, 0.0)
        gas, brake = ((self.axes.get(axis, -1.0) + 1) / 2 for axis in (GAS, BRAKE))
        if abs(steer) > DEAD:
            says[0] = np.sign(steer) * (abs(steer) - DEAD) / (1 - DEAD)
        if self.action.size > 1 and max(gas, brake) > DEAD:
            says[1] = gas - brake
        return says.clip(-1, 1)


def ramp(value: np.ndarray, target: np.ndarray, seconds: float) -> np.ndarray:
    """Values on their way to targets: fast towards zero, slower away from it."""
    homeward = np.where(value * target < 0, 0.0, target)  # the other way leads through the middle
    speed = np.where(np.abs(homeward) < np.abs(value), FALL, RISE) * seconds
    return (value + np.clip(homeward - value, -speed, speed)).astype(np.float32)


def _arrows(before: tuple[int, int], now: tuple[int, int]) -> list[tuple[str, bool, bool]]:
    """Each arrow key of a d-pad, whether it is pressed now, and whether it was."""
    ways = {"left": (0, -1), "right": (0, 1), "up": (1, 1), "down": (1, -1)}
    return [(name, now[i] == way, before[i] == way) for name, (i, way) in ways.items()]
