"""
A script: import gearnet_plugin into a process that has torch, and print as JSON what changed, and what works
still.
"""
import importlib.util
import inspect
import json
import logging
import os
import pickle
import sys
import warnings

# each has effects of its own at its import, which are not ours to undo
import esm  # noqa: F401
import lmdb  # noqa: F401
import networkx  # noqa: F401
import torch
import torch.distributed
import torch.nn.parallel
import torch.utils.checkpoint
from matplotlib import pyplot  # noqa: F401
from rdkit.Chem import AllChem, Draw  # noqa: F401
from torch import nn, optim
from torch.optim import lr_scheduler
from torch.utils import cpp_extension
from torch.utils import data as torch_data
from torch.utils.data import dataset

NAMESPACES = (nn, optim, lr_scheduler, torch.utils, torch_data, dataset, cpp_extension, nn.modules.module)


def surroundings():
    root = logging.getLogger()
    return {
        "environment": dict(os.environ), "warnings": list(warnings.filters), "path": list(sys.path),
        "level": root.level, "handlers": list(root.handlers), "threads": torch.get_num_threads(),
        "random": torch.get_rng_state().tolist(), "canvas": hasattr(Draw, "mplCanvas"),
    }


def changes(before):
    """Names in torch that are another object than before; submodules imported meanwhile do not count."""
    found = []
    for module, snapshot in before:
        now = vars(module)
        for name in snapshot.keys() | now.keys():
            added_module = name not in snapshot and type(now[name]) is type(sys)
            if snapshot.get(name) is not now.get(name) and not added_module:
                found.append("%s.%s" % (module.__name__, name))
    return sorted(found)


def foreign_classes():
    """Classes with TorchDrug in them that a module outside of TorchDrug and of this package holds."""
    found = []
    warnings.simplefilter("ignore")  # some objects warn when they are looked at
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in ("torchdrug", "gearnet_plugin", "__main__"):
            continue
        for key, value in list(getattr(module, "__dict__", {}).items()):
            if inspect.isclass(value):
                makers = {str(c.__module__).split(".")[0] for c in (*value.__mro__, *type(value).__mro__)}
                if "torchdrug" in makers:
                    found.append("%s.%s" % (name, key))
    return found


def works():
    """Things that fail under TorchDrug's own import."""
    numbers = torch_data.TensorDataset(torch.arange(10))
    halves = torch_data.random_split(numbers, [6, 4])
    copy = pickle.loads(pickle.dumps(halves[0]))  # noqa: S301  its own bytes
    loader = torch_data.DataLoader(copy, batch_size=3, num_workers=1)
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    exported = torch.export.export(model, (torch.ones(1, 2),))
    return {
        "isinstance": isinstance(nn.Linear(1, 1), nn.Module),
        "no device": not hasattr(nn.Linear(1, 1), "device"),
        "subset": copy.indices == halves[0].indices and type(copy) is torch_data.Subset,
        "loader": sorted(torch.cat([batch for batch, in loader]).tolist()) == sorted(copy.indices),
        "optimizer": type(optim.Adam) is type and optim.Adam.__module__ == "torch.optim.adam",
        "export": torch.equal(exported.module()(torch.ones(1, 2)), model(torch.ones(1, 2))),
    }


def torchdrug_works():
    """Message passing, and tensors from a loader's worker, whose warnings go to the standard error."""
    from torchdrug import data, models

    graph = data.Graph([[0, 1, 0], [1, 0, 1]], num_node=2, num_relation=2)
    output = models.RGCN(2, [3], num_relation=2)(graph, torch.eye(2))["node_feature"]
    batch, = data.DataLoader([{"graph": graph, "vector": torch.ones(3)}] * 2, 2, num_workers=1)
    return {"message passing": output.shape == (2, 3), "worker": batch["vector"].shape == (2, 3)}


if __name__ == "__main__":
    before = [(module, dict(vars(module))) for module in NAMESPACES]
    around = surroundings()
    folder = sorted(os.listdir("."))
    import gearnet_plugin

    now = surroundings()
    json.dump({
        "torch": changes(before),
        "around": [name for name in around if around[name] != now[name]],
        "folder": sorted(set(os.listdir(".")) ^ set(folder)),
        "foreign": foreign_classes(),
        "stand-ins": gearnet_plugin.compat.stand_ins(),
        "left in sys.modules": [name for name in gearnet_plugin.compat.stand_ins() if name in sys.modules],
        "found": [name for name in gearnet_plugin.compat.stand_ins() if importlib.util.find_spec(name)],
        "works": {**works(), **torchdrug_works()},
    }, sys.stdout)
