"""The methods that make a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wandb_eval.engine.evaluation.data import Batch, unpack_x_y
from wandb_eval.engine.evaluation.metrics import Metrics
from wandb_eval.engine.evaluation.result import Evaluation
from wandb_eval.engine.evaluation.samples import EvaluatedSamples, Samples, SampleScores
from wandb_eval.engine.progress import Progress


class EvalTask:
    """The methods that make a task; `WandbTaskEvalCallback` calls them.

    `ground_truth_rows` says what a row of ground truth shows. The others say as much as
    there is to say: `score_samples` how the model did on each sample, `new_metrics`
    what is measured over all of them, `prediction_rows` what a row of predictions
    shows.
    """

    uses_model_preprocessing = False
    """Whether data is looked at as the model's own preprocessor makes it: where targets
    lie in the image, they move with it."""

    headline: Sequence[str] | None = None
    """The names of the numbers, among those that `new_metrics` measures, that go into
    the logs of `fit`. `None`: all of them."""

    def unpack_batch(self, batch: Any) -> tuple[Any, Any]:
        """Gets `(x, y)` out of a batch of `validation_data`."""
        return unpack_x_y(batch)

    def check_batch(self, batch: Batch) -> None:
        """Raises a ValueError if something is wrong with a batch of validation data.

        Called with all of the data, before training. A batch may have more samples
        than `batch_size`.
        """

    def check_outputs(self, outputs: Any) -> None:
        """Raises a ValueError if the outputs of the model can't be used.

        Args:
            outputs: What the model puts out for the first of the samples: as many as
                are predicted at once.
        """

    def read_batch(self, y: Any, outputs: Any) -> tuple[Any, Any]:
        """Reads a batch, once for metrics, scores and rows.

        Called in a thread, beside the predicting of the next batch. What it returns is
        kept for the samples that are shown, so make it small.

        Args:
            y: The targets, as NumPy arrays. They may be the data itself: do not change
                them.
            outputs: The outputs of the model, as NumPy arrays; the same holds.

        Returns:
            The truth and the predictions, each with an entry for each sample: an array,
            a list, or a tuple or a dict of such. As they are, if not overridden.
        """
        return y, outputs

    def new_metrics(self) -> Metrics | None:
        """What to measure: an object with `update(truth, predictions)`, `compute()`."""
        return None

    def score_samples(self, truth: Any, predictions: Any) -> SampleScores | None:
        """How the model did on each sample of a batch, as `read_batch` returned it."""
        return None

    def ground_truth_rows(
        self, samples: Samples, images: Sequence[Any]
    ) -> list[list[Any]]:
        """Rows of the table of ground truth.

        Args:
            samples: The fixed samples, or any others.
            images: What to show of each: a `wandb.Image`, text, or `None` where nothing
                is logged, or the sample can't be shown.
        """
        return [list(row) for row in zip(samples.index, images, strict=True)]

    def shown_size(self, y: Any) -> tuple[int, int] | None:
        """Height and width that the image of a sample is scaled to, to be shown.

        Args:
            y: The targets of the sample.

        Returns:
            `None` for the size of the image itself, as it is if not overridden. A task
            whose targets are masks has theirs.
        """
        return None

    def prediction_rows(self, evaluated: EvaluatedSamples) -> list[list[Any]]:
        """Rows of a table of predictions, without the epoch.

        Not overridden, they are the rows of ground truth and the columns of
        `score_samples`.
        """
        return [
            [*row, *(column[i] for column in evaluated.scores.values())]
            for i, row in enumerate(evaluated.rows)
        ]

    def extra_results(self, evaluation: Evaluation) -> dict[str, Any]:
        """More to log, by key: made of the samples that an evaluation holds."""
        return {}

    def summarize(self, evaluation: Evaluation) -> dict[str, Any]:
        """More to log when training ends, made of the last evaluation."""
        return {}

    # --- What is not the task's to say ----------------------------------------------

    @property
    def scores_samples(self) -> bool:
        """Whether the task says how a model does on a sample."""
        return type(self).score_samples is not EvalTask.score_samples

    @property
    def reads_batches(self) -> bool:
        """Whether the task makes something else of targets and outputs."""
        return type(self).read_batch is not EvalTask.read_batch

    def select_output(self, outputs: Any) -> Any:
        """The output that is evaluated, of a model that has several."""
        return outputs

    @property
    def verbose(self) -> bool:
        """Whether to show progress."""
        return True

    def progress(self, what: str, total: int | None) -> Progress:
        """A progress bar, for work that may take a while; none if `fit` is silent.

        Args:
            what: What is being done.
            total: How many steps there are, or `None`.
        """
        return Progress(what, total, self.verbose)
