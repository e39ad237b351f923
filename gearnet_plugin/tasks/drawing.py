"""What the tasks that draw random numbers share: where the numbers come from, and which epoch they belong to."""

import numbers

from gearnet_plugin.graphs.draws import GlobalDraws, StructureDraws
from torchdrug import tasks

# training epochs count from 0
EVALUATION = -1


class DrawingTask(tasks.Task):
    """
    A task with random draws; to be subclassed, and not registered itself.

    A subclass calls :meth:`_set_draws` in its constructor, and :meth:`begin_draws` once at the start of every pass
    over a batch, before it changes the proteins; all draws of the pass then come from what that returns.

    Draws by ``structure`` are functions of (structure, seed, epoch). The epoch is

    - in training mode the one of :meth:`set_epoch`, which ``script/run.py`` calls;
    - in training mode without anybody telling it, as under TorchDrug's own engine, the number of batches trained on so
      far, so that views do not repeat; it starts anew with the process;
    - in eval mode one of its own, so that a model is evaluated on the same draws every time.

    None of it is part of the state dict.
    """

    def _set_draws(self, draws="structure", seed=None):
        """
        Parameters:
            draws (str, optional): ``structure``: by (structure, seed, epoch), whatever the batch, the worker or the
                rank; ``global``: from the global generators, as TorchDrug draws
            seed (int, optional): seed of the former; None takes that of the run, or 0
        """
        if draws not in ("structure", "global"):
            raise ValueError("draws should be `structure` or `global`, but found `%s`" % draws)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, numbers.Integral)):
            raise ValueError("seed should be a whole number, or None for that of the run, but found %r" % (seed,))
        self.draws = GlobalDraws() if draws == "global" else StructureDraws(0 if seed is None else seed)
        self._own_seed = seed is not None
        self._epoch = None
        self._num_batch = 0

    def set_epoch(self, epoch):
        """Say which epoch of training begins, counted from 0."""
        self._epoch = epoch

    def set_seed(self, seed):
        """Say the seed of the run; a task that was given one keeps its own."""
        if isinstance(self.draws, StructureDraws) and not self._own_seed:
            self.draws.seed = seed

    def begin_draws(self):
        """
        Begin the pass over a batch.

        Returns:
            StructureDraws or GlobalDraws: ``self.draws``, its epoch set
        """
        if isinstance(self.draws, StructureDraws):
            if not self.training:
                self.draws.epoch = EVALUATION
            elif self._epoch is not None:
                self.draws.epoch = self._epoch
            else:
                self.draws.epoch = self._num_batch
                self._num_batch += 1
        return self.draws
