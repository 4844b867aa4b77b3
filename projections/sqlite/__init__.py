"""A view's fold kept in a SQLite file, for a single machine: see ``applier`` and ``follower``."""
