"""Small sequence models of every kind that TorchDrug has, with a tiny random network in place of ESM's weights."""

import contextlib
import tempfile
from unittest import mock

import esm
import torch

from torchdrug import models

# width of a tiny ESM; two heads of rotary embeddings
WIDTH = 16


def _tiny_network(model, path, name):
    alphabet = esm.data.Alphabet.from_architecture("ESM-1b")
    return esm.model.esm2.ESM2(2, WIDTH, 2, alphabet), alphabet


@contextlib.contextmanager
def tiny_weights():
    """Inside, TorchDrug's ``ESM`` is random, two layers of width 16; nothing is fetched or read."""
    with (
        mock.patch.object(models.ESM, "load_weight", _tiny_network),
        mock.patch.dict(models.ESM.output_dim, {"ESM-2-8M": WIDTH}),
        mock.patch.dict(models.ESM.num_layer, {"ESM-2-8M": 2}),
    ):
        yield


def tiny_esm(readout="mean"):
    """A tiny random ESM-2 behind TorchDrug's interface."""
    with tiny_weights():
        return models.ESM(tempfile.mkdtemp(), "ESM-2-8M", readout)


def bert():
    """Without dropout, so that two runs in training mode agree."""
    return models.ProteinBERT(21, 16, 2, 2, 32, hidden_dropout=0, attention_dropout=0)


# residue features of all are 16 wide; those of proteins 8 for the LSTM
SEQUENCE_MODELS = {
    "ESM": tiny_esm,
    "ProteinBERT": bert,
    "ProteinLSTM": lambda: models.ProteinLSTM(21, 8, 2),
    "ProteinConvolutionalNetwork": lambda: models.ProteinConvolutionalNetwork(21, [12, 16], 5, padding=2),
    "ProteinResNet": lambda: models.ProteinResNet(21, [16, 16], layer_norm=True),
}


def sequence_model(name, seed=0):
    """A model of :data:`SEQUENCE_MODELS` with seeded weights."""
    torch.manual_seed(seed)
    return SEQUENCE_MODELS[name]()
