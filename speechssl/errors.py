"""Errors that tell a user what they did or have; any other exception is a bug in speechssl.

A message says where (file, shard, key, field), what was found, what was expected and what to do. The command line
prints it without a traceback and exits with the status beside each class.
"""


class UserError(Exception):
    """Base of everything a user can mend. Exit status 2."""

    exit_status = 2


class ConfigError(UserError):
    """A configuration that cannot be run."""


class LaunchError(ConfigError):
    """What started this process contradicts itself or has not started the others; said by whoever meets it."""


class DataError(UserError):
    """Audio, transcripts or shards that cannot be used.

    Args:
        where: File, and what in it; or the whole message, if the place is of no use apart from it.
        found: What was found, and what was expected.
        remedy: What to do.
    """

    def __init__(self, where: str, found: str = "", remedy: str = "") -> None:
        self.where = where if found else ""
        self.detail = "; ".join(filter(None, (found or where, remedy)))
        """The message without the place."""
        super().__init__(f"{where}: {self.detail}" if found else self.detail)


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or belongs to another model."""


class HealthError(UserError):
    """A training run that is not learning: chance level, collapse, a loss that explodes, outputs that stay empty or
    wrong. Exit status 3."""

    exit_status = 3


class RankError(UserError):
    """Another rank of the same run has ended, and says why itself if it can. Exit status 2."""


class InstallationError(UserError):
    """Installed packages that are missing, cannot be loaded, or do not go together."""


class RunStopped(KeyboardInterrupt):
    """A training run that has ended early, as a signal asked it to, and has said where it stands.

    Args:
        message: Where it stands, and how it goes on.
        signal_number: The signal. The exit status is that with which a shell reports it: 130 after Ctrl-C.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal_number
