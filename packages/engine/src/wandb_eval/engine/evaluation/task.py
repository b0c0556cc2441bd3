"""The methods that make a task."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wandb_eval.engine.evaluation.data import Batch, unpack_x_y
from wandb_eval.engine.evaluation.metrics import Metrics
from wandb_eval.engine.evaluation.result import Evaluation
from wandb_eval.engine.evaluation.samples import EvaluatedSamples, Samples, SampleScores
from wandb_eval.engine.progress import Progress


class EvalTask:
    """The methods that make a task; `WandbTaskEvalCallback` calls them.

    `ground_truth_rows` makes the rows of the ground truth. The other methods are
    optional: `score_samples` scores the model on each sample, `new_metrics` measures it
    on all of them, and `prediction_rows` makes the rows of predictions.
    """

    uses_model_preprocessing = False
    """Whether the task evaluates data as the model's own preprocessor returns it. Tasks
    whose targets lie in the image need it, because the targets move with the image."""

    draws_on_images = False
    """Whether the task draws targets on the shown image of each sample, so that
    `image_fn` must return an image."""

    headline: Sequence[str] | None = None
    """The names of the numbers of `new_metrics` that go into the logs of `fit`. `None`
    for all of them."""

    def unpack_batch(self, batch: Any) -> tuple[Any, Any]:
        """Returns `(x, y)` of a batch of `validation_data`."""
        return unpack_x_y(batch)

    def check_batch(self, batch: Batch) -> None:
        """Checks a batch of validation data.

        It is called with all of the data, before training. A batch may have more
        samples than `batch_size`.

        Raises:
            ValueError: If the batch can't be used.
        """

    def check_outputs(self, outputs: Any) -> None:
        """Checks the outputs of the model.

        Args:
            outputs: The outputs for the first batch of the fixed samples.

        Raises:
            ValueError: If the outputs can't be used.
        """

    def read_batch(self, y: Any, outputs: Any) -> tuple[Any, Any]:
        """Converts the targets and outputs of a batch for metrics, scores and rows.

        It is called in a thread, while the next batch is predicted. The result is kept
        for the samples that are shown, so it should be small.

        Args:
            y: The targets, as NumPy arrays. They may be the data itself: do not change
                them.
            outputs: The outputs of the model, as NumPy arrays. Do not change them,
                either.

        Returns:
            The truth and the predictions, each with an entry for each sample: an array,
            a list, or a tuple or a dict of these. The default returns `y` and `outputs`
            unchanged.
        """
        return y, outputs

    def new_metrics(self) -> Metrics | None:
        """Returns a new metric, with `update(truth, predictions)` and `compute()`.

        With `merge(other)`, too, several processes evaluate a part of the data each.
        """
        return None

    def score_samples(self, truth: Any, predictions: Any) -> SampleScores | None:
        """Scores the model on each sample of a batch, as `read_batch` returned it."""
        return None

    leaves_out_not_finite: bool = False
    """Whether metrics leave out the samples whose outputs are not finite, instead of
    counting them as wrong. The numbers of such an epoch are infinitely bad in `logs`,
    so that no callback of Keras takes it for the best one."""

    stratum: str | None = None
    """The column of `score_samples` with the group within which slices are compared,
    such as the class; `None` for no groups."""

    mechanical_properties: Collection[str] = ()
    """The properties of targets on which the error depends by its definition."""

    def target_properties(self, y: Any, truth: Any) -> Mapping[str, ArrayLike]:
        """Returns properties of the targets of a batch, which define slices.

        It is called once for each batch of a training, in a thread. The default
        returns targets that are one number for each sample as `target`.

        Args:
            y: The targets, as NumPy arrays.
            truth: The targets, as `read_batch` returned them.

        Returns:
            By name, a number, string or bool for each sample, of shape `(batch,)`. All
            batches have the same names.
        """
        if isinstance(y, np.ndarray) and y.dtype.kind in "biuf" and y.size == len(y):
            return {"target": y.reshape(-1)}
        return {}

    def choose_properties(
        self, properties: Mapping[str, NDArray[Any]]
    ) -> Mapping[str, NDArray[Any]]:
        """Chooses among the `target_properties` of all samples.

        Args:
            properties: The properties, by name, of shape `(samples,)`.
        """
        return properties

    def target_content(self, target: Any) -> Any:
        """Returns arrays that are equal if, and only if, two targets mean the same.

        Args:
            target: The target of one sample, as `read_batch` returned it.
        """
        return target

    def ground_truth_rows(
        self, samples: Samples, images: Sequence[Any]
    ) -> list[list[Any]]:
        """Returns the rows of the table of ground truth.

        Args:
            samples: The fixed samples, or any others.
            images: The cell of each sample: a `wandb.Image`, text, other media, or
                `None` where nothing is logged, or where the sample can't be shown.
        """
        return [list(row) for row in zip(samples.index, images, strict=True)]

    def shown_size(self, y: Any) -> tuple[int, int] | None:
        """Returns the height and width that the image of a sample is shown at.

        A task whose targets are masks returns the size of the mask.

        Args:
            y: The targets of the sample.

        Returns:
            Height and width. `None`, the default, for the size of the image itself.
        """
        return None

    def unlabelled(self) -> Mapping[str, Mapping[int, str]]:
        """By layer, the names of ids in masks that have no label.

        W&B's page leaves such pixels transparent. The names go into the metadata of the
        artifacts.
        """
        return {}

    def prediction_rows(self, evaluated: EvaluatedSamples) -> list[list[Any]]:
        """Returns the rows of a table of predictions, without the epoch.

        The default returns the rows of ground truth, with the columns of
        `score_samples` behind them.
        """
        return [
            [*row, *(column[i] for column in evaluated.scores.values())]
            for i, row in enumerate(evaluated.rows)
        ]

    def extra_results(self, evaluation: Evaluation) -> dict[str, Any]:
        """Returns further values to log after an evaluation, by key."""
        return {}

    def summarize(self, evaluation: Evaluation) -> dict[str, Any]:
        """Returns values to log when training ends, made of the last evaluation."""
        return {}

    # --- Not for tasks to override --------------------------------------------------

    @property
    def scores_samples(self) -> bool:
        """Whether the task implements `score_samples`."""
        return type(self).score_samples is not EvalTask.score_samples

    @property
    def reads_batches(self) -> bool:
        """Whether the task implements `read_batch`."""
        return type(self).read_batch is not EvalTask.read_batch

    def select_output(self, outputs: Any) -> Any:
        """Selects the output to evaluate, of a model that has several."""
        return outputs

    @property
    def verbose(self) -> bool:
        """Whether to show progress."""
        return True

    def progress(self, what: str, total: int | None) -> Progress:
        """Returns a progress bar, which shows nothing if `fit` is silent.

        Args:
            what: The name of the work, such as `"Drawing images"`.
            total: The number of steps, or `None` if it is not known.
        """
        return Progress(what, total, self.verbose)
