"""The only place that knows every room: it wires them, starts them and stops them."""

from muniment.app.demo import run_demo
from muniment.app.server import Server, openapi, run

__all__ = ["Server", "openapi", "run", "run_demo"]
