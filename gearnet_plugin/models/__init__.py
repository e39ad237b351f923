"""Registered encoders."""
from .gearnet import GearNetEncoder

__all__ = ["GearNetEncoder"]
