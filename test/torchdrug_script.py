"""
A script as a user of TorchDrug writes it, in the way of its README: nothing in it knows of gearnet-plugin.

    python torchdrug_script.py FOLDER
"""
import json
import sys

import torch
import torch_cluster
from torch import nn
from torch.utils import data as torch_data
from torch_scatter import scatter_add, scatter_mean
from torch_scatter.composite import scatter_softmax

from torchdrug import core, data, models, tasks
from torchdrug.core import Registry as R


@R.register("datasets.Alcohols")
class Alcohols(data.MoleculeDataset):
    """Chains with and without an oxygen atom, told apart by the task."""

    def __init__(self, size=12, **kwargs):
        smiles = ["C" * (i // 2 + 1) + "O" * (i % 2) for i in range(size)]
        self.load_smiles(smiles, {"alcohol": [i % 2 for i in range(size)]}, **kwargs)


class Readout(nn.Module):
    """A plain module that uses `.device`, as every module may under TorchDrug."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Linear(1, 1)
        self.register_buffer("graph", data.Graph([[0, 1]], num_node=2))

    def forward(self, graph, x):
        index = torch.arange(graph.batch_size, device=self.device).repeat_interleave(graph.num_nodes)
        weight = scatter_softmax(x, index, dim=0)
        return scatter_add(weight * x, index, dim=0) + scatter_mean(x, index, dim=0)


class Assigning(nn.Module):
    def __init__(self):
        super().__init__()
        self.device = torch.device("cpu")


def main(folder):
    torch.manual_seed(0)
    dataset = Alcohols(atom_feature="symbol")
    lengths = [8, 2, 2]
    train_set, valid_set, test_set = torch_data.random_split(dataset, lengths)
    model = models.GIN(input_dim=dataset.node_feature_dim, hidden_dims=[16, 16], readout="sum")
    task = tasks.PropertyPrediction(model, task=dataset.tasks, criterion="bce", metric=("auprc", "auroc"))
    optimizer = torch.optim.Adam(task.parameters(), lr=5e-2)
    solver = core.Engine(task, train_set, valid_set, test_set, optimizer, batch_size=4, log_interval=1)
    solver.train(num_epoch=10)
    losses = solver.meter.records["binary cross entropy"]
    assert losses[-1] < losses[0]
    solver.evaluate("valid")

    with open("%s/solver.json" % folder, "w") as file:
        json.dump(solver.config_dict(), file)
    solver.save("%s/solver.pth" % folder)
    with open("%s/solver.json" % folder) as file:
        again = core.Configurable.load_config_dict(json.load(file))
    again.load("%s/solver.pth" % folder)
    batch = data.graph_collate([dataset[i] for i in range(6)])
    solver.model.eval()
    again.model.eval()
    assert torch.equal(solver.model.predict(batch), again.model.predict(batch))
    assert again.optimizer.param_groups[0]["lr"] == 5e-2

    readout = Readout()
    graph = batch["graph"]
    assert readout(graph, torch.ones(graph.num_node, 2)).shape == (6, 2)
    assert readout.graph.num_node == 2
    assert Assigning().device == torch.device("cpu")
    assert torch_cluster.knn_graph(torch.rand(4, 3), 2).shape == (2, 8)
    assert isinstance(nn.Linear(1, 1), nn.Module)


if __name__ == "__main__":
    import helper_beside_the_script

    assert len(sys.argv) == 3 and sys.argv[2] == "--flag", sys.argv
    assert sys.argv[0].endswith("torchdrug_script.py")
    main(sys.argv[1])
    sys.stdout.write("done with %s\n" % helper_beside_the_script.NAME)
