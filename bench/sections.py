"""What `make bench` measures, section by section."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

from bench import alerting, backtest, detection, normalising, way
from bench.table import Row, rows

__all__ = ["SECTIONS", "rows_of"]

SECTIONS = ("ingest", "queries", "normalising", "detection", "alerting", "backtest")


def _sections(options: argparse.Namespace) -> dict[str, Callable[[], None]]:
    return {
        "ingest": partial(way.ingest, options.ingest_events),
        "queries": partial(way.queries, options.events, not options.no_peers),
        "normalising": partial(normalising.measured, 60_000, 10_000, ()),
        "detection": partial(
            detection.measured, options.sigma_rules, options.sigma_events, options.sigma_peer, options.mixed_events
        ),
        "alerting": partial(alerting.measured, 300, 20_000, 30),
        "backtest": partial(backtest.measured, options.backtest_events, "", ()),
    }


def rows_of(section: str, options: argparse.Namespace) -> list[Row]:
    """Measure a section, in this process."""
    _sections(options)[section]()
    return rows
