"""Who acts: policies learned in the dream."""

from gensim.agents.agent import Agent, AgentConfig
from gensim.agents.filter import Driver, Filter, Pilot, driver, load
from gensim.agents.ppo import learn
from gensim.agents.ppo_config import PPOConfig
from gensim.agents.reference import WorldRef, world_folder
from gensim.agents.score import ScoreResult, score

__all__ = [
    "Agent",
    "AgentConfig",
    "Driver",
    "Filter",
    "PPOConfig",
    "Pilot",
    "ScoreResult",
    "WorldRef",
    "driver",
    "learn",
    "load",
    "score",
    "world_folder",
]
