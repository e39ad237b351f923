"""The errors a user can mend, and how near spellings are found for their messages."""
import difflib


class ConfigError(ValueError):
    """
    Something in a configuration or on the command line is wrong; the message says where, what came, what is
    allowed.

    Parameters:
        key (str): path of the key, such as ``task.model.hidden_dims``; empty for the file as a whole
        message (str): what is wrong and what to do
        source (str, optional): the configuration file
    """

    def __init__(self, key, message, source=None):
        self.key = key
        self.message = message
        self.source = source
        super().__init__(": ".join(part for part in (source, key, message) if part))

    def located(self, source):
        """Return this error with the file named, unless it is named already."""
        return self if self.source else type(self)(self.key, self.message, source)


class TrainingStopped(RuntimeError):
    """Training cannot go on (the loss is no finite number); everything is saved when this is raised."""


def nearest(name, candidates):
    """Return the candidate spelt most like ``name``, or None when none is near."""
    lower = {}
    for candidate in candidates:
        lower.setdefault(str(candidate).lower(), candidate)
    found = difflib.get_close_matches(str(name).lower(), lower, n=1, cutoff=0.6)
    return lower[found[0]] if found else None


def did_you_mean(name, candidates):
    """Return `` Did you mean `x`?``, or nothing when no candidate is near."""
    found = nearest(name, candidates)
    return " Did you mean `%s`?" % found if found else ""


def choices(name, allowed):
    """Return the nearest spelling and all that is allowed, the end of a message about an unknown name."""
    allowed = list(allowed)
    return "%s Allowed: %s" % (did_you_mean(name, allowed), listing(allowed))


def listing(names):
    """Return names as a list for a message: `a`, `b`."""
    names = list(names)
    return ", ".join("`%s`" % name for name in names) if names else "none"
