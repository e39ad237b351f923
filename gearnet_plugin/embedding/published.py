"""
The encoders that the authors of GearNet and ESM-GearNet published: what they are, and where their files are.

    from gearnet_plugin.embedding.published import find, published

    [row.name for row in published()]
    find("mc_gearnet_edge").url

None of the files was at hand when this table was made. What it says is what public sources say, each named beside the
entry. Where none says a checksum or an address there is None.
"""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass

# === recipes, of the form of an `encoder.yaml` ===


def _graph(edge_feature):
    """The graph of all configurations of both repositories; the order of its edges is that of the relations."""
    return {
        "class": "layers.ResidueGraphConstruction",
        "node_layers": [{"class": "layers.geometry.AlphaCarbonNode"}],
        "edge_layers": [
            {"class": "layers.geometry.SequentialEdge", "max_distance": 2},
            {"class": "layers.geometry.SpatialEdge", "radius": 10.0, "min_distance": 5},  # Å
            {"class": "layers.geometry.KNNEdge", "k": 10, "min_distance": 5},
        ],
        "edge_feature": edge_feature,
    }


_SIZES = {
    "hidden_dims": [512] * 6,
    "num_relation": 7,
    "batch_norm": True,
    "concat_hidden": True,
    "short_cut": True,
    "readout": "sum",
}
_EDGE = {"edge_input_dim": 59, "num_angle_bin": 8}

#: DeepGraphLearning/GearNet, config/pretrain/mc_gearnet_edge.yaml; the other four have the same encoder and graph.
EDGE = {
    "encoder": {"class": "models.GearNetEncoder", "input_dim": 21, **_SIZES, **_EDGE},
    "graph_construction_model": _graph("gearnet"),
}
#: DeepGraphLearning/GearNet, config/downstream/Fold3D/new_gearnet_edge_ieconv.yaml
EDGE_IECONV = {
    "encoder": {
        "class": "models.GearNetIEConvEncoder",
        "input_dim": 21,
        "embedding_dim": 512,
        **_SIZES,
        **_EDGE,
        "layer_norm": True,
        "dropout": 0.2,
        "use_ieconv": True,
        "frames": "released",
    },
    "graph_construction_model": _graph("gearnet"),
}
#: DeepGraphLearning/ESM-GearNet, config/pretrain/mc_esm_gearnet.yaml; the other five have the same encoder and graph.
#: `path` is where ESM's own files would go; to load the published weights none of them is needed.
ESM_SERIES = {
    "encoder": {
        "class": "models.SequenceStructureFusion",
        "sequence_model": {"class": "models.ESM", "path": "~/.cache/gearnet_plugin/weights/esm", "model": "ESM-2-650M"},
        "structure_model": {"class": "models.GearNetEncoder", "input_dim": 1280, **_SIZES},
        "fusion": "series",
        "freeze_sequence": True,
    },
    "graph_construction_model": _graph(None),
}


@dataclass(frozen=True)
class PublishedEncoder:
    """
    One published file of weights.

    Parameters:
        name (str): name, that of the configuration it comes from
        file (str): name of the file, under which it is looked for
        variant (str): kind of encoder, for people
        page (str): page of the record
        url (str or None): address of the file; None where no source states its name
        md5 (str or None): MD5 of the file
        size (int or None): bytes of the file
        num_parameter (int): number of parameters of the encoder
        holds (str): ``encoder``, a state dict of the encoder, or ``task``, of a task with its head
        trained_on (str): data and objective
        paper (str): arXiv number
        licence (str or None): licence of the record
        layout (dict): recipe of encoder and graph, shared by all of one variant; see :meth:`recipe`
        aliases (tuple of str, optional): further names
    """

    name: str
    file: str
    variant: str
    page: str
    url: str | None
    md5: str | None
    size: int | None
    num_parameter: int
    holds: str
    trained_on: str
    paper: str
    licence: str | None
    layout: dict
    aliases: tuple[str, ...] = ()

    def recipe(self) -> dict:
        """Recipe of encoder and graph, with the keys of ``encoder.yaml``."""
        return copy.deepcopy(self.layout)

    @property
    def about(self) -> str:
        """Size in words; of float32 numbers, as long as the exact one is not known."""
        if self.size is not None:
            return f"{self.size / 1e6:,.0f} MB"
        return f"{'about' if self.holds == 'encoder' else 'more than'} {4 * self.num_parameter / 1e6:,.0f} MB"


_GEARNET = "https://zenodo.org/record/7593637"
_FOLD = "https://zenodo.org/record/7723075"
_ESM = "https://zenodo.org/records/10034578"


def _edge(name, objective, md5=None, file=None, aliases=()):
    file = file or f"{name}.pth"
    return PublishedEncoder(
        name=name,
        # names and addresses: README of DeepGraphLearning/GearNet, "Pretraining and Finetuning"
        file=file,
        variant="GearNet-Edge",
        page=_GEARNET,
        url=f"{_GEARNET}/files/{file}",
        md5=md5,
        size=None,
        num_parameter=20_145_635,
        # several public projects give what torch.load returns to TorchDrug's GearNet.load_state_dict;
        # script/pretrain.py of the repository writes files of that kind
        holds="encoder",
        # the same README; the proteins are the paper's, 805,000 of AlphaFold DB v1 and v2
        trained_on=f"AlphaFold DB, {objective}",
        paper="2203.06125",
        # a public script that fetches mc_gearnet_edge.pth says so of record 7593637
        licence="CC-BY-4.0",
        layout=EDGE,
        aliases=aliases,
    )


def _esm(name, objective, url=None):
    return PublishedEncoder(
        name=name,
        file=f"{name}.pth",
        variant="ESM-GearNet",
        page=_ESM,
        url=url,
        md5=None,
        size=None,
        num_parameter=666_790_326,
        # script/pretrain.py of DeepGraphLearning/ESM-GearNet writes the state dict of its FusionNetwork, ESM included
        holds="encoder",
        # README of DeepGraphLearning/ESM-GearNet
        trained_on=f"AlphaFold DB, {objective}, ESM-2-650M frozen",
        paper="2303.06275",
        licence=None,
        layout=ESM_SERIES,
    )


_TABLE = (
    # The MD5 is that of a public script, which also says "~81 MB": 4 bytes for each of 20.15 million parameters.
    _edge("mc_gearnet_edge", "multiview contrast", md5="c35402108f14e43f20feb475918f9c26"),
    _edge("attr_gearnet_edge", "residue type prediction"),
    # the configuration is called dis_, the file distance_
    _edge(
        "dis_gearnet_edge", "distance prediction", file="distance_gearnet_edge.pth", aliases=("distance_gearnet_edge",)
    ),
    _edge("angle_gearnet_edge", "angle prediction"),
    _edge("dihedral_gearnet_edge", "dihedral prediction"),
    PublishedEncoder(
        name="fold_mc_gearnet_edge_ieconv",
        # name, address, and that it holds encoder and head after fine-tuning: DeepGraphLearning/GearNet, issue 41
        file="fold_mc_gearnet_edge_ieconv.pth",
        variant="GearNet-Edge-IEConv",
        page=_FOLD,
        url=f"{_FOLD}/files/fold_mc_gearnet_edge_ieconv.pth",
        md5=None,
        size=None,
        num_parameter=25_852_224,
        # a public project gives its `model` to the load_state_dict of a PropertyPrediction with a head of three layers
        # and 1195 classes around GearNetIEConv
        holds="task",
        trained_on="AlphaFold DB, multiview contrast, then fine-tuned on Fold3D",
        paper="2203.06125",
        licence=None,
        layout=EDGE_IECONV,
        aliases=("gearnet_edge_ieconv_fold",),
    ),
    # The README of ESM-GearNet lists these six objectives. That the record holds a file of this name is stated by a
    # public project that uses it, for the first alone; its address is that of every file of a record.
    _esm("mc_esm_gearnet", "multiview contrast", url=f"{_ESM}/files/mc_esm_gearnet.pth"),
    _esm("attr_esm_gearnet", "residue type prediction"),
    _esm("distance_esm_gearnet", "distance prediction"),
    _esm("angle_esm_gearnet", "angle prediction"),
    _esm("dihedral_esm_gearnet", "dihedral prediction"),
    _esm("siamdiff_esm_gearnet", "SiamDiff"),
)


def published() -> tuple[PublishedEncoder, ...]:
    """All published encoders."""
    return _TABLE


def find(name: str | os.PathLike) -> PublishedEncoder | None:
    """
    The published encoder of a name.

    Parameters:
        name (str): name, alias or file name, with or without ``.pth``, capital letters or dashes; no path
    """
    wanted = _plain(os.fspath(name))
    for row in _TABLE:
        if wanted in map(_plain, (row.name, row.file, *row.aliases)):
            return row
    return None


def _plain(name: str) -> str:
    return name.strip().lower().removesuffix(".pth").replace("-", "_")
