"""The rows of script/benchmark.py embed: from PDB files to embeddings, against a script of stock TorchDrug."""

import os
import random
import tempfile

import torch

from benchmark_data import plain_files, row, same, try_stock
from encoder_inputs import default_threads, edge_layers
from encoder_plan import Plan, rated
from gearnet_plugin.embedding import LoadedEncoder
from gearnet_plugin.layers import ResidueGraphConstruction
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures import read_structure
from torchdrug import data, layers, models
from torchdrug.layers import geometry

# what a user of stock would take; it has nothing that would choose one
STOCK_BATCH = 8
# of the largest value; float32 sums in another order
NEAR = 1e-5
# of more residues within 10 Å, itself among them, torch-cluster drops some in an order of its own
CROWD = 32
FILES, FEW = 48, 6
ENCODERS = {
    "GearNet-Edge d=512": (512, True),
    "GearNet-Edge d=128": (128, True),
    "GearNet d=512": (512, False),
}
QUICK = {"GearNet-Edge d=128": ENCODERS["GearNet-Edge d=128"]}


def measure_embed(quick=False, folder=None, threads=None):
    """
    Yield the rows of the report, see :func:`benchmark_data.measure_data`.

    Parameters:
        quick (bool, optional): few files and short turns
        folder (str, optional): PDB files to take beside the bundled ones
        threads (int, optional): threads of torch
    """
    torch.set_num_threads(default_threads(threads))
    plan = Plan(quick, folder)
    with tempfile.TemporaryDirectory() as scratch:
        files, residues, left_out = files_of(
            plain_files(os.path.join(scratch, "files"), folder, FILES), FEW if quick else FILES
        )
        for name, (width, edges) in (QUICK if quick else ENCODERS).items():
            stock, ours = encoders(width, edges)
            _check(name, stock(files), ours(files))
            ratios = plan.compare({"stock": lambda stock=stock: stock(files), "ours": lambda ours=ours: ours(files)})
            what = f"{name}: {len(files)} PDB files, {residues:,} residues, into embeddings"
            yield rated(
                what, ratios["ours"], None if quick else 2, residues_per_second=residues / ratios["ours"].second
            )
        yield row("files that stock reads otherwise or not at all, left out of it", left_out)


def files_of(paths, count):
    """Files of one chain that both read alike, their residues, and how many stock loses or alters."""
    kept, residues, left_out = [], 0, 0
    for path in random.Random(0).sample(paths, len(paths)):
        structure = read_structure(path)
        if len(kept) == count or len(set(structure.chain_ids.tolist())) > 1:
            continue
        protein = try_stock(path)
        alike = protein is not None and same(protein, structure.positions)
        # stock takes modified residues for glycine
        if not alike or protein.residue_type.tolist() != structure.residue_types.tolist():
            left_out += 1
            continue
        positions = torch.from_numpy(structure.positions)
        if int((torch.cdist(positions, positions) <= 10).sum(dim=1).max()) > CROWD:
            continue
        kept.append(path)
        residues += len(structure)
    if len(kept) < FEW:
        raise SystemExit(f"only {len(kept)} files are read alike by stock; nothing is reported")
    return kept, residues, left_out


def encoders(width, edges):
    """Two calls from files to features of proteins [B, D] with the same weights: stock's and ours."""
    arguments = dict(input_dim=21, hidden_dims=[width] * 6, num_relation=7, batch_norm=True, short_cut=True)
    arguments.update(concat_hidden=True, readout="sum")
    if edges:
        arguments.update(edge_input_dim=59, num_angle_bin=8)
    torch.manual_seed(0)
    theirs, own = models.GearNet(**arguments).eval(), GearNetEncoder(**arguments).eval()
    own.load_state_dict(theirs.state_dict())
    graph = layers.GraphConstruction([geometry.AlphaCarbonNode()], edge_layers(), edge_feature="gearnet")
    loaded = LoadedEncoder(own, ResidueGraphConstruction([geometry.AlphaCarbonNode()], edge_layers(), "gearnet"))

    @torch.no_grad()
    def stock(files):
        found = []
        for start in range(0, len(files), STOCK_BATCH):
            proteins = []
            for path in files[start : start + STOCK_BATCH]:
                protein = try_stock(path)
                protein.view = "residue"
                proteins.append(protein)
            batch = graph(data.Protein.pack(proteins))
            found.append(theirs(batch, batch.node_feature.float())["graph_feature"])
        return torch.cat(found)

    return stock, lambda files: torch.from_numpy(loaded.embed(files, verbose=0).protein)


def _check(name, stock, ours):
    apart = float((stock - ours).abs().max() / stock.abs().max())
    if not apart <= NEAR:
        raise SystemExit(f"{name}: embeddings differ by {apart:.1e} of the largest; nothing is reported")
