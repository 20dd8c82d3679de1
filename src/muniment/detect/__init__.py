"""Watching the record: Sigma rules, compiled once and run over every new range of entries."""
