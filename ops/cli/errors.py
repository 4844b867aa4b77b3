"""What a command says when it cannot do its work: one clear line, a hint what to do, and an exit code.

CliError         a check failed, or anything without a code of its own        exit 1
├── UsageError   the command was called with something that cannot be used    exit 2
├── NotRunning   nothing runs, or it cannot be reached                        exit 3
├── TimedOut     it was asked for, and did not happen in the time given       exit 4
└── Interrupted  Ctrl-C or SIGTERM came before the end                        exit 130
"""

from __future__ import annotations


class CliError(Exception):
    """An expected failure. ``hint`` says what to do next."""

    code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(CliError):
    """Input that cannot be used."""

    code = 2


class NotRunning(CliError):
    """Services or Emberlog's own processes that are needed and not there."""

    code = 3


class TimedOut(CliError):
    """A wait that reached its end."""

    code = 4


class Interrupted(CliError):
    """Stopped by a signal."""

    code = 130


def explain(error: BaseException) -> CliError | None:
    """An expected failure of a library or of our own packages as a CliError; None where the error is a fault."""
    import aiokafka.errors
    import psycopg

    from ops.keys import KeyFileError
    from ops.keys.backup import BackupError
    from ops.keys.directory import AliasTaken
    from ops.keys.master import MasterKeyMissing
    from ops.local.paths import LocalServicesError
    from ops.settings import SettingsError
    from projections.errors import ProjectionError
    from schemas.errors import BadOwner, KeyLost, KeysUnavailable

    while isinstance(error, BaseExceptionGroup):  # of tasks that ran together the first failure is the cause
        error = error.exceptions[0]
    match error:
        case CliError():
            return error
        case SettingsError():
            return UsageError("\n".join(error.problems))
        case BadOwner():
            return UsageError(str(error), "write an owner as default/user/u-1, user/u-1 or u-1")
        case KeysUnavailable():
            return NotRunning(str(error), "see what runs with: emberlog status; make a missing key store with: emberlog setup")
        case MasterKeyMissing():
            return CliError(str(error), "set EMBERLOG_MASTER_KEY_FILE, and EMBERLOG_FORMER_MASTER_KEY_FILE during a rotation")
        case KeyLost():
            return CliError(str(error), "see what the key store holds with: emberlog keys check")
        case AliasTaken():
            return UsageError(str(error), "see whose it is with: emberlog owner show")
        case BackupError() | KeyFileError() | LocalServicesError() | ProjectionError():
            return CliError(str(error))
        case psycopg.errors.UndefinedTable() | psycopg.errors.InvalidSchemaName():
            return NotRunning("the database has no tables of Emberlog yet", "make them with: emberlog setup")
        case psycopg.OperationalError():
            return NotRunning("PostgreSQL cannot be reached", "see what runs with: emberlog status")
        case aiokafka.errors.KafkaConnectionError() | aiokafka.errors.NodeNotReadyError():
            return NotRunning("Kafka cannot be reached", "see what runs with: emberlog status")
        case aiokafka.errors.UnknownTopicOrPartitionError():
            return NotRunning("the topics do not exist yet", "make them with: emberlog setup")
    # by name: their modules are too heavy to import for an error of another kind
    if type(error).__name__ in ("SetupError", "TopicsDiffer", "WorkerFailed", "RecordingError", "LocomoError"):
        return CliError(str(error))
    return None
