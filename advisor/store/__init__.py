"""Profiles and diagnoses kept between commands: SQLite in the user's data directory."""

from advisor.store.sqlite import Entry, SqliteStore, data_folder

__all__ = ["Entry", "SqliteStore", "data_folder"]
