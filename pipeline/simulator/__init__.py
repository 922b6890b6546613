"""An Images API to try things against: limits, latency, faults and pictures, in-process or on loopback."""

from headrace.simulator.app import make_app
from headrace.simulator.serve import serve
from headrace.simulator.settings import SimulatedPool, SimulatorSettings
from headrace.simulator.world import World

__all__ = ["SimulatedPool", "SimulatorSettings", "World", "make_app", "serve"]
