"""`import gearnet_plugin` leaves torch, logging and the process as they were."""
import json
import os

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """An empty home, and a working directory with the lock of an extension build that was killed."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "home").mkdir()
    (folder / "work").mkdir()
    (folder / "work" / "lock_spmm_0").touch()
    return folder


@pytest.fixture(scope="module")
def facts(python, place):
    done = python(os.path.join(HERE, "import_facts.py"), cwd=place / "work", HOME=place / "home",
                  XDG_CACHE_HOME=None, TORCH_EXTENSIONS_DIR=None, PATH="/no/programs", CXX="/no/compiler")
    # neither the import nor a loader's worker says anything
    assert "Warning" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def test_torch_namespaces_hold_the_same_objects(facts):
    assert facts["torch"] == []


def test_logging_environment_warnings_and_random_state_unchanged(facts):
    assert facts["around"] == []


def test_no_other_module_holds_a_class_of_torchdrug(facts):
    assert facts["foreign"] == []


def test_stand_ins_are_not_left_behind(facts):
    assert facts["left in sys.modules"] == []
    assert facts["found"] == []


@pytest.mark.parametrize("what", ["isinstance", "no device", "subset", "loader", "optimizer", "export",
                                  "message passing", "worker"])
def test_torch_and_torchdrug_work(facts, what):
    assert facts["works"][what] is True


def test_nothing_is_built(facts, place):
    """
    No build folder at home, no lock in the working directory, no compiler that could be found; the lock that was there
    hangs nothing.
    """
    assert facts["folder"] == []
    assert not list((place / "home").rglob("torch_extensions*"))


PYTORCH_GEOMETRIC = """
import gearnet_plugin
import torch
from torch_geometric import nn, typing
assert bool(gearnet_plugin.compat.stand_ins()) == (not typing.WITH_TORCH_SCATTER)
torch.manual_seed(0)
conv = nn.RGCNConv(4, 3, num_relations=2)
edges, kinds = torch.tensor([[0, 1, 2, 2], [1, 2, 0, 1]]), torch.tensor([0, 1, 0, 0])
x = torch.randn(3, 4)
out = conv(x, edges, kinds)
expected = x @ conv.root + conv.bias
# the mean over the neighbours of each relation
by_hand = [x[2] @ conv.weight[0], (x[0] + x[2]) / 2 @ conv.weight[0], x[1] @ conv.weight[1]]
expected = expected + torch.stack(by_hand)
torch.testing.assert_close(out, expected)
out.sum().backward()
"""


def test_pytorch_geometric_unharmed(python):
    pytest.importorskip("torch_geometric", reason="PyTorch Geometric is not installed", exc_type=ImportError)
    python("-c", PYTORCH_GEOMETRIC)


FAILURES = """
import importlib.abc, sys

class Block(importlib.abc.MetaPathFinder):
    name = None

    def find_spec(self, name, path, target=None):
        if self.name and (name + ".").startswith(self.name + "."):
            raise ModuleNotFoundError("No module named %r" % name, name=name)

sys.meta_path.insert(0, Block())

def refused(name):
    Block.name = name
    try:
        import gearnet_plugin
    except ImportError as error:
        return str(error)
    raise SystemExit("imported without " + name)

import torch
module = torch.nn.Module
message = refused("torchdrug")
assert message.endswith("pip install --no-deps --ignore-requires-python torchdrug==0.2.1"), message
assert "TorchDrug is not installed" in message, message
message = refused("esm")
assert "TorchDrug needs `esm`" in message and message.endswith("pip install fair-esm"), message
message = refused("lmdb")
assert message.endswith("pip install lmdb"), message
message = refused("torchdrug.tasks")
assert "torchdrug.tasks" in message, message
assert torch.nn.Module is module and not hasattr(torch.nn, "_Module")
Block.name = None
import gearnet_plugin
from torchdrug import models
assert models.GCN(3, [4]).device.type == "cpu"
"""


def test_what_is_missing_is_named_and_a_second_attempt_works(python):
    python("-c", FAILURES)


TORCHDRUG_FIRST = """
import os, sys
sys.path.insert(0, %r)
import compat_alone
compat_alone.simulate_installed()
import torchdrug
from torch import nn
patched = nn.Module
assert patched.__module__ == "torchdrug.patch"
import gearnet_plugin
from torchdrug import core, data, models, utils
assert nn.Module is patched, "the user's own import decides what torch is"
assert core.Registry.get("scheduler.StepLR").__name__ == "StepLR"
graph = data.Graph([[0, 1], [1, 0]], num_node=2).to("cpu")
import torch
model = models.GCN(2, [3])
assert model(graph, torch.eye(2))["node_feature"].shape == (2, 3)

class Mine(nn.Module, core.Configurable):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 2)

assert Mine().device.type == "cpu"
"""


def test_after_the_users_own_import_of_torchdrug(python):
    python("-c", TORCHDRUG_FIRST % HERE)


def test_second_activation_does_nothing():
    from gearnet_plugin import compat
    from torchdrug import core, utils

    before = core.Engine.config_dict, utils.sparse_coo_tensor, dict(core.Registry.table.flatten())
    compat.activate()
    assert (core.Engine.config_dict, utils.sparse_coo_tensor, dict(core.Registry.table.flatten())) == before
