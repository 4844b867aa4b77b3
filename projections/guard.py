"""Row-level security: which rows of a table a reader sees.

A guarded table has a policy of PostgreSQL's, and its public name asks with the rights of whoever reads (``security_invoker``), so
both show the same rows. Readers therefore need rights on the tables of the live generation, too: they are given when a generation
is published, to roles and never to everybody. Its owner and superusers see all rows.

It is not forced on the owner (FORCE ROW LEVEL SECURITY): PostgreSQL then refuses COPY, by which views are loaded, and the owner
could lift it. So no reader may log in as the role that projects.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Guard:
    """``roles`` may read the rows for which ``using`` holds."""

    using: str
    """A condition over the table's columns; ``{schema}`` stands for the generation."""
    roles: tuple[str, ...]
    """Roles that are let in, those of them that exist."""
    needs: tuple[str, ...] = ()
    """Statements that make what the condition uses and all generations share. They are repeated with every generation."""

    def protect(self, schema: str, table: str) -> list[str]:
        """Statements for a table that is new."""
        name = f"{schema}.{table}"
        return [
            f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY readers ON {name} FOR SELECT USING ({self.using.format(schema=schema)})",
        ]

    def let_in(self, schema: str, table: str) -> list[str]:
        """Statements that let the readers read the table, and its public name."""
        rights = (f"USAGE ON SCHEMA {schema}", f"SELECT ON {schema}.{table}", f"SELECT ON public.{table}")
        return [self._grant(right) for right in rights]

    def _grant(self, right: str) -> str:
        roles = ", ".join(f"'{role}'" for role in self.roles)
        return (
            f"DO $$ DECLARE reader name; BEGIN FOR reader IN SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ({roles}) "
            f"LOOP EXECUTE format('GRANT {right} TO %I', reader); END LOOP; END $$"
        )
