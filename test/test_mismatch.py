"""Why the weights of a file do not fit a model, told in words."""

import os
import re

import pytest
import torch

from gearnet_plugin.embedding import load_encoder
from gearnet_plugin.engine.checkpoint import save_encoder
from gearnet_plugin.engine.mismatch import explain
from gearnet_plugin.models import GearNetEncoder, GearNetIEConvEncoder, SequenceStructureFusion
from gearnet_plugin.tasks import MultiviewContrastive
from proteins import construction
from torchdrug import models, tasks
from torchdrug.layers import geometry

EDGE = dict(edge_input_dim=59, num_angle_bin=8)
OPTIONS = dict(batch_norm=True, short_cut=True, concat_hidden=True)


def small(input_dim=21, hidden_dims=(8, 8), num_relation=7, **kwargs):
    """A small GearNet-Edge, or what the arguments make of it."""
    return GearNetEncoder(input_dim, list(hidden_dims), num_relation, **{**EDGE, **OPTIONS, **kwargs})


def small_ieconv(**kwargs):
    arguments = {**EDGE, **OPTIONS, "embedding_dim": 8, "layer_norm": True, "use_ieconv": True, **kwargs}
    return GearNetIEConvEncoder(21, hidden_dims=[8, 8], num_relation=7, **arguments)


def write_run(folder, encoder, graph=None):
    views = [geometry.IdentityNode()], [geometry.IdentityNode()]
    os.makedirs(folder)
    save_encoder(MultiviewContrastive(encoder, *views, graph_construction_model=graph or construction()), folder, "1")
    return folder


def fusion(width=16, **kwargs):
    return SequenceStructureFusion(models.ProteinLSTM(21, 8, 2), small(width, **kwargs))


def property_task(num_class=(3,), layers=1):
    task = tasks.PropertyPrediction(small(), ("fold",), num_mlp_layer=layers, num_class=num_class)
    task.preprocess([{"fold": 0}, {"fold": 2}], None, None)
    return task


@pytest.mark.parametrize(
    "expected, found, words",
    [
        (
            small,
            small_ieconv,
            "encoder: the configuration has GearNetEncoder, the file GearNetIEConvEncoder. These are ",
        ),
        (
            small_ieconv,
            small,
            "encoder: the configuration has GearNetIEConvEncoder, the file GearNetEncoder. These are ",
        ),
        (
            small,
            lambda: small(1280),
            "features.: the configuration has 21, the file 1280. 1280 is a width of ESM's residue "
            "features, so the encoder in the file stands behind a sequence model",
        ),
        (lambda: small(1280), small, "1280 is a width of ESM's .* so the configuration's encoder stands behind"),
        (
            small,
            lambda: small(edge_input_dim=None, num_angle_bin=None),
            "num_angle_bin .*: the configuration has 8, the file none. Without angle bins it is GearNet, with them ",
        ),
        (
            lambda: small(edge_input_dim=None, num_angle_bin=None),
            small,
            "the configuration has none, the file 8. Without",
        ),
        (small, lambda: small(num_angle_bin=6), "num_angle_bin .*: the configuration has 8, the file 6"),
        (small, lambda: small(num_relation=4), "num_relation .* has 7, the file 4. The paper's graph has 7: five "),
        (small, lambda: small(edge_input_dim=40), "edge_input_dim .* has 59, the file 40"),
        (
            small_ieconv,
            lambda: small_ieconv(use_ieconv=False),
            r"ieconv \(intrinsic-extrinsic convolution\): the configuration has kernel, the file none",
        ),
        (
            small_ieconv,
            lambda: small_ieconv(use_ieconv=None, ieconv="film"),
            "the configuration has kernel, the file film",
        ),
        (
            small_ieconv,
            lambda: small_ieconv(layer_norm=False),
            "layer_norm: the configuration has True, the file False",
        ),
        (small_ieconv, lambda: small_ieconv(embedding_dim=0), "embedding_dim: the configuration has 8, the file 0"),
        (small_ieconv, lambda: small_ieconv(embedding_dim=6), "embedding_dim: the configuration has 8, the file 6"),
        (small_ieconv, lambda: small_ieconv(num_angle_bin=6), "num_angle_bin .*: the configuration has 8, the file 6"),
        (
            small_ieconv,
            lambda: small_ieconv(num_angle_bin=None),
            "num_angle_bin .*: the configuration has 8, the file no",
        ),
        (small, property_task, "The file holds all weights of a task, this is an encoder"),
        (
            property_task,
            small,
            "holds an encoder alone, the configuration asks for all weights of a task: give it as `model_checkpoint`",
        ),
        (
            property_task,
            lambda: property_task((5,)),
            "The head has 3 outputs here and 5 in the file: the weights are those "
            "of another task .* `model_checkpoint` takes the encoder alone",
        ),
        (property_task, lambda: property_task(layers=3), "num_mlp_layer 1 here and 3 in the file"),
        (small, fusion, "The file holds a sequence model joined with a structure encoder .* an encoder alone"),
        (
            fusion,
            small,
            "The configuration has a sequence model joined with a structure encoder, the file holds no such",
        ),
    ],
)
def test_a_mismatch_is_told_in_words(expected, found, words):
    assert re.search(words, explain(expected().state_dict(), found().state_dict()))


@pytest.mark.parametrize("make", [small, small_ieconv, fusion, property_task])
def test_weights_that_fit_need_no_words(make):
    assert explain(make().state_dict(), make().state_dict()) == ""


def test_half_of_a_fusion_is_not_an_encoder(tmp_path):
    """Even where every weight would fit: it was trained behind a sequence model."""
    folder = write_run(tmp_path / "run", small(16, edge_input_dim=None, num_angle_bin=None))
    torch.save(fusion(edge_input_dim=None, num_angle_bin=None).state_dict(), folder / "encoder.pth")
    with pytest.raises(ValueError, match="The file holds a sequence model joined with a structure encoder"):
        load_encoder(folder)


def test_a_mismatch_through_the_loader(tmp_path):
    folder = write_run(tmp_path / "run", small_ieconv())
    torch.save(small().state_dict(), folder / "encoder.pth")
    with pytest.raises(
        ValueError,
        match="do not fit the encoder in `.*encoder.yaml`. encoder: the configuration has "
        "GearNetIEConvEncoder, the file GearNetEncoder",
    ):
        load_encoder(folder)
