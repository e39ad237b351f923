"""Several gloo ranks on this machine, for tests of what happens between processes."""
import os

import torch
from torch import multiprocessing

import gearnet_plugin  # noqa: F401  a spawned process imports this file first
from gearnet_plugin.engine import world
from torchdrug.utils import comm


def run(function, number, folder, *arguments):
    """
    Run ``function(rank, *arguments)`` in ``number`` processes and return what each returned: tensors and
    plain values. ``folder`` is an empty one for the files between them.
    """
    multiprocessing.spawn(_rank, args=(function, number, str(folder), arguments), nprocs=number)
    return [torch.load(os.path.join(folder, "%d.pt" % rank), weights_only=True) for rank in range(number)]


def _rank(rank, function, number, folder, arguments):
    torch.set_num_threads(1)
    comm.init_process_group("gloo", "file://%s/store" % folder, rank=rank, world_size=number)
    torch.save(function(rank, *arguments), os.path.join(folder, "%d.pt" % rank))
    # nobody leaves while another still talks
    torch.distributed.barrier()
    # TorchDrug keeps a group of its own; left to the end of the process, its threads abort that at times
    world.leave()
