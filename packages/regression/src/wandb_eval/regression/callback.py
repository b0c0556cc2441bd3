"""The callback for regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np

from wandb_eval.engine import (
    Batch,
    EvaluatedSamples,
    Evaluation,
    Metrics,
    Samples,
    SampleScores,
    TaskArguments,
    WandbTaskEvalCallback,
    charts,
)
from wandb_eval.regression.metrics import MAX_CHARTS, RegressionMetrics
from wandb_eval.regression.targets import (
    Spread,
    check_target_names,
    check_tolerance,
    check_units,
    columns_of,
    for_each,
    name_targets,
    read_outputs,
    read_targets,
)


class WandbRegressionEvalCallback(WandbTaskEvalCallback):
    """Shows in W&B the numbers that a model predicts, epoch by epoch.

    When training begins, it logs a table of validation samples: `idx` (the place in the
    validation data), `image`, and each target by its name. After each epoch it logs a
    version of predictions: for these samples, and in a separate table for the hardest
    of all samples, `epoch`, `idx`, `image`, for each target `<name>`, `predicted
    <name>` and the signed error (`error`; for several targets `error <name>`), and
    `difficulty`: the mean of |error| over the standard deviations of the targets. A
    third table, without images, has the scores of every sample, and the course of its
    error over the epochs: `mean_scaled_error` and `scaled_error_spread`, in standard
    deviations of the targets, while `error` is in the units of its target.

    Over all of the validation data it measures `eval/mae`, `eval/rmse`, `eval/r2`,
    `eval/median_ae`, `eval/max_error`, `eval/bias` (the mean signed error),
    `eval/pearson` and `eval/spearman`, as means over the targets, and by target in
    `eval/per_target`. Charts show predicted over true values, errors, and the mean
    error in ten ranges of the target. When training ends, `eval/suspect_targets` shows
    the samples whose error stayed the largest, on the same side, in all epochs.

    Numbers and charts leave out samples whose outputs are NaN or infinite, and the rows
    of these samples show such values. `eval/left_out` is their number, if there are
    any. A version with such samples is never `best`.

    Args:
        validation_data: `(x, y)` or `(x, y, sample_weight)` of arrays or tensors, a
            batched `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch `DataLoader`,
            a batched data set of Grain, or any iterable of batches that can be iterated
            again. Targets and outputs are finite numbers of shape `(batch,)`, `(batch,
            1)` or `(batch, targets)`. x are images, strings or a few numbers;
            `image_fn` shows anything else.
        target_names: The name of each target, as a list; a single name may be a string.
            `None` for `target`, or for `target 0`, `target 1` and so on.
        units: The unit of the targets, such as `"years"`, or a list with one for each
            target. It is shown in charts and in `eval/per_target`.
        tolerance: The largest |error| that counts as right, or a list with one for each
            target. `eval/within_tolerance` is the share of such numbers.
        **kwargs: The arguments of all tasks, see
            `wandb_eval.engine.WandbTaskEvalCallback`.

    Raises:
        wandb.Error: If there is no active run.
        ValueError: If an argument can't be used; when training begins, if targets,
            outputs and names don't fit together.

    Example:

    ```python
    wandb.init(project="ages")
    model.fit(
        x_train,
        y_train,
        epochs=5,
        validation_data=(x_val, y_val),
        callbacks=[
            WandbRegressionEvalCallback(
                (x_val, y_val), ["age"], units="years", tolerance=5
            )
        ],
    )
    ```
    """

    headline = ("mae", "rmse", "r2")
    leaves_out_not_finite = True

    def __init__(
        self,
        validation_data: Any,
        target_names: Sequence[str] | str | None = None,
        *,
        units: str | Sequence[str] | None = None,
        tolerance: float | Sequence[float] | None = None,
        **kwargs: Unpack[TaskArguments],
    ) -> None:
        self.target_names = check_target_names(target_names)
        self.units = check_units(units)
        self.tolerance = check_tolerance(tolerance)
        self._spread = Spread()
        self._names = self.target_names or ["target"]
        data_columns, columns = self._table_columns()
        super().__init__(
            validation_data,
            data_table_columns=data_columns,
            pred_table_columns=columns,
            **kwargs,
        )

    def _table_columns(self) -> tuple[list[str], list[str]]:
        columns = ["epoch", "idx", "image", *columns_of(self._names), "difficulty"]
        return ["idx", "image", *self._names], columns

    def check_batch(self, batch: Batch) -> None:
        """Checks the targets, and measures their spread."""
        targets = read_targets(batch.y)
        known = self._spread.num_targets
        if known not in (0, targets.shape[1]):
            raise ValueError(
                "Targets must have the same shape in all batches. Received: "
                f"{known} targets, then {targets.shape[1]}"
            )
        self._spread.update(targets)

    def check_outputs(self, outputs: Any) -> None:
        """Checks the outputs and the arguments against the targets."""
        count = self._spread.num_targets
        predicted = read_outputs(outputs)
        if predicted.shape[1] != count:
            raise ValueError(
                "The model must have as many outputs as there are targets. Received: "
                f"{predicted.shape[1]} outputs and {count} targets"
            )
        self._names = name_targets(self.target_names, count)
        for_each("units", self.units, count)
        for_each("tolerance", self.tolerance, count)
        self.set_columns(*self._table_columns())

    def read_batch(self, y: Any, outputs: Any) -> tuple[Any, Any]:
        """The targets and outputs, of shape `(batch, targets)`."""
        return read_targets(y), read_outputs(outputs)

    def new_metrics(self) -> Metrics:
        """The metrics over all of the validation data."""
        count = len(self._names)
        tolerance = for_each("tolerance", self.tolerance, count)
        return RegressionMetrics(
            self._names,
            for_each("units", self.units, count),
            None if self.tolerance is None else tolerance,
            self._spread.deviations(),
            self.num_hardest,
        )

    def score_samples(self, truth: Any, predictions: Any) -> SampleScores:
        """The columns of the targets, and `difficulty`."""
        valid = np.isfinite(predictions).all(axis=1, keepdims=True)
        errors = np.where(valid, predictions - truth, np.nan)
        relative = errors / self._spread.deviations()
        difficulty = np.abs(relative).mean(axis=1)
        values = [
            column
            for i in range(truth.shape[1])
            for column in (truth[:, i], predictions[:, i], errors[:, i])
        ]
        columns = dict(zip(columns_of(self._names), values, strict=True))
        return SampleScores(
            {**columns, "difficulty": difficulty}, difficulty, signed_errors=relative
        )

    def target_properties(self, y: Any, truth: Any) -> Mapping[str, Any]:
        """The first four targets: the search takes pairs of all properties."""
        return dict(zip(self._names[:MAX_CHARTS], truth.T, strict=False))

    def ground_truth_rows(
        self, samples: Samples, images: Sequence[Any]
    ) -> list[list[Any]]:
        """The rows: `idx`, `image` and the targets."""
        targets = [np.ravel(y).astype(float).tolist() for y in samples.y]
        cells = zip(samples.index, images, targets, strict=True)
        return [[index, image, *numbers] for index, image, numbers in cells]

    def prediction_rows(self, evaluated: EvaluatedSamples) -> list[list[Any]]:
        """The rows: `idx`, `image`, the columns of the targets, and `difficulty`."""
        scores = zip(*evaluated.scores.values(), strict=True)
        parts = zip(evaluated.rows, scores, strict=True)
        return [[*row[:2], *values] for row, values in parts]

    def summarize(self, evaluation: Evaluation) -> dict[str, Any]:
        """The samples whose target may be wrong."""
        suspects, learning = evaluation.suspects, evaluation.learning
        if learning is None or not len(suspects):
            return {}
        columns = columns_of(self._names)
        means = learning.columns()["mean_scaled_error"]
        rows = [
            [*row[:2], *(suspects.scores[name][i] for name in columns), means[index]]
            for i, (row, index) in enumerate(
                zip(suspects.rows, suspects.index, strict=True)
            )
        ]
        shown_as = self.data_table_columns[1]
        names = ["idx", shown_as, *columns, "mean_scaled_error"]
        return {"suspect_targets": charts.table(names, rows)}
