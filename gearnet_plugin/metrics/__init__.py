"""
How good predictions are: tie-safe metrics with intervals, tables by class, and calibrated probabilities.

    from gearnet_plugin import metrics

    metrics.compute(["f1_max", "auprc@micro"], "multilabel", pred, target)
    metrics.bootstrap(["f1_max", "auprc@micro"], "multilabel", pred, target)

Where no scores are tied, the values are those of ``torchdrug.metrics``. Where scores are tied, those depend on the
order of the rows, and these do not: tied scores pass a threshold together, and tied classes share a prediction.

- :mod:`.naming` names the metrics, :mod:`.inputs` checks predictions and targets;
- :mod:`.curves` has average precision and the area under the ROC, :mod:`.protein_centric` the two conventions of Fmax,
  :mod:`.classes` accuracy and its kin, :mod:`.numbers` errors and correlations; :mod:`.evaluation` joins them;
- :mod:`.exact` is why the order of the rows and the number of processes do not change a digit;
- :mod:`.resampling` gives intervals, :mod:`.tables` values by label or class, :mod:`.calibration` probabilities.
"""

from .calibration import Calibration, fit_temperature
from .evaluation import compute, fmax
from .naming import KINDS, check, higher_is_better, names, title
from .resampling import bootstrap
from .tables import per_class

__all__ = [
    "KINDS",
    "Calibration",
    "bootstrap",
    "check",
    "compute",
    "fit_temperature",
    "fmax",
    "higher_is_better",
    "names",
    "per_class",
    "title",
]
