"""The only place that knows every room: it wires them, starts them and stops them."""

from muniment.app.demo import run_demo
from muniment.app.operations import openapi
from muniment.app.running import run
from muniment.app.server import Server

__all__ = ["Server", "openapi", "run", "run_demo"]
