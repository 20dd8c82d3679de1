"""The lines that a bench prints, and `make bench` keeps."""

from __future__ import annotations

__all__ = ["Row", "note", "p", "rows"]

Row = tuple[str, str, str]
rows: list[Row] = []
"""What this process has noted: what, figure, goal."""


def note(what: str, figure: str, goal: str = "") -> None:
    """One line of the table."""
    rows.append((what, figure, goal))
    print(f"{what:<62} {figure:>30}   {goal}", flush=True)


def p(values: list[float], share: float) -> float:
    """A percentile, by rank."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
