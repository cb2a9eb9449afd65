"""The gap between a dream and its simulator: what was measured of it, and the alarm for exploitation."""

from gensim.gap.alarm import Alarm, Evidence, verdict
from gensim.gap.config import GapConfig
from gensim.gap.measure import gap
from gensim.gap.policies import Player
from gensim.gap.rollouts import Dreams, dream

__all__ = ["Alarm", "Dreams", "Evidence", "GapConfig", "Player", "dream", "gap", "verdict"]
