"""Training: plain PyTorch on Accelerate, from one CPU to several nodes, killed and resumed at any step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from rich.console import Console
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cdtr.config import Config, ViewName
from cdtr.data.balance import class_weights
from cdtr.data.batches import known_levels, on_device
from cdtr.data.loader import EvalLoader, TrainLoader, eval_loader, train_loader
from cdtr.data.prior_maps import PriorMaps
from cdtr.data.stream import StreamLoader
from cdtr.errors import TrainingError
from cdtr.model.distill import Distilled
from cdtr.model.methods import build_method
from cdtr.model.teacher import Teacher
from cdtr.records import Batch, DataSource, Method
from cdtr.runs import RunFolder, one_at_a_time
from cdtr.terminal import PlainConsole, say_to
from cdtr.training.accelerator import bare_method, make_accelerator
from cdtr.training.cnn_methods import prepare_method
from cdtr.training.feature_store import FeatureStore
from cdtr.training.features import needs_pixels
from cdtr.training.final_checks import final_lines
from cdtr.training.held_out import HeldOut, measure_held_out
from cdtr.training.log import TrainingLog, add_step, epoch_means
from cdtr.training.optimiser import build_optimiser, learning_rate, set_learning_rate
from cdtr.training.prepare import Prepared, finish_run, prepare_run, start_run
from cdtr.training.start import load_first_run
from cdtr.training.state import Position, restore_state, save_state, saved_state

STEPS_BETWEEN_LINES = 10


def train(
    config: Config,
    source: DataSource,
    out: Path,
    resume: bool = False,
    console: Console | None = None,
    teacher: Teacher | None = None,
) -> RunFolder:
    """Train ``config.method`` on the train split of ``source`` and write a run folder.

    Training sees images and class labels only: no sample has a box.

    Args:
        config: the settings; switches that are left open are resolved as the method says.
        source: the data set.
        out: the run folder.
        resume: go on with a run that was stopped.
        console: where progress is shown; None takes standard error.
        teacher: the teacher network of a distillation, as ``config.pretrain`` says; the method's transformer is the
            student.

    Returns:
        The run folder.

    Raises:
        ConfigError: a run folder that is in the way, or that another process is training.
        TrainingError: a loss term is no longer a number; the last saved state stays.
    """
    accelerator = make_accelerator(config.train.precision)
    console = console or PlainConsole(stderr=True)
    with one_at_a_time(out) if accelerator.is_main_process else nullcontext():
        return _train(accelerator, config, source, RunFolder(out), resume, console, teacher)


def _train(
    accelerator: Accelerator,
    config: Config,
    source: DataSource,
    run: RunFolder,
    resume: bool,
    console: Console,
    teacher: Teacher | None,
) -> RunFolder:
    say = say_to(console) if accelerator.is_main_process else _silent
    prepared = prepare_run(accelerator, config, source, run, resume, say)
    if run.weights.is_file():
        say(f"{run.path} is trained already")
        return run
    set_seed(config.seed)
    # A saved state brings its own weights, so that going on needs no hub.
    load_weights = saved_state(run) is None
    method = build_method(prepared.config, len(source.class_names), prepared.sba, load_weights)
    if load_weights:
        load_first_run(method, prepared.config)
    if load_weights and prepared.start is not None:
        say(prepared.start.line(method))
    if teacher is not None:
        method = Distilled(method, teacher, config.pretrain)
    store = prepare_method(accelerator, method, prepared, len(source.class_names), load_weights, say)
    trainer = Trainer(accelerator, method, prepared, source.class_names, console, store)
    if accelerator.process_index:
        # All have built the same method; from here on each draws its own drop path.
        set_seed(config.seed, device_specific=True)
    start_run(accelerator, prepared, source.class_names)
    trainer.run()
    return run


class Trainer:
    """The state of a training: the method, its optimiser, the average of its weights, and the position."""

    def __init__(
        self,
        accelerator: Accelerator,
        method: Method,
        prepared: Prepared,
        class_names: Sequence[str],
        console: Console,
        store: FeatureStore | None = None,
    ) -> None:
        self.config, self.folder, self.console = prepared.config, prepared.run, console
        self.class_names, self.store = class_names, store
        self.accelerator = accelerator
        rank, world = accelerator.process_index, accelerator.num_processes
        maps = PriorMaps.of(self.config, prepared.fit)
        pixels, broken = store is None or needs_pixels(self.config), store.broken if store else None
        self.loader: TrainLoader | StreamLoader = train_loader(
            prepared.fit, self.config, rank, world, prepared.on_broken, maps, pixels, broken
        )
        # Tiles would cost five forward passes an image, for a figure that is watched and not reported.
        view: ViewName = "crop" if self.config.evaluation.view == "crop" else "whole"
        self.held_out: EvalLoader = eval_loader(prepared.held_out, self.config, rank, world, prepared.on_broken, view)
        self.class_weights: Tensor | None = None
        if self.config.train.balance == "weights":
            self.class_weights = class_weights(prepared.fit, len(class_names)).to(accelerator.device)
        self.has_object = prepared.has_object(len(class_names), accelerator.device)
        self.measured: HeldOut | None = None  # by the last validation
        self.model, self.optimiser = accelerator.prepare(method, build_optimiser(method, self.config))
        self.ema: AveragedModel | None = None
        if self.config.train.ema_decay is not None:
            average = get_ema_multi_avg_fn(self.config.train.ema_decay)  # type: ignore[no-untyped-call]
            self.ema = AveragedModel(bare_method(accelerator, self.model), multi_avg_fn=average, use_buffers=True)

    def run(self) -> None:
        """Train from the saved position to the end, and write the weights."""
        position = restore_state(self.accelerator, self.folder, self.ema, say_to(self.console))
        if position is None:
            position = Position()
            save_state(self.accelerator, self.folder, position, self.ema)
        epochs, steps = self.config.train.epochs, self.loader.steps_per_epoch
        active = self.accelerator.is_main_process
        with TrainingLog(self.folder, epochs * steps, position.step, active, self.console) as log:
            while position.epoch < epochs:
                position = self._epoch(position, log)
        self._warn_at_end()
        best = self.ema.module if self.ema is not None else bare_method(self.accelerator, self.model)
        broken = gather_object(list({**self.loader.broken, **self.held_out.broken}.items()))
        if active:
            finish_run(self.folder, best.method if isinstance(best, Distilled) else best, dict(broken))
        self.accelerator.wait_for_everyone()

    def _epoch(self, position: Position, log: TrainingLog) -> Position:
        train, steps = self.config.train, self.loader.steps_per_epoch
        self.loader.set_position(position.epoch, position.step_in_epoch)
        self.model.train()
        bare_method(self.accelerator, self.model).start_epoch(position.epoch, train.epochs)
        lambdas: dict[str, float] = {}
        for micro_batches in _chunks(iter(self.loader), train.accumulation):
            rate = learning_rate(position.step, steps, train)
            terms, lambdas, diagnostics = self._step(micro_batches, rate, position)
            sums = add_step(position.sums, terms, diagnostics)
            position = Position(position.epoch, position.step_in_epoch + 1, position.step + 1, sums)
            log.show(position.step, position.epoch, terms)
            if position.step % STEPS_BETWEEN_LINES == 0:
                log.step(position.step, position.epoch, {"terms": terms, "lambdas": lambdas, "lr": rate})
            done = position.step_in_epoch == steps
            if train.save_every_steps and position.step % train.save_every_steps == 0 and not done:
                save_state(self.accelerator, self.folder, position, self.ema)
        held_out = self.validate()
        values = epoch_means(position.sums, position.step_in_epoch)
        values |= {"lambdas": lambdas, "held_out": held_out.accuracy}
        values |= {"attention": {} if self.is_distilled else held_out.attention}
        log.epoch(position.step, position.epoch, train.epochs, values)
        position = Position(position.epoch + 1, 0, position.step)
        save_state(self.accelerator, self.folder, position, self.ema)
        return position

    def _step(
        self, micro_batches: list[Batch], rate: float, position: Position
    ) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
        """Take one optimiser step.

        Returns:
            The mean of each loss term over all processes, the lambdas, and the mean of each diagnostic: the scalars in
            ``ModelOutput.aux``.
        """
        set_learning_rate(self.optimiser, rate)
        method = bare_method(self.accelerator, self.model)
        sums: dict[str, Tensor] = {}
        diagnostics: dict[str, Tensor] = {}
        lambdas: dict[str, float] = {}
        share = 1 / len(micro_batches)
        for index, batch in enumerate(micro_batches):
            batch = self._seen(batch)
            last = index + 1 == len(micro_batches)
            with self.accelerator.no_sync(self.model) if not last else nullcontext():
                with self.accelerator.autocast():
                    output = self.model(batch.images, **known_levels(batch))
                    terms = method.losses(output, batch)
                loss, lambdas = method.weigh(terms)
                self._require_finite({**terms, "total": loss}, position)
                self.accelerator.backward(loss * share)
            _add(sums, {**terms, "total": loss}, share)
            _add(diagnostics, {name: value for name, value in output.aux.items() if value.ndim == 0}, share)
        self._clip_gradients(position)
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.ema is not None:
            self.ema.update_parameters(bare_method(self.accelerator, self.model))
        both = [*sums.values(), *diagnostics.values()]
        means = self.accelerator.reduce(torch.stack(both), reduction="mean").tolist()
        return (
            dict(zip(sums, means[: len(sums)], strict=True)),
            lambdas,
            dict(zip(diagnostics, means[len(sums) :], strict=True)),
        )

    def _seen(self, batch: Batch) -> Batch:
        """The batch on the device, with the features of its images where they are kept."""
        batch = on_device(batch, self.accelerator.device)
        if self.class_weights is not None:
            batch = replace(batch, weights=self.class_weights[batch.labels])
        if self.has_object is not None:
            batch = replace(batch, has_object=self.has_object[batch.labels])
        return batch if self.store is None or any(batch.fields) else self.store.attach(batch)

    def _require_finite(self, terms: Mapping[str, Tensor], position: Position) -> None:
        """Stop all processes together, naming the first term that is not a number in any of them."""
        faults = torch.stack([(~torch.isfinite(value.detach())).float() for value in terms.values()])
        faults = self.accelerator.reduce(faults, reduction="sum")
        for (name, _), fault in zip(terms.items(), faults.tolist(), strict=True):
            if fault:
                raise self._not_a_number(f"the loss term {name!r}", position)

    def _clip_gradients(self, position: Position) -> None:
        limit = self.config.train.clip_norm
        norm = self.accelerator.clip_grad_norm_(self.model.parameters(), float("inf") if limit is None else limit)
        # fp16's loss scaler expects overflows now and then, and skips those steps itself.
        if self.config.train.precision != "fp16" and norm is not None and not torch.isfinite(norm):
            raise self._not_a_number("the gradient", position)

    def _not_a_number(self, what: str, position: Position) -> TrainingError:
        lower = f"`overrides=['train.lr={self.config.train.lr / 2:g}']`"
        return TrainingError(
            f"{what} is not a number in step {position.step + 1} (epoch {position.epoch + 1}): the last good state is "
            f"kept in {self.folder.state}; go on from it with `resume=True` and {lower}, or train again with that "
            "term's module switched off"
        )

    def validate(self) -> HeldOut:
        """Measure the held-out training images with the weights that a run would keep."""
        model = self.ema if self.ema is not None else bare_method(self.accelerator, self.model)
        batches = map(self._seen, self.held_out)
        self.measured = measure_held_out(model, batches, len(self.class_names), self.accelerator)
        return self.measured

    def _warn_at_end(self) -> None:
        if self.is_distilled:
            return  # its classes serve the features, and it trains no maps
        found = self.validate() if self.measured is None else self.measured
        if self.accelerator.is_main_process:
            for line in final_lines(found, self.class_names, self.config):
                say_to(self.console)(line)

    @property
    def is_distilled(self) -> bool:
        """Whether this is a pretraining."""
        return isinstance(bare_method(self.accelerator, self.model), Distilled)


def _add(sums: dict[str, Tensor], values: Mapping[str, Tensor], share: float) -> None:
    """Add ``share`` of each scalar to its sum."""
    for name, value in values.items():
        sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach() * share


def _chunks(batches: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    while chunk := list(islice(batches, size)):
        yield chunk


def _silent(*_: object, **__: object) -> None:
    """Drop the message: only the main process reports."""
