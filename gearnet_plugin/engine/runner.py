"""One run from configuration to results on the stock ``core.Engine``: what script/run.py and tests call."""
import logging
import math
import os

from gearnet_plugin.engine import (
    checkpoint,
    evaluation,
    heads,
    labels,
    outputs,
    precision,
    predictor,
    results,
    sampling,
    world,
)
from gearnet_plugin.engine.assemble import assemble
from gearnet_plugin.engine.build import check_all
from gearnet_plugin.engine.config import plain
from gearnet_plugin.engine.errors import TrainingStopped
from gearnet_plugin.engine.logs import logging_to
from gearnet_plugin.engine.options import RunOptions, RunResult
from gearnet_plugin.engine.recorder import Recorder, as_numbers
from gearnet_plugin.engine.schema import complete
from gearnet_plugin.engine.weight_files import without_network
from gearnet_plugin.translate import translate

logger = logging.getLogger(__name__)

# evaluations of a run when `eval_interval` is not given, as in the GearNet repository
EVALUATIONS = 50


def run(config, options=None):
    """
    Train, validate and test what a configuration describes.

    Test metrics come once, at the end, from the weights of the best validation epoch.

    Parameters:
        config (dict): configuration, in the classes of this package or of its predecessors
        options (RunOptions, optional): the rest of the command line

    Returns:
        RunResult: what came out, and where it is

    Raises:
        ConfigError: the configuration or the data are wrong; says where and what to do
        TrainingStopped: the loss became NaN; everything is saved
        KeyboardInterrupt: everything is saved
    """
    options = options or RunOptions()
    replaced = []
    if not options.stock:
        config, replaced = translate(config)
    config = complete(config)
    if options.seed is not None:
        config.seed = options.seed
    check_all(config)
    if not options.download:
        config = complete(without_network(plain(config)))
    precision.fill_in(config)
    processes = world.join(config.engine.gpus)
    try:
        folder = world.decide(processes, lambda: outputs.create_folder(
            config.output_dir, options.name, options.out, temporary=options.smoke))
        this = _Run(config, options, processes, folder)
        try:
            with logging_to(folder, processes.rank):
                for level, lines in ((logging.DEBUG, options.translated), (logging.INFO, replaced)):
                    for line in lines:
                        logger.log(level, "translated: %s", line)
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
            self.parts = assemble(self.config, self.processes, self.recorder, folder, self.options.smoke,
                                  self.options.download)
            self.train()
            self.finish()
        except KeyboardInterrupt:
            self.stop("interrupted %s" % self.when)
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
    def when(self):
        """What a run is doing, in words."""
        if self.parts is None:
            return "before training"
        if self.result.num_epoch >= self.config.train.num_epoch:
            return "in the evaluation after the last epoch" if self.started else "in the evaluation"
        return "in epoch %d" % (self.parts.solver.epoch + 1)

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
        if not total and parts.validates:
            # no epoch to choose among: these weights are what they are
            logger.info("`train.num_epoch` is 0: the weights are evaluated as they are%s",
                        "" if config.checkpoint else ", with a head that was never trained")
            self.result.valid = self.evaluate("valid", 0)[0]
            if parts.best.name is None:
                parts.best.settle(self.result.valid)
            self.result.metric = parts.best.name

    def evaluate(self, name, epoch):
        """
        Evaluate on a split; the weights are those after ``epoch``.

        Returns:
            (dict, Predictions): metrics as numbers; on rank 0 what they are of, None where that is no prediction of
            labels
        """
        solver, names = self.parts.solver, self.parts.labels
        if self.recorder:
            self.recorder.epoch, self.recorder.step = epoch, solver.meter.batch_id
        pred, target = sampling.predict(solver, name)
        try:
            metric = as_numbers(sampling.score(solver, name, pred, target))
        except ValueError as error:
            # weights that are finite may still overflow
            raise TrainingStopped("the %s predictions of epoch %d have no metrics: %s" % (name, epoch, error)) from None
        if not self.writes or not results.Predictions.possible(names, pred, target):
            return metric, None
        return metric, results.Predictions(self.model, getattr(solver, name + "_set"), pred, target, names)

    def validate(self, epoch):
        """Evaluate on the validation set, and keep the weights if they are the best so far."""
        best = self.parts.best
        metric = self.evaluate("valid", epoch)[0]
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
            if self.best_weights is None and self.config.train.num_epoch:
                logger.warning("no epoch was validated: the last weights are tested")
            self.test(best.epoch or self.result.num_epoch)
        if self.writes:
            self.write_results()
        self.save_encoder()
        if evaluation.can_evaluate(self.model):
            predictor.leave(self.parts.solver, self.config, self.parts.labels, self.result.folder, self.writes)

    def test(self, epoch):
        """Predict the test set and say how good that is; files about it are written on rank 0."""
        folder = self.result.folder
        self.result.test, found = self.evaluate("test", epoch)
        if found is None:
            return
        found.save(os.path.join(folder, results.PREDICTIONS))
        if not found.known:
            return
        logger.info("drawing the test items %d times, for intervals", results.SAMPLES)
        self.result.intervals = found.intervals(list(self.model.metric), self.config.seed)
        logger.info("test, %d %% intervals: %s", round(100 * results.LEVEL), ", ".join(
            "%s %.4g to %.4g" % (name, *bounds) for name, bounds in self.result.intervals.items()))
        columns = labels.names(self.config) if labels.TARGETS in found.names else None
        found.write_classes(os.path.join(folder, results.CLASSES), self.parts.solver.train_set, columns)

    def write_results(self):
        """Write ``results.json``."""
        this, solver, config = self.result, self.parts.solver, self.config
        results.write_results(os.path.join(this.folder, results.RESULTS), {
            "dataset": config.dataset["class"], "task": config.task["class"], "kind": getattr(self.model, "kind", None),
            "num_items": {split: len(getattr(solver, split + "_set") or ()) for split in ("train", "valid", "test")},
            "seed": config.seed, "num_epoch": this.num_epoch, "num_step": this.num_step, "metric": this.metric,
            "best_epoch": this.best_epoch, "valid": this.valid, "test": this.test, "intervals": this.intervals,
            "interval": {"level": results.LEVEL, "samples": results.SAMPLES} if this.intervals else None,
            "labels": self.parts.labels or None})

    # === files ===

    def save(self, name):
        """Write a checkpoint that ``core.Engine.load`` reads too."""
        if not self.writes:
            return
        solver = self.parts.solver
        state = {"model": solver.model.state_dict(), "optimizer": solver.optimizer.state_dict(),
                 "epoch": solver.epoch, "step": solver.meter.batch_id}
        if self.parts.labels:
            state[heads.LABELS] = self.parts.labels
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
