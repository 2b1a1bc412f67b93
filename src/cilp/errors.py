"""The one exception that a person is meant to read."""


class UserError(Exception):
    """Something the user can put right; the message is one sentence that names the cure.

    Stage scripts print the message without a traceback and exit with status 2.
    """
