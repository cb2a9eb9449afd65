"""What a person may ask for."""

from __future__ import annotations

from enum import Enum


class Command(Enum):
    """What a person may ask for besides driving, in words for the help."""

    PAUSE = "pause, or go on"
    STEP = "pause, and one step"
    UNDO = "undo a step, held: run backwards"
    RESET = "the same episode again"
    NEXT = "the next seed"
    SWAP = "dream or simulator, from the same place"
    BOTH = "dream and simulator side by side"
    MEET = "the dream goes on from the simulator's frame"
    DRIVER = "person or agent at the wheel"
    HOTTER = "raise the dream's temperature"
    COLDER = "lower the dream's temperature"
    HELP = "this help"
    SHOT = "a picture of the window, as PNG"
    QUIT = "quit; what a person drove is kept"
