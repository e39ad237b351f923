"""TorchDrug's tasks, trained by TorchDrug's engine."""
import math

import pytest
import torch
from torch.utils import data as torch_data

from test_compat_proteins import random_protein
from torchdrug import core, data, layers, models, tasks, transforms
from torchdrug.layers import geometry


class Proteins(torch_data.Dataset):
    """Random chains whose labels depend on their composition; ``item`` makes the sample of a chain."""

    def __init__(self, item, number=12):
        self.items = [item(random_protein(10 + i, seed=i)) for i in range(number)]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        # tasks write into their graphs; a copy of one protein forgets its view
        item = {key: value.clone() for key, value in self.items[i].items()}
        item["graph"].view = self.items[i]["graph"].view
        return item


def residue_view(protein, **targets):
    protein.view = "residue"
    return {"graph": protein, **targets}


def with_targets(protein):
    counts = protein.residue_type.bincount(minlength=20)[:5]
    return residue_view(protein, targets=(counts > 0).float())


def construction():
    return layers.GraphConstruction(edge_layers=[geometry.SequentialEdge(2), geometry.KNNEdge(4, 3)],
                                    edge_feature="gearnet")


def encoder(**options):
    return models.GearNet(21, [16, 16], num_relation=6, batch_norm=True, **options)


def train(task, dataset, num_epoch=15, lr=2e-2, batch_size=6):
    torch.manual_seed(0)
    engine = core.Engine(task, dataset, dataset, dataset, torch.optim.Adam(task.parameters(), lr=lr),
                         batch_size=batch_size)
    # the engine may have added parameters of the task to the optimizer
    engine.train(num_epoch=num_epoch)
    return engine


def losses(engine, name):
    values = engine.meter.records[name]
    quarter = len(values) // 4
    return sum(values[:quarter]), sum(values[-quarter:])


def test_multiple_binary_classification():
    torch.manual_seed(0)
    task = tasks.MultipleBinaryClassification(encoder(), task=[0, 1, 2, 3, 4], num_mlp_layer=2, reweight=True,
                                              metric=("auprc@micro", "auroc@micro", "f1_max"),
                                              graph_construction_model=construction())
    engine = train(task, Proteins(with_targets))
    first, last = losses(engine, "binary cross entropy")
    assert last < 0.5 * first
    metric = engine.evaluate("valid")
    assert metric["auprc@micro"] > 0.9 and metric["auroc@micro"] > 0.9 and metric["f1_max"] > 0.85


@pytest.mark.parametrize("make, name, factor", [
    (lambda: tasks.AttributeMasking(encoder(), 0.3, graph_construction_model=construction()), "cross entropy", 0.9),
    (lambda: tasks.DistancePrediction(encoder(), 20, graph_construction_model=construction()),
     "mean squared error", 0.8),
    (lambda: tasks.AnglePrediction(encoder(), 20, graph_construction_model=construction()), "cross entropy", 0.95),
    (lambda: tasks.DihedralPrediction(encoder(), 20, graph_construction_model=construction()), "cross entropy", 0.95),
], ids=["attribute", "distance", "angle", "dihedral"])
def test_self_prediction(make, name, factor):
    torch.manual_seed(0)
    engine = train(make(), Proteins(residue_view))
    first, last = losses(engine, name)
    assert last < factor * first
    assert all(torch.isfinite(value).all() for value in engine.model.state_dict().values() if value.is_floating_point())


def test_multiview_contrast():
    torch.manual_seed(0)
    model = models.MultiviewContrast(
        encoder(edge_input_dim=58, num_angle_bin=8), num_mlp_layer=2,
        noise_funcs=[geometry.IdentityNode(), geometry.RandomEdgeMask(0.15)],
        crop_funcs=[geometry.SubsequenceNode(8), geometry.SubspaceNode("residue", 5, 5)])
    task = tasks.Unsupervised(model, graph_construction_model=construction())
    engine = train(task, Proteins(residue_view), num_epoch=8, batch_size=12)
    assert engine.meter.batch_id == 8
    information = engine.meter.records["multiview mutual information"]
    # of twelve proteins a guess which one is the other view of each gives -log(12)
    assert max(information) > 0.6 * -math.log(12)


def test_property_prediction_of_proteins():
    torch.manual_seed(0)
    dataset = Proteins(lambda p: residue_view(p, length=torch.tensor(float(p.num_residue))))
    task = tasks.PropertyPrediction(encoder(), task=("length",), criterion="mse", metric=("mae", "spearmanr"),
                                    graph_construction_model=construction())
    engine = train(task, dataset, num_epoch=20)
    first, last = losses(engine, "mean squared error")
    assert last < 0.3 * first
    assert engine.evaluate("test")["spearmanr [length]"] > 0.8


def test_property_prediction_from_sequence():
    """A sequence model and a transform; residues, not atoms."""
    torch.manual_seed(0)
    crop = transforms.Compose([transforms.ProteinView("residue"), transforms.TruncateProtein(8, random=False)])

    def item(protein):
        return crop(residue_view(protein, first=(protein.residue_type[0] > 9).long()))

    dataset = Proteins(item)
    assert dataset[0]["graph"].num_residue == 8
    model = models.ProteinCNN(21, [16, 16], kernel_size=3, readout="max")
    task = tasks.PropertyPrediction(model, task=("first",), criterion="ce", metric=("acc",), num_class=2)
    engine = train(task, dataset)
    assert engine.evaluate("test")["accuracy [first]"] > 0.9


def test_molecule_pretraining():
    torch.manual_seed(0)
    smiles = ["CCO", "CCN", "c1ccccc1O", "CC(=O)O", "CCCl", "OCCN"]
    dataset = [{"graph": data.Molecule.from_smiles(s, "pretrain", "pretrain")} for s in smiles]
    model = models.GIN(dataset[0]["graph"].node_feature.shape[1], [16, 16])
    engine = train(tasks.AttributeMasking(model, mask_rate=0.3), dataset, num_epoch=10)
    first, last = losses(engine, "cross entropy")
    assert last < first
    model = models.InfoGraph(models.GIN(dataset[0]["graph"].node_feature.shape[1], [16, 16]), separate_model=False)
    engine = train(tasks.Unsupervised(model), dataset, num_epoch=3)
    assert engine.meter.batch_id == 3


def test_configuration_round_trip():
    task = tasks.AttributeMasking(encoder(), 0.2, graph_construction_model=construction())
    config = task.config_dict()
    again = core.Configurable.load_config_dict(config)
    assert again.config_dict() == config
    assert again.model.state_dict().keys() == task.model.state_dict().keys()
    assert [type(layer) for layer in again.graph_construction_model.edge_layers] == [geometry.SequentialEdge,
                                                                                     geometry.KNNEdge]
