"""
From structures to vectors with a trained encoder:

    from gearnet_plugin import load_encoder

    model = load_encoder("runs/pretrain/2025-01-31-12-00-00")
    result = model.embed("my_structures/", level="both")
    result.save("embeddings.npz")
"""

from .encoder import LoadedEncoder
from .load import load_encoder
from .result import Embeddings

__all__ = ["Embeddings", "LoadedEncoder", "load_encoder"]
