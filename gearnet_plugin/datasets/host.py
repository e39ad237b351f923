"""Arguments of TorchDrug's data sets that mean nothing here, so that its configurations and scripts need not change."""
from __future__ import annotations

import logging

logger = logging.getLogger(__name__)

_told = set()


def warn_without_meaning(owner, **given):
    """
    Say once for each class which arguments have no effect.

    Parameters:
        owner (object): data set
        given (dict): arguments with their values; ``None`` is not given
    """
    name = type(owner).__name__
    ignored = sorted(argument for argument, value in given.items() if value is not None)
    if ignored and name not in _told:
        _told.add(name)
        logger.warning("%s: %s %s no effect: a protein here is its residues, read once into a store, and has no "
                       "atoms or bonds to describe", name, ", ".join(f"`{argument}`" for argument in ignored),
                       "has" if len(ignored) == 1 else "have")
