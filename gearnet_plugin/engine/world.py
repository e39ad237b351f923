"""
The processes of a run: who they are, joining them, deciding together.

They are there already: made by script/run.py (:mod:`.launch`), torchrun or Slurm. One process alone needs
nothing of this.
"""
import dataclasses
import os

import torch
from torch import distributed as dist

from gearnet_plugin.engine.errors import ConfigError
from torchdrug.utils import comm


@dataclasses.dataclass
class World:
    """
    The processes of a run.

    Parameters:
        rank (int): number of this process
        size (int): number of processes
        gpus (list of int, optional): GPU of each rank; None on CPU
    """

    rank: int = 0
    size: int = 1
    gpus: list | None = None


def inside_job():
    """Whether torchrun, Slurm or run.py itself started this process as one of several."""
    _slurm_variables()
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def is_first():
    """Whether this process is the one that speaks: rank 0, or the only one."""
    _slurm_variables()
    return int(os.environ.get("RANK", "0")) == 0


def _slurm_variables():
    """Translate the variables of a Slurm step with several tasks into those of torch."""
    environ = os.environ
    # a batch script is one process whatever SLURM_NTASKS says, until it calls srun, which has its own count
    count = int(environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if "RANK" in environ or "SLURM_PROCID" not in environ or count < 2:
        return
    environ["RANK"] = environ["SLURM_PROCID"]
    environ["WORLD_SIZE"] = str(count)
    environ.setdefault("LOCAL_RANK", environ.get("SLURM_LOCALID", "0"))
    environ.setdefault("MASTER_ADDR", environ.get("SLURM_LAUNCH_NODE_IPADDR", "127.0.0.1"))
    # every task computes the same port; jobs that share a machine get different ones
    step = 31 * int(environ.get("SLURM_JOB_ID", "0")) + int(environ.get("SLURM_STEP_ID", "0"))
    environ.setdefault("MASTER_PORT", str(20000 + step % 20000))


def join(gpus):
    """
    Join the other processes, if this is one of several, and return the :class:`World`.

    Parameters:
        gpus (list of int, optional): GPU ids of one machine; those of all machines are the same
    """
    if not inside_job():
        if gpus is not None and len(gpus) > 1:
            raise ConfigError("engine.gpus", "%d GPUs %s need as many processes; start the run by "
                              "script/run.py or torchrun" % (len(gpus), gpus))
        world = World(gpus=gpus)
    else:
        rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        if gpus is not None:
            if size % len(gpus):
                raise ConfigError("engine.gpus", "%d processes cannot share the %d GPUs %s of a machine: "
                                  "start one for each on every machine" % (size, len(gpus), gpus))
            # core.Engine wants the ids of all ranks
            gpus = gpus * (size // len(gpus))
        world = World(rank, size, gpus)
    if world.gpus is not None:
        torch.cuda.set_device(world.gpus[world.rank])
    if world.size > 1 and not dist.is_initialized():
        comm.init_process_group("gloo" if world.gpus is None else "nccl", init_method="env://")
    return world


def leave():
    """Leave the process group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()
        comm.cpu_group = comm.gpu_group = None


def decide(world, function):
    """
    Let rank 0 call a function and give its result to all; its :class:`ConfigError` is raised on every one.

    Parameters:
        world (World): the processes
        function (callable): without arguments, the result of plain values
    """
    if world.size == 1:
        return function()
    answer = [None, None]
    if world.rank == 0:
        try:
            answer[0] = function()
        except ConfigError as error:
            answer[1] = (error.key, error.message, error.source)
    dist.broadcast_object_list(answer, src=0, group=comm.cpu_group)
    if answer[1] is not None:
        raise ConfigError(*answer[1])
    return answer[0]


def lost_connection(error):
    """Whether an error only says that another rank is gone."""
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe",
             "NCCL communicator was aborted", "remote process exited")
    return inside_job() and isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs)
