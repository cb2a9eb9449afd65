"""The clock of a drive: one step a beat, and what a slow machine leaves out is the drawing."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from gensim.envs.play.command import Command
from gensim.envs.play.pads import Pads
from gensim.envs.play.session import Session

if TYPE_CHECKING:
    from gensim.envs.play.screen import Screen

DROPPED = 4  # drawings in a row that may be left out


class Pace:
    """A beat that is never made up for: who is late by more than one goes on from where they are.

    Arguments:
        fps: beats a second.
        clock: tells the seconds.
        sleep: waits for some.
    """

    def __init__(
        self,
        fps: float,
        clock: Callable[[], float] = time.perf_counter,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.period, self.clock, self.sleep = 1.0 / fps, clock, sleep
        self.due, self.dropped = clock() + self.period, 0

    def spare(self) -> bool:
        """Whether there is time to draw: before the beat is due, or when enough drawings were left out."""
        if self.clock() < self.due or self.dropped >= DROPPED:
            self.dropped = 0
            return True
        self.dropped += 1
        return False

    def wait(self) -> None:
        """Sleeps until the beat is due."""
        left = self.due - self.clock()
        if left > 0:
            self.sleep(left)
        self.due += self.period
        if self.due < self.clock():
            self.due = self.clock() + self.period


def play(session: Session, screen: Screen, fps: float, ticks: int | None = None) -> None:
    """Runs a drive in a window until it is closed, or for so many beats of the clock."""
    pads, pace, beat = Pads(session.dream.controls), Pace(fps), 0
    while not session.closing and beat != ticks:
        for wish in screen.read(pads):
            _obey(session, screen, wish)
        if session.closing:
            break
        act = pads.read(1.0 / fps)
        if pads.rewinding:
            session.command(Command.UNDO)
        session.tick(act)
        if pace.spare():
            screen.draw(session.view())
        pace.wait()
        beat += 1


def _obey(session: Session, screen: Screen, wish: Command) -> None:
    session.command(wish)
    if wish is Command.HELP:
        screen.helping = not screen.helping
    if wish is Command.SHOT:
        screen.draw(session.view())  # or it may be of a moment ago
        try:
            session.note = f"wrote {screen.save()}"
        except OSError as fault:
            session.note = f"no picture: {fault}"
