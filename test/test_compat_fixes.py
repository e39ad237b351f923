"""Repairs of single faults of TorchDrug on current libraries."""
import os
import pickle
import warnings

import pytest
import torch
from torch.utils import data as torch_data

from torchdrug import core, data, datasets, models, tasks


class Items(torch_data.Dataset):
    def __len__(self):
        return 7

    def __getitem__(self, i):
        return {"graph": data.Molecule.from_smiles("C" * (i + 1)), "vector": torch.full((3,), float(i)),
                "list": [torch.tensor(i), i], "text": "item %d" % i}


def test_loader_workers_collate_like_the_main_process():
    """Tensors too."""
    plain, loaded = (list(data.DataLoader(Items(), 3, num_workers=n)) for n in (0, 2))
    for a, b in zip(plain, loaded):
        assert torch.equal(a["vector"], b["vector"])
        assert torch.equal(a["list"][0], b["list"][0]) and torch.equal(a["list"][1], b["list"][1])
        assert a["text"] == b["text"]
        assert torch.equal(a["graph"].edge_list, b["graph"].edge_list)
        assert torch.equal(a["graph"].num_nodes, b["graph"].num_nodes)
    assert len(plain) == len(loaded) == 3
    assert b["vector"].is_shared()


def property_engine(path=None):
    torch.manual_seed(0)
    graphs = [data.Molecule.from_smiles("C" * n, atom_feature="symbol") for n in (2, 3, 4)]
    samples = [{"graph": graph, "y": float(graph.num_node)} for graph in graphs]
    model = models.GCN(18, [4])
    task = tasks.PropertyPrediction(model, task=("y",), criterion="mse", metric=("mae",))
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    return core.Engine(task, samples, samples, samples, optimizer, batch_size=2)


class Touch:
    """An object whose unpickling makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mknod, (self.path,)


def test_checkpoint_with_code_is_refused(tmp_path):
    engine = property_engine()
    state = {"model": engine.model.state_dict(), "optimizer": engine.optimizer.state_dict()}
    torch.save({**state, "code": Touch(str(tmp_path / "touched"))}, tmp_path / "bad.pth")
    with pytest.raises(ValueError, match="bad.pth` is refused: it is damaged, or holds objects"):
        engine.load(str(tmp_path / "bad.pth"))
    assert not (tmp_path / "touched").exists()
    # it would have run
    with open(tmp_path / "bad.pickle", "wb") as file:
        pickle.dump(Touch(str(tmp_path / "touched")), file)
    with open(tmp_path / "bad.pickle", "rb") as file:
        pickle.load(file)  # noqa: S301  shows what is refused above
    assert (tmp_path / "touched").exists()


def test_checkpoint_round_trip(tmp_path):
    first, second = property_engine(), property_engine()
    first.train(num_epoch=2)
    first.save(str(tmp_path / "good.pth"))
    second.load(str(tmp_path / "good.pth"))
    for a, b in zip(first.model.state_dict().values(), second.model.state_dict().values()):
        assert torch.equal(a, b)
    state = second.optimizer.state_dict()["state"]
    assert state and all(torch.equal(state[i]["exp_avg"], s["exp_avg"])
                         for i, s in first.optimizer.state_dict()["state"].items())


def test_logged_losses_are_detached(recwarn):
    engine = property_engine()
    engine.train(num_epoch=1)
    assert not [w for w in recwarn if "requires_grad" in str(w.message)]
    assert engine.meter.records["mean squared error"]


def test_target_tensors_of_stock_data_sets_need_no_compiler():
    """EnzymeCommission builds the targets of each item by ``sparse_coo_tensor``."""
    dataset = datasets.EnzymeCommission.__new__(datasets.EnzymeCommission)
    dataset.transform = None
    dataset.targets = {"a": 0, "b": 1, "c": 2}
    dataset.data = [data.Protein.from_sequence("AG")]
    dataset.pos_targets = [torch.tensor([0, 2])]
    dataset.lazy = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert dataset.get_item(0)["targets"].tolist() == [1, 0, 1]
