"""What people wrote to cases about somebody who is erased: found while it can still be read, so that its keys can go, too."""

from __future__ import annotations

from muniment.cases.timeline import OWN_SOURCE, sealed_words
from muniment.search.engine import Engine
from muniment.search.persons import Person

__all__ = ["words_naming"]


def words_naming(engine: Engine, person: Person) -> list[str]:
    """Notes and reasons in records of cases that name a person, each once. Each is sealed as a value of its own."""
    rows = engine.query(
        "SELECT record FROM events WHERE source = {source:String} AND class_uid = 2005", {"source": OWN_SOURCE}
    ).rows
    written = dict.fromkeys(sealed_words(str(record)) for (record,) in rows)
    return [words for words in written if words and person.out_of(words) != words]
