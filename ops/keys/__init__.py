"""Keys: files that an installation makes at its first start (``files``), and the key store, a Postgres database of its own.

    async with KeyDatabase(dsn, Masters(master_from_file(path))) as database:     # ops.keys.database, ops.keys.master
        await database.prepare()                                                  # its tables, where they are missing
        keys, directory, destroyer = PostgresKeys(database), PostgresDirectory(database), Destroyer(database)

| module | what it does |
|---|---|
| ``store``, ``directory`` | the ports of ``schemas.sealing``: keys of subjects, references of owners |
| ``destroying`` | destroys keys, and leaves tombstones so that none is made again |
| ``master``, ``rotation`` | the master key above all, and putting another in its place |
| ``backup``, ``checking`` | one file of all keys, still wrapped; whether every key comes out |
| ``role`` | the role and the database that are the store's alone, on the embedded server |
| ``cipher``, ``cache``, ``tables``, ``database`` | what these stand on |

Losing the key store or its master key is losing the content of the whole log: back up both, apart from each other.
"""

from ops.keys.files import KEY_BYTES, KEY_TABLE, KeyFileError, audit_key, check_key

__all__ = ["KEY_BYTES", "KEY_TABLE", "KeyFileError", "audit_key", "check_key"]
