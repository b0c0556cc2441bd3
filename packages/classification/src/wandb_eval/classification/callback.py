"""The callback for classification."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from wandb_eval.classification.labels import (
    Labels,
    Probabilities,
    check_probabilities,
    read_labels,
    read_outputs,
    smallest_step,
)
from wandb_eval.classification.metrics import ClassificationMetrics, sample_losses
from wandb_eval.core import (
    Batch,
    Metrics,
    WandbTaskEvalCallback,
    check_class_names,
    name_classes,
)
from wandb_eval.core.arguments import check_bool, check_positive

_NOT_A_NUMBER = "NaN"


class WandbClassificationEvalCallback(WandbTaskEvalCallback):
    """Shows in W&B what a classifier predicts, epoch by epoch.

    When training begins, it logs a table of validation samples: `idx` (the place in
    the validation data), `image`, `label`. After each epoch it logs their predictions:
    `epoch`, `idx`, `image`, `label`, `pred`, `score` (the probability of `pred`),
    `correct`, `loss` (cross-entropy, in nats), and the `top_k` classes with their
    scores. Over all of the validation data it logs `eval/accuracy`,
    `eval/top_<k>_accuracy`, `eval/log_loss` and `eval/macro_f1`, a confusion matrix,
    precision, recall, F1 and support by class, and for up to 20 classes ROC and
    precision-recall curves.

    Where the outputs of a sample are NaN, its row says so, and the numbers leave it
    out: `eval/left_out` says how many.

    Args:
        validation_data: `(x, y)` or `(x, y, sample_weight)` of arrays or tensors, a
            batched `tf.data.Dataset`, a `keras.utils.PyDataset`, a torch `DataLoader`,
            or any iterable of batches that can be iterated again. Labels are class
            ids, or one-hot; multi-hot with `multi_label`. Of a y for several outputs, a
            tuple or a dict, the labels are what `output_key` names.
        class_names: The name of each class id. `None`: the ids.
        num_samples: How many samples to show. `None` for all.
        every_n_epochs: Evaluate every so many epochs, and always after the last one.
        batch_size: For predicting; data that is batched already keeps its batches.
        from_logits: Whether the outputs are logits, before softmax or sigmoid.
        multi_label: Whether a sample may have several classes, or none. A class is
            predicted where its probability is 0.5 or more; `pred` and `label` are
            lists of names then, `score` is the mean probability of the predicted
            classes, `correct` asks for all classes, and there is no confusion matrix
            and no top-k accuracy.
        top_k: How many of the most probable classes to show and to count.
        image_fn: Takes one sample of x and returns the image to show: a uint8 array of
            shape `(height, width)` or `(height, width, channels)`. `None`: uint8, or
            floats of 0 to 1, -1 to 1 or 0 to 255, are shown as such.
        image_format: `"png"`, lossless, or `"jpg"`, which is smaller and faster.
        monitor: The name of a number in the logs of `fit` (`"val_loss"`), or of one
            logged here (`"eval/macro_f1"`); the version where it improved is `best`.
        mode: `"min"`, `"max"`, or `"auto"`: told by the name.
        seed: Seed of the draw of the samples.
        **kwargs: `output_key`, `name`, `log_to_history` and `on_error`, see
            `wandb_eval.core.WandbTaskEvalCallback`.

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

    def __init__(
        self,
        validation_data: Any,
        class_names: Sequence[str] | None = None,
        *,
        num_samples: int | None = 100,
        every_n_epochs: int = 1,
        batch_size: int = 32,
        from_logits: bool = False,
        multi_label: bool = False,
        top_k: int = 5,
        image_fn: Callable[[Any], Any] | None = None,
        image_format: str = "png",
        monitor: str | None = None,
        mode: Literal["auto", "min", "max"] = "auto",
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        top_k = check_positive("top_k", top_k)
        check_bool("from_logits", from_logits)
        check_bool("multi_label", multi_label)
        self.class_names = check_class_names(class_names)
        self.from_logits = from_logits
        self.multi_label = multi_label
        self.top_k = top_k
        top = f"top_{top_k}"
        super().__init__(
            validation_data,
            data_table_columns=["idx", "image", "label"],
            pred_table_columns=[
                "epoch",
                "idx",
                "image",
                "label",
                "pred",
                "score",
                "correct",
                "loss",
                top,
                f"{top}_scores",
            ],
            num_samples=num_samples,
            every_n_epochs=every_n_epochs,
            batch_size=batch_size,
            image_fn=image_fn,
            image_format=image_format,
            monitor=monitor,
            mode=mode,
            seed=seed,
            **kwargs,
        )
        self._names: list[str] = []
        self._num_labels = 0

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
        probabilities = read_outputs(outputs, self.from_logits, self.multi_label)
        if self.from_logits:
            self.warn_of_probabilities(outputs, one_class=not self.multi_label)
        else:
            check_probabilities(probabilities, self.multi_label)
        num_classes = probabilities.shape[1]
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
        self._names = name_classes(self.class_names, num_classes)[:num_classes]

    def add_ground_truth(self, logs: dict[str, float] | None = None) -> None:
        """Adds the samples to `data_table`."""
        rows = zip(
            self.samples.index, self.sample_images(), self._sample_names(), strict=True
        )
        self.add_rows(self.data_table, list(rows))

    def add_model_predictions(
        self, epoch: int, logs: dict[str, float] | None = None
    ) -> None:
        """Adds what the model predicts for the samples to `pred_table`."""
        truth = self._sample_labels()
        for part, outputs in self.predict_samples():
            probabilities = read_outputs(outputs, self.from_logits, self.multi_label)
            eps = smallest_step(outputs, self.from_logits)
            rows = zip(
                self.data_table_ref.data[part],
                self._predictions(truth[part], probabilities, eps),
                strict=True,
            )
            self.add_rows(self.pred_table, [[epoch, *row, *new] for row, new in rows])

    def new_metrics(self) -> Metrics:
        """What is measured over all of the validation data."""
        return ClassificationMetrics(
            self._names, self.top_k, self.from_logits, self.multi_label
        )

    def _sample_labels(self) -> Labels:
        return read_labels(np.stack(self.samples.y), self.multi_label)

    def _sample_names(self) -> list[Any]:
        names = self._names or name_classes(self.class_names, self._num_labels)
        labels = self._sample_labels()
        if self.multi_label:
            return [[names[int(i)] for i in np.flatnonzero(row)] for row in labels]
        return [names[i] for i in labels]

    def _predictions(
        self, labels: Labels, probabilities: Probabilities, eps: float
    ) -> list[list[Any]]:
        """The cells behind `label`, for each row."""
        names = self._names
        finite = np.asarray(np.isfinite(probabilities).all(axis=1))
        safe = np.where(finite[:, None], probabilities, 0.0)
        order = np.argsort(-safe, axis=1, kind="stable")[:, : self.top_k]
        losses = sample_losses(labels, safe, self.multi_label, eps)
        rows: list[list[Any]] = []
        for i, top in enumerate(order):
            if not finite[i]:
                pred = [_NOT_A_NUMBER] if self.multi_label else _NOT_A_NUMBER
                rows.append([pred, math.nan, False, math.nan, [], []])
                continue
            pred, score, correct = self._decide(labels[i], safe[i])
            top_names = [names[j] for j in top]
            scores = safe[i][top].tolist()
            rows.append([pred, score, correct, float(losses[i]), top_names, scores])
        return rows

    def _decide(self, label: Any, scores: Any) -> tuple[Any, float, bool]:
        if self.multi_label:
            chosen = scores >= 0.5
            score = float(scores[chosen].mean()) if chosen.any() else 0.0
            pred: Any = [self._names[j] for j in np.flatnonzero(chosen)]
            return pred, score, bool((chosen == (label == 1)).all())
        best = int(scores.argmax())
        return self._names[best], float(scores[best]), best == int(label)
