"""
script/run.py with a class of its own, as a project that extends this package would have: a data set in memory
that can misbehave. Tests start it as a script, since workers run the same script again, and import it.
"""
import os
import sys

from torch.utils import data as torch_data

import gearnet_plugin  # noqa: F401  TorchDrug can be imported only after it
from gearnet_plugin.engine.command import main
from proteins import chain
from torchdrug import core
from torchdrug.core import Registry as R
from torchdrug.utils import comm

CONFIG = """
output_dir: {output_dir}
dataset:
  class: TinyChainsForTests
task:
  class: PropertyPrediction
  model:
    class: GearNetEncoder
    input_dim: 21
    hidden_dims: [8, 8]
    num_relation: 7
    batch_norm: true
  graph_construction_model:
    class: ResidueGraphConstruction
    node_layers:
      - class: AlphaCarbonNode
    edge_layers:
      - class: SequentialEdge
        max_distance: 2
      - class: SpatialEdge
      - class: KNNEdge
  task: [class]
  criterion: ce
  metric: [acc]
  num_class: 3
optimizer:
  class: Adam
  lr: 1.0e-2
engine:
  gpus: {{ gpus }}
  batch_size: 4
  log_interval: 1
train:
  num_epoch: 2
metric: accuracy
""".replace("{output_dir}", "{{ output_dir | default('runs') }}")


@R.register("datasets.TinyChainsForTests")
class TinyChainsForTests(torch_data.Dataset, core.Configurable):
    """
    Random chains with a class and a number each.

    Parameters:
        num_train (int, optional): items for training
        num_valid (int, optional): items for validation, and as many for test
        exit_on_rank (int, optional): the process of this rank vanishes when it trains
        interrupt_after (int, optional): as if Ctrl-C were pressed at this item of training
        fault (str, optional): what fails with a ValueError: ``split`` or ``item``
        last_class (int, optional): class of the last item, which is for test
    """

    def __init__(self, num_train=8, num_valid=4, exit_on_rank=None, interrupt_after=None, fault=None, last_class=None):
        self.sizes = [num_train, num_valid, num_valid]
        self.exit_on_rank = exit_on_rank
        self.interrupt_after = interrupt_after
        self.graphs = [chain(12 + i % 5, seed=i) for i in range(sum(self.sizes))]
        self.taken = 0
        self.fault = fault
        self.last_class = last_class
        self.order = []

    def __len__(self):
        return len(self.graphs)

    def __getitem__(self, index):
        self.taken += 1
        self.order.append(index)
        if self.fault == "item":
            raise ValueError("item %d is faulty" % index)
        # TorchDrug's task looks at every item before training
        if self.taken > self.sizes[0] + 2:
            if self.exit_on_rank is not None and comm.get_rank() == self.exit_on_rank:
                os._exit(7)
            if self.interrupt_after is not None and self.taken > self.sizes[0] + 2 + self.interrupt_after:
                raise KeyboardInterrupt
        label = self.last_class if self.last_class and index == len(self) - 1 else index % 3
        return {"graph": self.graphs[index], "class": label, "value": float(index)}

    @property
    def num_classes(self):
        """Number of classes of the whole data set."""
        return {"class": max(self.last_class or 0, 2) + 1, "value": 1}

    def split(self):
        """Training, validation and test set."""
        if self.fault == "split":
            raise ValueError("no structure of split `train` can be used; `drops` says why")
        bounds = [sum(self.sizes[:i]) for i in range(4)]
        return [torch_data.Subset(self, range(a, b)) for a, b in zip(bounds, bounds[1:])]


if __name__ == "__main__":
    sys.exit(main())
