"""The one error of the command line."""


class CommandError(Exception):
    """The command cannot be done; the message is one line for the user."""
