"""People in the scene: ordered by attributes, drawn by a GAN, answering what the robot does."""

from gensim.agents.road_users.camera import Camera
from gensim.agents.road_users.painter import Painter
from gensim.agents.road_users.person import Person, View
from gensim.agents.road_users.scene import RoadUser
from gensim.agents.road_users.wrapper import RoadUsers, RoadUsersVector

__all__ = ["Camera", "Painter", "Person", "RoadUser", "RoadUsers", "RoadUsersVector", "View"]
