"""The callback for classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import numpy as np
import wandb

from wandb_eval.classification.labels import (
    Probabilities,
    read_labels,
    read_outputs,
    sums_of_others,
)
from wandb_eval.classification.metrics import ClassificationMetrics
from wandb_eval.classification.scores import (
    as_text,
    by_sample,
    named,
    of_all_classes,
    score_batch,
)
from wandb_eval.classification.tables import confused_pairs, suspect_labels
from wandb_eval.core.arguments import check_bool, check_positive
from wandb_eval.engine import (
    Batch,
    EvaluatedSamples,
    Evaluation,
    FromLogits,
    Metrics,
    Samples,
    SampleScores,
    TaskArguments,
    WandbTaskEvalCallback,
    check_class_names,
    check_from_logits,
    check_single,
    listed,
    name_classes,
)
from wandb_eval.engine.kit.thresholds import check_threshold


class WandbClassificationEvalCallback(WandbTaskEvalCallback):
    """Shows in W&B what a classifier predicts, epoch by epoch.

    When training begins, it logs a table of validation samples: `idx` (the place in
    the validation data), `image`, `label`. After each epoch it logs a version of
    predictions: for these samples, and in a separate table for the hardest of all
    samples, `epoch`, `idx`, `image`, `label`, `pred`, `score` (the probability of
    `pred`), `correct`, `loss` (cross-entropy, in nats), and the `top_k` classes with
    their probabilities, as text. A third table has the scores of every sample, without
    images.

    Over all of the validation data it measures `eval/accuracy`,
    `eval/top_<k>_accuracy` (where there are more than k classes), `eval/log_loss`,
    `eval/brier`, `eval/ece` and `eval/macro_f1` (see `ClassificationMetrics`), a
    confusion matrix, precision, recall, F1 and support by class, a reliability chart,
    and for up to 20 classes ROC and precision-recall curves, and F1 over the threshold
    if the task has a threshold. `eval/confused` has the pairs of classes that are
    confused most, with images. When training ends, `eval/suspect_labels` shows the
    samples whose label the model contradicted most, over all epochs.

    A sample whose outputs are NaN or infinite counts as wrong, and its `pred` is
    `"NaN"`. `eval/left_out` is the number of such samples, if there are any. A version
    with such samples is never `best`.

    Args:
        validation_data: `(x, y)` or `(x, y, sample_weight)` of arrays or tensors, a
            batched `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch `DataLoader`,
            a batched data set of Grain, or any iterable of batches that can be iterated
            again. Labels are class ids or one-hot; with `multi_label`, multi-hot. If y
            is a tuple or a dict for several outputs, `output_key` selects the labels.
            x are images, strings or a few numbers; `image_fn` shows anything else.
        class_names: The name of each class id, as a list, `{id: name}` or `{name: id}`.
            `None`: the ids.
        from_logits: Whether the outputs are logits, before softmax or sigmoid.
            `"auto"` infers it from a softmax or sigmoid at the end of the model, else
            from the loss that the model is compiled with, else from the outputs.
        multi_label: Whether a sample may have several classes, or none. If so, `pred`
            and `label` are the names of all of them (as text beside images, as lists
            in `scores`), `score` is the mean probability of the predicted classes,
            `correct` means that all classes are right, and there is no confusion matrix
            and no top-k accuracy.
        threshold: The lowest probability at which a class is predicted, with
            `multi_label`, and class 1 for one sigmoid unit.
        top_k: The number of most probable classes to show and to count.
        **kwargs: The arguments of all tasks, see
            `wandb_eval.engine.WandbTaskEvalCallback`.

    Raises:
        wandb.Error: If there is no active run.
        ValueError: If an argument can't be used; when training begins, if labels,
            outputs and class names don't fit together.

    Example:

    ```python
    wandb.init(project="digits")
    model.fit(
        x_train,
        y_train,
        epochs=5,
        validation_data=(x_val, y_val),
        callbacks=[
            WandbClassificationEvalCallback((x_val, y_val), class_names=names)
        ],
    )
    ```
    """

    headline = ("accuracy", "macro_f1", "log_loss")

    def __init__(
        self,
        validation_data: Any,
        class_names: Sequence[str] | Mapping[Any, Any] | None = None,
        *,
        from_logits: FromLogits = "auto",
        multi_label: bool = False,
        threshold: float = 0.5,
        top_k: int = 5,
        **kwargs: Unpack[TaskArguments],
    ) -> None:
        top_k = check_positive("top_k", top_k)
        check_bool("multi_label", multi_label)
        self.class_names = check_class_names(class_names)
        self.from_logits = check_from_logits(from_logits)
        self.multi_label = multi_label
        self.threshold = check_threshold("threshold", threshold)
        self.top_k = top_k
        columns = ["epoch", "idx", "image", "label", "pred", "score", "correct", "loss"]
        super().__init__(
            validation_data,
            data_table_columns=["idx", "image", "label"],
            pred_table_columns=[*columns, f"top_{top_k}"],
            **kwargs,
        )
        if multi_label:  # A sample with more classes has more of them to get wrong.
            self.mechanical_properties = (*self.mechanical_properties, "num_classes")
        self._names: list[str] = []
        self._num_labels = 0
        self._are_logits = False

    @property
    def stratum(self) -> str | None:  # type: ignore[override]
        """The class of a sample, within which slices are compared."""
        return None if self.multi_label else "label"

    def target_properties(self, y: Any, truth: Any) -> dict[str, Any]:
        """The number of classes of each sample, if it may have several."""
        return {"num_classes": truth.sum(axis=1)} if self.multi_label else {}

    def check_batch(self, batch: Batch) -> None:
        """Checks labels against the class names."""
        labels = read_labels(batch.y, self.multi_label)
        size = labels.shape[1] if self.multi_label else int(labels.max(initial=-1)) + 1
        if self.multi_label and self._num_labels not in (0, size):
            raise ValueError(
                "Labels must be multi-hot for the same classes in all batches. "
                f"Received: {self._num_labels} classes, then {size}"
            )
        self._num_labels = max(self._num_labels, size)
        if self.class_names is not None:
            name_classes(self.class_names, self._num_labels)

    def check_outputs(self, outputs: Any) -> None:
        """Checks the outputs against the labels and the class names."""
        check_single(outputs)
        self._are_logits = self.resolve_from_logits(
            self.from_logits, outputs, one_class=not self.multi_label
        )
        probabilities = read_outputs(outputs, self._are_logits, self.multi_label)
        if not self._are_logits:
            self._say_what_sums_to_others(probabilities)
        num_classes = probabilities.shape[1]
        if num_classes == 1 and not self.multi_label:
            num_classes = 2
        if self.multi_label and (num_classes == 1 or num_classes != self._num_labels):
            raise ValueError(
                "With `multi_label=True` the model must have as many outputs as the "
                "labels have classes, two or more. Received: "
                f"{num_classes} outputs and labels for {self._num_labels} classes"
            )
        if self._num_labels > num_classes:
            raise ValueError(
                f"The labels of the validation data go up to {self._num_labels - 1}, "
                f"but the model has outputs for {num_classes} classes."
            )
        self._names = name_classes(self.class_names, num_classes, exactly=True)

    def _say_what_sums_to_others(self, probabilities: Probabilities) -> None:
        sums = None if self.multi_label else sums_of_others(probabilities)
        if sums is not None and self.is_logging:
            wandb.termwarn(
                "The outputs of the model have sums of "
                f"{sums[0]:.3g} to {sums[1]:.3g}: they are taken for those of a "
                "classifier that has a sigmoid for each class. `score` is the output "
                "as it is; for `loss` and log loss the outputs are divided by their "
                "sum, as by Keras' `categorical_crossentropy`. If a sample can have "
                "several classes, pass `multi_label=True`.",
                repeat=False,
            )

    def read_batch(self, y: Any, outputs: Any) -> tuple[Any, Any]:
        """Labels and probabilities."""
        return (
            read_labels(y, self.multi_label),
            read_outputs(outputs, self._are_logits, self.multi_label),
        )

    def new_metrics(self) -> Metrics:
        """The metrics over all of the validation data."""
        return ClassificationMetrics(
            self._names,
            self.top_k,
            multi_label=self.multi_label,
            threshold=self.threshold,
        )

    def score_samples(self, truth: Any, predictions: Any) -> SampleScores:
        """`label`, `pred`, `score`, `correct` and `loss`, which is the difficulty."""
        scores = score_batch(truth, predictions, self.multi_label, self.threshold)
        return by_sample(truth, scores, self._names)

    def ground_truth_rows(
        self, samples: Samples, images: Sequence[Any]
    ) -> list[list[Any]]:
        """Rows of `idx`, `image` and `label`."""
        names = self._names or name_classes(self.class_names, self._num_labels)
        labels = read_labels(np.stack(samples.y), self.multi_label)
        cells = zip(samples.index, images, named(labels, names), strict=True)
        return [[*row, as_text(label)] for *row, label in cells]

    def prediction_rows(self, evaluated: EvaluatedSamples) -> list[list[Any]]:
        """The rows of ground truth with the scores and the most probable classes."""
        each = np.stack(evaluated.predictions)
        each = each if self.multi_label else of_all_classes(each)
        finite = np.asarray(np.isfinite(each).all(axis=1))
        order = np.argsort(-each, axis=1, kind="stable")[:, : self.top_k]
        shown = ("pred", "score", "correct", "loss")
        scores = zip(*(evaluated.scores[name] for name in shown), strict=True)
        rows = []
        for i, (row, values) in enumerate(zip(evaluated.rows, scores, strict=True)):
            top = order[i] if finite[i] else order[i][:0]
            pred, *numbers = values
            if finite[i] and self.multi_label:
                pred = self._best_first(pred, each[i])
            best = listed([self._names[j] for j in top], each[i][top].tolist())
            rows.append([*row[:3], as_text(pred), *numbers, best])
        return rows

    def _best_first(self, classes: list[str], probabilities: Any) -> list[str]:
        chances = dict(zip(self._names, probabilities.tolist(), strict=True))
        return sorted(classes, key=lambda name: -chances[name])

    def extra_results(self, evaluation: Evaluation) -> dict[str, Any]:
        """The pairs of classes that are confused most."""
        metrics = evaluation.metrics
        if not isinstance(metrics, ClassificationMetrics):  # A subclass has its own.
            return {}
        held = [evaluation.hardest, evaluation.fixed]
        return confused_pairs(metrics.confused(), self._names, held, self._shown_as)

    def summarize(self, evaluation: Evaluation) -> dict[str, Any]:
        """The samples whose label may be wrong."""
        return suspect_labels(evaluation, self._shown_as)

    @property
    def _shown_as(self) -> str:
        """The column that shows the sample: `image` or `input`."""
        return self.data_table_columns[1]
