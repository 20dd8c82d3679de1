"""The one query language: text to a tree, the tree to bound SQL, the same tree to a Python predicate. Pure."""

from muniment.search.query.ast import Node
from muniment.search.query.match import matcher
from muniment.search.query.parse import Parsed, parse_query
from muniment.search.query.sql import Where, where

__all__ = ["Node", "Parsed", "Where", "matcher", "parse_query", "where"]
