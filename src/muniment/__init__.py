"""Muniment: the internal audit log of a company, append-only, provable, searchable."""

__version__ = "0.1.0"
