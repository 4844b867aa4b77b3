"""Writing tables anew, so that what was deleted leaves a database's files: dead rows, samples of the planner, write-ahead log.

    for result in await vacuum([Database("views", dsn), Database("key store", keys_dsn, keys=True)]):
        print(result.left, result.wal)        # what could not be done

PostgreSQL only marks a deleted row; autovacuum gives its place free and leaves the bytes. Each table is locked for everybody
while it is written. The lock is asked for a moment at a time, so that nobody queues behind it: what is in use is gone round and
come back to.
"""

from ops.vacuuming.databases import PATIENCE_S, Database, Vacuumed, vacuum

__all__ = ["PATIENCE_S", "Database", "Vacuumed", "vacuum"]
