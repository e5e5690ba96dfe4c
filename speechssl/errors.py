"""Errors that tell a user what they did or have; any other exception is a bug in speechssl.

A message says where (file, shard, key, field), what was found, what was expected and what to do. The command line
prints it without a traceback and exits with the status beside each class.
"""


class UserError(Exception):
    """Base of everything a user can mend. Exit status 2."""

    exit_status = 2


class ConfigError(UserError):
    """A configuration that cannot be run."""


class DataError(UserError):
    """Audio, transcripts or shards that cannot be used."""


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or belongs to another model."""


class HealthError(UserError):
    """A training run that is not learning: chance level, collapse, or a loss that is not finite. Exit status 3."""

    exit_status = 3


class RankError(UserError):
    """Another rank of the same run has ended, and says why itself if it can. Exit status 2."""


class InstallationError(UserError):
    """Installed packages that are missing, cannot be loaded, or do not go together."""
