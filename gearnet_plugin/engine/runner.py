"""One run from configuration to results on the stock ``core.Engine``: what script/run.py and tests call."""
import dataclasses
import logging
import math
import os
import sys

from gearnet_plugin.engine import checkpoint, evaluation, outputs, precision, sampling, world
from gearnet_plugin.engine.assemble import assemble
from gearnet_plugin.engine.build import check_all
from gearnet_plugin.engine.errors import TrainingStopped
from gearnet_plugin.engine.logs import logging_to
from gearnet_plugin.engine.recorder import Recorder, as_numbers
from gearnet_plugin.engine.schema import complete

logger = logging.getLogger(__name__)

# evaluations of a run when `eval_interval` is not given, as in the GearNet repository
EVALUATIONS = 50


@dataclasses.dataclass
class RunOptions:
    """
    What the command line says beside the configuration.

    Parameters:
        name (str): names the output folder
        out (str, optional): exactly this output folder
        seed (int, optional): instead of the configuration's
        smoke (bool): the configuration was shrunk by :func:`gearnet_plugin.engine.smoke.shrink`
        source (str, optional): the configuration file
        command (list of str): the command line
    """

    name: str = "run"
    out: str | None = None
    seed: int | None = None
    smoke: bool = False
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
    """

    folder: str
    num_epoch: int = 0
    num_step: int = 0
    metric: str | None = None
    best_epoch: int | None = None
    valid: dict = dataclasses.field(default_factory=dict)
    test: dict = dataclasses.field(default_factory=dict)


def run(config, options=None):
    """
    Train, validate and test what a configuration describes.

    Test metrics come once, at the end, from the weights of the best validation epoch.

    Parameters:
        config (dict): configuration
        options (RunOptions, optional): the rest of the command line

    Returns:
        RunResult: what came out, and where it is

    Raises:
        ConfigError: the configuration or the data are wrong; says where and what to do
        TrainingStopped: the loss became NaN; everything is saved
        KeyboardInterrupt: everything is saved
    """
    options = options or RunOptions()
    config = complete(config)
    if options.seed is not None:
        config.seed = options.seed
    check_all(config)
    precision.fill_in(config)
    processes = world.join(config.engine.gpus)
    try:
        folder = world.decide(processes, lambda: outputs.create_folder(
            config.output_dir, options.name, options.out, temporary=options.smoke))
        this = _Run(config, options, processes, folder)
        try:
            with logging_to(folder, processes.rank):
                return this.go()
        except BaseException:
            if this.writes and not this.started:
                # the same --out should serve the next try
                outputs.discard(folder)
            raise
    finally:
        world.leave()


class _Run:
    """The state of a run between its steps; rank 0 alone writes."""

    def __init__(self, config, options, processes, folder):
        self.config, self.options, self.processes = config, options, processes
        self.result = RunResult(folder)
        self.writes = processes.rank == 0
        self.recorder = None
        self.parts = None
        self.best_weights = None
        self.saved = None

    def go(self):
        """Do everything, in order."""
        folder = self.result.folder
        if self.writes:
            outputs.write_config(self.config, folder, self.options.source)
            outputs.write_versions(folder, seed=self.config.seed, command=self.options.command,
                                   processes=self.processes.size, gpus=self.config.engine.gpus)
            logger.info("outputs are in %s", folder)
            self.recorder = Recorder(folder)
        try:
            self.parts = assemble(self.config, self.processes, self.recorder, folder, self.options.smoke)
            self.train()
            self.finish()
        except KeyboardInterrupt:
            when = "in epoch %d" % (self.parts.solver.epoch + 1) if self.parts else "before training"
            self.stop("interrupted %s" % when)
            raise
        except TrainingStopped as error:
            raise TrainingStopped("%s. %s" % (error, self.stop(str(error)))) from None
        except Exception:
            logger.debug("the run failed", exc_info=True)  # the traceback is for log.txt
            raise
        finally:
            if self.parts is not None:
                self.parts.watching.remove()
                self.parts.solver.meter.close()
            if self.recorder is not None:
                self.recorder.close()
        return self.result

    @property
    def started(self):
        """Whether there is anything that was trained."""
        return self.parts is not None and self.parts.solver.meter.batch_id > 0

    @property
    def model(self):
        """The task as the engine has it, on its device."""
        return self.parts.solver.model

    # === training ===

    def train(self):
        """Train, and evaluate and save where the intervals say so."""
        config, parts = self.config, self.parts
        total = config.train.num_epoch
        eval_interval = config.eval_interval or max(1, math.ceil(total / EVALUATIONS))
        intervals = [eval_interval if parts.validates else None, config.save_interval]
        epoch = 0
        while epoch < total:
            stops = [(epoch // interval + 1) * interval for interval in intervals if interval]
            count = min([total, *stops]) - epoch
            with sampling.order_by(config.seed):
                parts.solver.train(count, parts.batch_per_epoch)
            epoch += count
            self.result.num_epoch, self.result.num_step = epoch, parts.solver.meter.batch_id
            bad = checkpoint.not_finite(self.model)
            if bad:
                raise TrainingStopped("the weights `%s` became NaN or infinite in epoch %d" % (bad, epoch))
            if parts.validates and (epoch % eval_interval == 0 or epoch == total):
                self.validate(epoch)
            if epoch == total or (config.save_interval and epoch % config.save_interval == 0):
                self.save("checkpoint-%d.pth" % self.result.num_step)

    def evaluate(self, name, epoch):
        """Return the metrics on a split as numbers; the weights are those after ``epoch``."""
        solver = self.parts.solver
        if self.recorder:
            self.recorder.epoch, self.recorder.step = epoch, solver.meter.batch_id
        return as_numbers(sampling.evaluate(solver, name))

    def validate(self, epoch):
        """Evaluate on the validation set, and keep the weights if they are the best so far."""
        best = self.parts.best
        metric = self.evaluate("valid", epoch)
        if best.name is None:
            best.settle(metric)
        value = metric[best.name]
        if math.isnan(value):
            if best.mode == "min":
                raise TrainingStopped("the validation metric `%s` became NaN in epoch %d"
                                      % (best.name, epoch))
            logger.warning("`%s` is NaN, not defined for these predictions; epoch %d cannot be the best",
                           best.name, epoch)
        if best.better(value):
            best.value, best.epoch = value, epoch
            self.result.metric, self.result.best_epoch, self.result.valid = best.name, epoch, metric
            self.best_weights = checkpoint.copy_weights(self.model)
            self.save(checkpoint.BEST)
        if self.parts.plateau and not math.isnan(value):
            self.parts.scheduler.step(value)

    def finish(self):
        """Test the best weights, once, and keep their encoder."""
        best = self.parts.best
        if self.best_weights is not None:
            self.model.load_state_dict(self.best_weights)
            logger.info("best epoch is %d with %s %.4g", best.epoch, best.name, best.value)
        if self.parts.solver.test_set and evaluation.can_evaluate(self.model):
            if self.best_weights is None:
                logger.warning("no epoch was validated: the last weights are tested")
            self.result.test = self.evaluate("test", best.epoch or self.result.num_epoch)
        self.save_encoder()

    # === files ===

    def save(self, name):
        """Write a checkpoint that ``core.Engine.load`` reads too."""
        if not self.writes:
            return
        solver = self.parts.solver
        state = {"model": solver.model.state_dict(), "optimizer": solver.optimizer.state_dict(),
                 "epoch": solver.epoch, "step": solver.meter.batch_id}
        checkpoint.save(state, os.path.join(self.result.folder, name))
        self.saved = name
        # the encoder is that of the best epoch, or the last where nothing is compared
        if name == checkpoint.BEST or self.best_weights is None:
            self.save_encoder()

    def save_encoder(self):
        """Write ``encoder.pth`` and ``encoder.yaml``."""
        from gearnet_plugin import __version__

        if self.writes:
            checkpoint.save_encoder(self.model, self.result.folder, __version__)

    def stop(self, reason):
        """Save what there is after an early end; returns what to tell the user."""
        message = "Nothing was trained yet"
        bad = checkpoint.not_finite(self.model) if self.started else None
        if bad:
            # such weights are of no use to anybody
            message = "The weights (`%s`) hold NaN or infinity and are not saved. " % bad
            name = checkpoint.BEST if self.best_weights is not None else self.saved
            message += "No earlier ones were" if name is None else "The last good ones are in %s" % os.path.join(
                self.result.folder, name)
        elif self.started:
            self.save(checkpoint.STOPPED)
            path = os.path.join(self.result.folder, checkpoint.STOPPED)
            message = "The weights of this moment are in %s" % path
            best = self.parts.best
            if best.epoch is not None:
                message += ", those of the best epoch (%d) in %s" % (best.epoch, checkpoint.BEST)
        logger.warning("%s. %s", reason, message)
        return message
