"""The one exception of this package."""


class ClusterError(Exception):
    """Something the user can read and act on: a missing tool, a daemon that ended, a wait that took too long."""
