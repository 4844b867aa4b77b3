"""Errors of the read side.

ProjectionError
├── Fenced             another runner took this view over: this one has stopped, nothing is lost
├── PartitionsTaken    another runner has a partition that this one should keep: it has not begun
├── Promoted           another generation of the view is live now: load it and go on
├── OtherFold          the tables were made by another version of the fold: rebuild
├── LogTruncated       the topic no longer holds what the view still has to read
├── TopicMissing       the topic does not exist (yet)
├── NotInstalled       the tables do not exist (yet)
├── RebuildRunning     somebody rebuilds or verifies this view already
├── NotEmpty           a generation that was to be filled from nothing holds something
├── DigestMismatch     a rebuild differs from the live tables and was not promoted
├── WrongState         no generation of the view is in the state that this needs
├── CatchUpTimeout     a target was not reached within the time given
├── NotOnLog           a place that the view's topics do not have
└── NotFollowed        the views still hold what was forgotten since
"""

from __future__ import annotations

import psycopg
from psycopg import errors as pg


class ProjectionError(RuntimeError):
    """Something the read side cannot do. The text says what to do next and holds no content."""


class Fenced(ProjectionError):
    """Another runner owns the checkpoint."""


class PartitionsTaken(ProjectionError):
    """A live runner holds a partition."""


class Promoted(ProjectionError):
    """The generation at hand is no longer the live one."""


class OtherFold(ProjectionError):
    """Tables and code disagree on the version of the fold."""


class LogTruncated(ProjectionError):
    """Records between the checkpoint and the log are gone."""


class TopicMissing(ProjectionError):
    """A topic or partition that a view reads does not exist."""


class NotInstalled(ProjectionError):
    """The view has no live generation."""


class RebuildRunning(ProjectionError):
    """One rebuild or verify per view at a time."""


class NotEmpty(ProjectionError):
    """Only a generation that nobody has written to can be filled."""


class DigestMismatch(ProjectionError):
    """Live and rebuilt tables differ."""


class WrongState(ProjectionError):
    """The view has no generation that this can be done with."""


class CatchUpTimeout(ProjectionError):
    """Too slow, or the log does not reach that far."""


class NotOnLog(ProjectionError):
    """A partition that the view does not read, or an offset behind its end."""


class NotFollowed(ProjectionError):
    """The views have not come to a forgetting yet that is known already."""


def is_data_fault(error: BaseException) -> bool:
    """True for a database error that one record's values cause (SQLSTATE classes 22, 23, 54): it comes again on every retry."""
    # a DataError without SQLSTATE is psycopg's own refusal of a value, before it reaches the server
    by_state = isinstance(error, psycopg.Error) and (error.sqlstate or "")[:2] in ("22", "23", "54")
    return by_state or isinstance(error, psycopg.DataError | psycopg.IntegrityError)


def is_outage(error: BaseException) -> bool:
    """True for a database error that passes by itself: no connection, restart, deadlock, too many clients, disk full."""
    if not isinstance(error, psycopg.Error):
        return False
    if isinstance(error, pg.UndefinedTable | pg.InvalidSchemaName):
        return True  # the generation was dropped under a slow reader: load the live one
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and not is_data_fault(error)
