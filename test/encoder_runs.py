"""Folders of runs with small encoders, for tests of what uses trained ones."""

import os

import torch
import yaml

from conftest import ROOT
from gearnet_plugin.engine.command import main
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures import bundled
from proteins import construction


def untrained_run(folder, width=16):
    """The folder of a run with what ``load_encoder`` needs, made without training; returns it."""
    os.makedirs(folder)
    encoder = GearNetEncoder(21, [width, width], 7, edge_input_dim=59, num_angle_bin=8, batch_norm=True, short_cut=True,
                             concat_hidden=True)  # fmt: skip
    torch.save(encoder.state_dict(), os.path.join(folder, "encoder.pth"))
    with open(os.path.join(folder, "encoder.yaml"), "w") as file:
        recipe = {"encoder": encoder.config_dict(), "gearnet_plugin": "0.1.0",
                  "graph_construction_model": construction().config_dict()}  # fmt: skip
        yaml.safe_dump(recipe, file)
    return folder


def finetuned_run(folder, width=16):
    """The folder of a run of the quickstart's fine-tuning, one epoch of a small encoder; returns it."""
    config = os.path.join(ROOT, "config", "quickstart", "finetune.yaml")
    table = bundled.bundled_path() / "chains.tsv"
    code = main(["-c", config, "--structures", str(table), "--ckpt", "null", "--out", str(folder), "--set",
                 f"task.model.hidden_dims=[{width}]", "train.num_epoch=1"])  # fmt: skip
    assert code == 0
    return folder
