"""A good enough Messages API to develop against, for the demo, for developers and for tests.

It answers from the request alone, so that the same request gets the same answer, and
misbehaves on demand: see `CONTROLS`. It costs nothing, keeps nothing, and knows nothing.
"""

from tidegate.simulator.ledger import Received, Stats
from tidegate.simulator.options import CONTROLS
from tidegate.simulator.server import Simulator, run, serve_simulator

__all__ = ["CONTROLS", "Received", "Simulator", "Stats", "run", "serve_simulator"]
