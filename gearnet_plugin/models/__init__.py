"""Registered encoders."""
from .fusion import SequenceStructureFusion
from .gearnet import GearNetEncoder
from .ieconv import GearNetIEConvEncoder

__all__ = ["GearNetEncoder", "GearNetIEConvEncoder", "SequenceStructureFusion"]
