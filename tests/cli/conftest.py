"""The live server for tests of the command line."""

from tests.live import live_server

__all__ = ["live_server"]
