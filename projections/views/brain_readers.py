"""Who reads the brain tables, and which of their rows.

Whoever logged in (``session_user``, which no SET ROLE and no function changes) decides:
- A role that ``public.brain_reader`` maps to an owner reads as that owner, whatever it sets.
- A member of ``emberlog_brain_reader`` that is not mapped reads as the user whom it names: ``SET emberlog.user_id``, and
  ``SET emberlog.tenant`` for a tenant other than ``default``. It is for applications that are trusted to name the right one.
- A member of ``emberlog_brain_mapped`` alone reads nothing without an entry: what it sets does not count.
The table maps to references, not to ids: who is erased is gone from it, and who comes back under the same id is somebody new.
"""

from __future__ import annotations

from projections.guard import Guard

NAMES_ITS_USER = "emberlog_brain_reader"
MAPPED = "emberlog_brain_mapped"
ROLES = (NAMES_ITS_USER, MAPPED)

# whoever may make no roles goes on without; the operator makes them, and the next set-up lets them in
_MAKE_ROLE = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} NOLOGIN; END IF;
EXCEPTION WHEN insufficient_privilege OR duplicate_object OR unique_violation THEN NULL;
END $$
"""
_MAPPING = "CREATE TABLE IF NOT EXISTS public.brain_reader (role text PRIMARY KEY, owner uuid NOT NULL)"
# one row at most: an owner by reference, or a user by name. Readers cannot see the mapping, so it runs with its owner's rights
_IDENTITY = f"""
CREATE OR REPLACE FUNCTION public.emberlog_brain_identity() RETURNS TABLE (owner uuid, tenant text, user_id text)
LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT m.owner, NULL::text, NULL::text FROM public.brain_reader AS m WHERE m.role = session_user::text
    UNION ALL
    SELECT NULL::uuid, coalesce(nullif(current_setting('emberlog.tenant', true), ''), 'default'),
           nullif(current_setting('emberlog.user_id', true), '')
    WHERE NOT EXISTS (SELECT FROM public.brain_reader AS m WHERE m.role = session_user::text)
      AND EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.rolname = '{NAMES_ITS_USER}'
                  AND pg_catalog.pg_has_role(session_user, r.oid, 'MEMBER'))
$$
"""
_NEEDS = (*(_MAKE_ROLE.format(role=role) for role in ROLES), _MAPPING, _IDENTITY)


def _own(column: str) -> str:
    """The reader's rows, where ``column`` holds a user's reference. Sub-selects, as they are asked once for a query."""
    owner, tenant, user_id = (f"(SELECT me.{name} FROM public.emberlog_brain_identity() AS me)" for name in _COLUMNS)
    return f"{column} = {owner} OR (tenant = {tenant} AND user_id = {user_id})"


_COLUMNS = ("owner", "tenant", "user_id")
# readers see their own accesses only, in this sub-select too
_COMPANIES = """
owner = ANY (ARRAY(SELECT a.owner FROM {schema}.brain_access AS a WHERE a.ended_at IS NULL AND a.began_at <= now()))
"""

OWN_MEMORIES = Guard(_own("owner"), ROLES, _NEEDS)
OWN_ACCESSES = Guard(_own("subject"), ROLES, _NEEDS)
COMPANIES_WITH_ACCESS = Guard(_COMPANIES, ROLES, _NEEDS)
