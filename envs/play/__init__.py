"""Play by hand: a person drives a dream, its simulator, or both side by side, and what was driven can be kept."""

from gensim.envs.play.command import Command
from gensim.envs.play.loop import Pace, play
from gensim.envs.play.pads import Pads
from gensim.envs.play.screen import Screen
from gensim.envs.play.session import Hand, Moment, Session
from gensim.envs.play.simulated import Simulated
from gensim.envs.play.tape import Keeper, Take, Tape
from gensim.envs.play.view import Panel, Reading, Side, View

__all__ = [
    "Command",
    "Hand",
    "Keeper",
    "Moment",
    "Pace",
    "Pads",
    "Panel",
    "Reading",
    "Screen",
    "Session",
    "Side",
    "Simulated",
    "Take",
    "Tape",
    "View",
    "play",
]
