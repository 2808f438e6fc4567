"""What can go wrong with a store, by name."""

from __future__ import annotations


class StoreError(Exception):
    """A store cannot do what was asked; the message names the file and what to do."""


class StoreBusyError(StoreError):
    """Another process holds the store file in a way that excludes this one."""


class StoreVersionError(StoreError):
    """The store was written by a newer workbench than this one."""


class QueryError(StoreError):
    """A query is not a single SELECT over the store's own tables, or DuckDB refused it."""


class StoreWarning(UserWarning):
    """An answer of a store lacks rows, or what it says of itself is out of date."""
