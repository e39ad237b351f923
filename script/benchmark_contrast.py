"""The row of script/benchmark.py on a whole step of multiview contrast: from items of a data set to the optimizer."""

import functools
import os
import random
import tempfile

import torch

from benchmark_data import plain_files, stock_read
from encoder_checks import require_same_gradient
from encoder_inputs import (
    CROPS,
    constructions,
    encoder_arguments,
    in_our_order,
)
from encoder_plan import rated
from gearnet_plugin.datasets import StructureFolder
from gearnet_plugin.models import GearNetEncoder
from gearnet_plugin.structures.prepare import Recipe, prepare
from gearnet_plugin.tasks import MultiviewContrastive
from torchdrug import data, models, tasks, transforms
from torchdrug.layers import geometry


def measure_contrast(plan):
    """The whole step of multiview contrast: items of a data set, batch, two views, loss, backward, optimizer."""
    count = 4 if plan.tiny else CROPS
    with tempfile.TemporaryDirectory(prefix="gearnet-benchmark-") as folder:
        proteins, dataset, numbers = _both_datasets(folder, count)
        for width in plan.widths[:1] if plan.quick else plan.widths:
            calls = _contrast_calls(proteins, dataset, numbers, width)
            _check_contrast(*calls, plan)
            ratios = plan.compare({"stock": _in_turn(calls[0]), "ours": _in_turn(calls[1])})
            aim = {512: 1.5, 128: 2}.get(width)
            what = f"multiview contrast d={width}, from data set to optimizer, fp32, {count} proteins"
            yield rated(
                what,
                ratios["ours"],
                aim,
                group="multiview contrast, whole step, fp32",
                label=f"d={width}, {count} proteins",
            )


def _both_datasets(folder, count):
    """Proteins as stock reads them, our data set, and its numbers of the same proteins."""
    files = plain_files(os.path.join(folder, "pdb"), None, 60)
    prepare(files, os.path.join(folder, "store"), Recipe(per="entry"), workers=1, verbose=0)
    dataset = StructureFolder(os.path.join(folder, "store"), verbose=0)
    places = {name: number for number, name in enumerate(dataset.names)}
    proteins, numbers = [], []
    for path in files:
        number = places.get(os.path.basename(path).removesuffix(".pdb"))
        if number is None or len(proteins) == count:
            continue
        try:
            protein = stock_read(path)
        except Exception:  # noqa: BLE001  RDKit refuses some valid files
            continue
        theirs = protein.node_position[protein.atom_name == data.Protein.atom_name2id["CA"]]
        ours = dataset[number]["graph"]
        # RDKit gives modified residues other types
        if theirs.shape != ours.node_position.shape or not torch.equal(protein.residue_type, ours.residue_type):
            continue
        if float((theirs - ours.node_position).abs().max()) < 1e-3:
            proteins.append(protein)
            numbers.append(number)
    if len(proteins) < count:
        raise SystemExit(f"only {len(proteins)} of {count} proteins are read alike; nothing is reported")
    return proteins, dataset, numbers


def _contrast_calls(proteins, dataset, numbers, width):
    """Two functions of a seed, stock's and ours, that make a step and return loss and task."""
    view = transforms.ProteinView(view="residue")
    functions = (
        [geometry.SubsequenceNode(50), geometry.SubspaceNode("residue", 15.0, 15)],
        [geometry.IdentityNode(), geometry.RandomEdgeMask(0.15)],
    )
    stock_construct, construct = constructions()
    arguments = encoder_arguments(width)
    torch.manual_seed(0)
    ours = MultiviewContrastive(
        GearNetEncoder(**arguments), *functions, graph_construction_model=construct, draws="global"
    )
    stock = tasks.Unsupervised(models.MultiviewContrast(models.GearNet(**arguments), *functions), stock_construct)
    stock.load_state_dict(ours.state_dict())

    def stock_item(index):
        # as stock's data sets make an item, and its configuration transforms it
        return view({"graph": proteins[index].clone()})

    def step(task, item, indices, optimizer, seed):
        # one seed gives both the same crops and the same noise
        random.seed(seed)
        torch.manual_seed(seed)
        batch = data.graph_collate([item(index) for index in indices])
        loss, metric = task(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return task, metric["multiview mutual information"].detach()

    made = []
    for task, item, indices in ((stock, stock_item, range(len(proteins))), (ours, dataset.__getitem__, numbers)):
        task.train()
        # so small that the weights stay what they are compared with
        optimizer = torch.optim.Adam(task.parameters(), lr=1e-9)
        made.append(functools.partial(step, task, item, indices, optimizer))
    return made


def _in_turn(step):
    """A call that takes the next seed each time: the same ones whoever calls as often."""
    seeds = iter(range(1000))
    return lambda: step(next(seeds))


def _check_contrast(stock, ours, plan):
    """Equal loss and gradients, for seeds that meet both crops and both kinds of noise."""
    for seed in range(1 if plan.tiny else 2 if plan.quick else 6):
        with in_our_order():
            task, expected = stock(seed)
        wanted = _gradients(task)
        task, found = ours(seed)
        what = f"multiview contrast, seed {seed}"
        require_same_gradient(what, _gradients(task), wanted)
        if not abs(found - expected) <= 1e-5 * abs(expected):
            raise SystemExit(f"{what}: the loss is {found:.6f}, of stock {expected:.6f}; nothing is reported")


def _gradients(task):
    return {f"gradient of {name}": p.grad.clone() for name, p in task.named_parameters() if p.grad is not None}
