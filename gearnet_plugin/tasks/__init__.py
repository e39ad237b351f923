"""Registered tasks."""
from .contrast import MultiviewContrastive

__all__ = ["MultiviewContrastive"]
