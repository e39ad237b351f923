"""
From structures to vectors with a trained encoder:

    from gearnet_plugin import load_encoder

    model = load_encoder("runs/pretrain/2025-01-31-12-00-00")
    result = model.embed("my_structures/", level="both")
    result.save("embeddings.npz")

and for more than fits into memory, as the command ``gearnet embed`` does:

    from gearnet_plugin.embedding import embed_to_file

    embed_to_file(model, "my_structures/", "embeddings.h5", level="both")

A run that was trained on labels predicts them, as the command ``gearnet predict`` does:

    model = load_encoder("runs/multilabel/2025-01-31-12-00-00")
    model.predict("my_structures/", top=3).save("predictions.csv")
"""

from .encoder import LoadedEncoder
from .load import load_encoder
from .prediction import Predictions
from .prediction_to_file import predict_to_file
from .result import Embeddings
from .to_file import embed_to_file

__all__ = ["Embeddings", "LoadedEncoder", "Predictions", "embed_to_file", "load_encoder", "predict_to_file"]
