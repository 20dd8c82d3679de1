"""Tables in the database of people and settings, and what older versions of them lack."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.schema import CreateColumn

__all__ = ["make_tables"]


def make_tables(engine: sa.Engine, tables: Sequence[sa.Table]) -> set[str]:
    """Make the tables that are not there, and add columns that came since to those that are; these, as `table.column`.

    An added column needs a `server_default`: it is what rows of before hold.
    """
    for table in tables:
        table.metadata.create_all(engine, tables=[table])
    inspector = sa.inspect(engine)
    added: list[sa.Column[object]] = []
    for table in tables:
        there = {each["name"] for each in inspector.get_columns(table.name)}
        added += [column for column in table.columns if column.name not in there]
    with engine.begin() as connection:
        for column in added:
            table_name = engine.dialect.identifier_preparer.quote(column.table.name)
            words = CreateColumn(column).compile(dialect=engine.dialect)
            connection.exec_driver_sql(f"ALTER TABLE {table_name} ADD COLUMN {words}")
    return {str(column) for column in added}
