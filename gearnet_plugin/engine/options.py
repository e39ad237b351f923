"""What a run is told beside its configuration, and what it gives back."""

import dataclasses
import sys


@dataclasses.dataclass
class RunOptions:
    """
    What the command line says beside the configuration.

    Parameters:
        name (str): names the output folder
        out (str, optional): exactly this output folder
        seed (int, optional): instead of the configuration's
        smoke (bool): the configuration was shrunk by :func:`gearnet_plugin.engine.smoke.shrink`
        stock (bool): it holds TorchDrug's classes on purpose, so that none is translated
        translated (list of str): lines about what was translated already, for ``log.txt``
        download (bool): whether the network may be used
        source (str, optional): the configuration file
        command (list of str): the command line
    """

    name: str = "run"
    out: str | None = None
    seed: int | None = None
    smoke: bool = False
    stock: bool = False
    translated: list = dataclasses.field(default_factory=list)
    download: bool = True
    source: str | None = None
    command: list = dataclasses.field(default_factory=lambda: list(sys.argv))


@dataclasses.dataclass
class RunResult:
    """
    What a run gave.

    Parameters:
        folder (str): output folder
        num_epoch (int): epochs trained
        num_step (int): optimizer updates
        metric (str, optional): name of the metric that chose the best epoch
        best_epoch (int, optional): that epoch, counted from 1; None without validation
        valid (dict): validation metrics of the best epoch
        test (dict): test metrics of the best epoch's weights
        intervals (dict): for test metrics that have them, 95 % bootstrap intervals over items: (low, high)
    """

    folder: str
    num_epoch: int = 0
    num_step: int = 0
    metric: str | None = None
    best_epoch: int | None = None
    valid: dict = dataclasses.field(default_factory=dict)
    test: dict = dataclasses.field(default_factory=dict)
    intervals: dict = dataclasses.field(default_factory=dict)
