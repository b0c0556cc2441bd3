"""Tasks of KerasHub: batches of one size, and what their preprocessors make of data."""

import os
from functools import partial

import keras
import numpy as np
import pytest
import wandb
from keras import ops

from detectors import retinanet
from wandb_eval.classification import WandbClassificationEvalCallback
from wandb_eval.detection import WandbDetectionEvalCallback
from wandb_eval.engine.evaluation.preprocessing import preprocessing
from wandb_eval.segmentation import WandbSegmentationEvalCallback

hub = pytest.importorskip("keras_hub")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

NAMES = ["background", "red"]


@pytest.fixture(autouse=True)
def _offline(loopback):
    with wandb.init(mode="offline"):
        yield


# --- Batches of one size ----------------------------------------------------------


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.once
def test_a_retinanet_sees_batches_of_one_size(loopback):
    tf = pytest.importorskip("tensorflow")
    rng = np.random.default_rng(0)
    x = rng.random((16, 64, 96, 3), dtype=np.float32)
    y = {
        "boxes": np.tile(np.float32([[8, 10, 40, 60]]), (16, 1, 1)),
        "labels": np.zeros((16, 1), np.float32),
    }
    data = tf.data.Dataset.from_tensor_slices((x, y))
    model = retinanet("xyxy")
    model.compile(optimizer=keras.optimizers.SGD(1e-4))
    rows = {}  # One training: to compile it takes most of the time.
    for count, num_samples in [(12, 3), (16, 100), (14, 3), (14, 100)]:
        evaluation = WandbDetectionEvalCallback(
            data.take(count).batch(4),
            NAMES,
            num_samples=num_samples,
            name=f"{num_samples}_of_{count}",
        )
        rows[evaluation] = min(count, num_samples)
    history = model.fit(data.batch(4), epochs=2, verbose=0, callbacks=[*rows]).history
    assert len(history["loss"]) == 2
    assert [len(evaluation.pred_table.data) for evaluation in rows] == [*rows.values()]
    assert not [key for key in dict(wandb.run.summary) if "missing_versions" in key]


@pytest.mark.slow
def test_a_retinanet_is_not_predicted_again():
    rng = np.random.default_rng(0)
    x = rng.random((7, 64, 96, 3), dtype=np.float32)  # The last batch is smaller.
    y = {
        "boxes": np.tile(np.float32([[8, 10, 40, 60]]), (7, 1, 1)),
        "labels": rng.integers(0, 2, (7, 1)).astype(np.float32),
    }
    model = retinanet("xyxy")
    model.compile(optimizer=keras.optimizers.SGD(1e-4))
    options = {"bounding_box_format": "xyxy", "score_threshold": 0.05}
    evaluation = WandbDetectionEvalCallback((x, y), NAMES, **options)
    batch = x[:4], {name: part[:4] for name, part in y.items()}
    model.fit(
        *batch,
        batch_size=4,
        validation_data=(x, y),
        verbose=0,
        callbacks=[evaluation],
    )
    logs = evaluation.history
    assert evaluation._evaluator.reason is None
    again = WandbDetectionEvalCallback((x, y), NAMES, name="again", **options)
    for name, number in again.evaluate(model).items():
        assert logs[name.replace("eval_again", "eval")] == pytest.approx(
            [number], rel=1e-4, nan_ok=True
        )
    scores, expected = evaluation.evaluation.scores, again.evaluation.scores
    assert sum(scores["num_predictions"]) > 0
    assert scores.keys() == expected.keys()
    for name in expected.keys() - {"predicted_classes", "mean_scores"}:
        pair = (np.array(each[name], np.float64) for each in (scores, expected))
        np.testing.assert_allclose(*pair, rtol=1e-4, err_msg=name)
    assert scores["predicted_classes"] == expected["predicted_classes"]
    for means, theirs in zip(
        scores["mean_scores"], expected["mean_scores"], strict=True
    ):
        np.testing.assert_allclose(means, theirs, rtol=1e-4)


# --- The frame of the model -------------------------------------------------------


def red_scenes(count, height, width):
    """Black images with a red rectangle on even coordinates near the middle."""
    rng = np.random.default_rng(0)
    x = np.zeros((count, height, width, 3), np.float32)
    boxes = np.zeros((count, 1, 4), np.float32)
    for i in range(count):
        left = 2 * int(rng.integers(width // 6, width // 4))
        top = 2 * int(rng.integers(2, height // 6))
        right, bottom = left + 2 * int(rng.integers(4, 7)), top + height // 3 // 2 * 2
        x[i, top:bottom, left:right, 0] = 255
        boxes[i, 0] = left, top, right, bottom
    return x, boxes


class RedSegmenter(hub.models.ImageSegmenter):
    """Finds what is red, in the image as its preprocessor makes it."""

    def __init__(self, preprocessor):
        inputs = keras.Input((64, 64, 3))
        red = ops.cast(inputs[..., :1] > 127, "float32")
        outputs = keras.layers.Dense(2, name="head")(
            ops.concatenate([1 - red, red], axis=-1)
        )
        super().__init__(inputs=inputs, outputs=outputs)
        self.preprocessor = preprocessor

    def perfect(self):
        self.get_layer("head").set_weights([20 * np.eye(2), np.zeros(2)])
        keras.Model.compile(
            self,
            keras.optimizers.SGD(0.0),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=[keras.metrics.MeanIoU(2, sparse_y_pred=False, name="mean_io_u")],
        )
        return self


@pytest.mark.parametrize(
    "options",
    [{}, pytest.param({"crop_to_aspect_ratio": False}, marks=pytest.mark.once)],
    ids=["crop", "resize"],
)
def test_a_segmenter_that_is_perfect_in_its_frame(options):
    x, _ = red_scenes(6, 64, 128)
    y = (x[..., :1] > 0).astype("int32")
    converter = hub.layers.ImageConverter(image_size=(64, 64), **options)
    preprocessor = hub.models.ImageSegmenterPreprocessor(
        converter, resize_output_mask=True
    )
    model = RedSegmenter(preprocessor).perfect()
    evaluation = WandbSegmentationEvalCallback((x, y), NAMES, on_error="raise")
    history = model.fit(
        x,
        y,
        validation_data=(x, y),
        batch_size=4,
        epochs=2,
        verbose=0,
        callbacks=[evaluation],
    ).history
    assert history["val_mean_io_u"] == [1.0, 1.0]
    assert history["eval/mean_iou"] == [1.0, 1.0]
    image = evaluation.data_table.data[0][1]
    assert (image._height, image._width) == (64, 64)
    shown = np.asarray(image.image)[..., 0] > 127
    with_mask = image._masks["ground_truth"]._path
    from PIL import Image

    np.testing.assert_array_equal(shown, np.asarray(Image.open(with_mask)) == 1)


class BoxRed(keras.layers.Layer):
    def call(self, x):
        red = x[..., 0] > 127
        sides = {}
        for name, axis in (("y", 2), ("x", 1)):
            there = ops.cast(ops.any(red, axis=axis), "int32")
            size = ops.shape(there)[1]
            low = ops.argmax(there, axis=1)
            sides[name] = low, size - ops.argmax(ops.flip(there, axis=1), axis=1)
        corners = [sides["x"][0], sides["y"][0], sides["x"][1], sides["y"][1]]
        boxes = ops.stack([ops.cast(c, "float32") for c in corners], axis=-1)[:, None]
        return {
            "boxes": boxes,
            "labels": ops.ones_like(boxes[..., 0]),
            "confidence": ops.ones_like(boxes[..., 0]),
        }


class RedDetector(hub.models.ObjectDetector):
    """Puts a box around what is red, in the image as its preprocessor makes it."""

    def __init__(self, preprocessor, size):
        inputs = keras.Input((*size, 3))
        outputs = BoxRed()(inputs)
        super().__init__(inputs=inputs, outputs=outputs)
        self.preprocessor = preprocessor

    def compute_loss(self, x=None, y=None, y_pred=None, *_, **__):
        return ops.mean(y_pred["confidence"])

    def compile(self):
        keras.Model.compile(self, "sgd")


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"crop_to_aspect_ratio": False}, marks=pytest.mark.once),
        {"pad_to_aspect_ratio": True},
    ],
    ids=["crop", "resize", "pad"],
)
def test_a_detector_that_boxes_what_is_red(options):
    x, boxes = red_scenes(6, 48, 96)
    y = {"boxes": boxes, "labels": np.ones((6, 1), np.float32)}
    if options.get("pad_to_aspect_ratio"):
        options = {**options, "crop_to_aspect_ratio": False}
    converter = hub.layers.ImageConverter(
        image_size=(48, 48), bounding_box_format="xyxy", **options
    )
    preprocessor = hub.models.ObjectDetectorPreprocessor(converter)
    model = RedDetector(preprocessor, (48, 48))
    model.compile()
    evaluation = WandbDetectionEvalCallback((x, y), NAMES, on_error="raise")
    model.fit(x, y, epochs=2, verbose=0, callbacks=[evaluation])
    assert evaluation.history["eval/AP75"][-1] == pytest.approx(1.0)
    image = evaluation.data_table.data[0][1]
    red = np.asarray(image.image)[..., 0] > 127
    assert red.shape == (48, 48)
    [box] = image._boxes["ground_truth"]._val
    corners = np.array([box["position"][k] for k in ("minX", "minY", "maxX", "maxY")])
    ys, xs = np.nonzero(red)
    found = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
    np.testing.assert_allclose(corners, found, atol=1.5)


def test_a_classifier_stays_as_it_is():
    x = np.random.default_rng(0).integers(0, 256, (10, 40, 60, 3), dtype=np.uint8)
    y = np.arange(10) % 3
    backbone = hub.models.ResNetBackbone(
        [64], [3], [64], [1], [1], block_type="basic_block", image_shape=(32, 32, 3)
    )
    preprocessor = hub.models.ImageClassifierPreprocessor(
        hub.layers.ImageConverter(image_size=(32, 32), scale=1 / 255)
    )
    model = hub.models.ImageClassifier(
        backbone, num_classes=3, preprocessor=preprocessor
    )
    evaluation = WandbClassificationEvalCallback(
        (x, y), num_samples=4, on_error="raise"
    )
    history = model.fit(
        x, y, batch_size=4, epochs=2, verbose=0, callbacks=[evaluation]
    ).history
    predicted = model.predict(x, verbose=0).argmax(axis=-1)
    assert history["eval/accuracy"][-1] == pytest.approx((predicted == y).mean())
    image = evaluation.data_table.data[0][1]
    np.testing.assert_array_equal(
        np.asarray(image.image), x[evaluation.samples.index[0]]
    )


@pytest.mark.once
def test_a_segformer_in_batches_that_leave_a_part():
    encoder = hub.models.MiTBackbone(
        layerwise_depths=[1, 1],
        image_shape=(32, 32, 3),
        hidden_dims=[4, 8],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[4, 2],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
    )
    backbone = hub.models.SegFormerBackbone(image_encoder=encoder, projection_filters=8)
    model = hub.models.SegFormerImageSegmenter(backbone=backbone, num_classes=2)
    x, _ = red_scenes(6, 32, 32)
    y = (x[..., 0] > 0).astype("int32")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="sgd", loss=loss, metrics=[])
    evaluation = WandbSegmentationEvalCallback((x, y), NAMES, on_error="raise")
    history = model.fit(
        x, y, batch_size=4, epochs=2, verbose=0, callbacks=[evaluation]
    ).history
    assert len(history["eval/mean_iou"]) == 2
    predicted = model.predict(x, verbose=0).argmax(axis=-1)
    right = (predicted == y).mean()
    assert evaluation.history["eval/pixel_accuracy"][-1] == pytest.approx(
        right, abs=0.02
    )


def dfine(size):
    features = hub.models.HGNetV2Backbone(
        stem_channels=[3, 8, 8],
        stackwise_stage_filters=[
            [8, 8, 16, 1, 3, 3],
            [16, 8, 32, 1, 3, 3],
            [32, 16, 32, 1, 3, 5],
            [32, 16, 64, 1, 3, 5],
        ],
        apply_downsample=[False, True, True, True],
        use_lightweight_conv_block=[False, False, True, True],
        depths=[1, 1, 1, 1],
        hidden_sizes=[16, 32, 32, 64],
        embedding_size=8,
        use_learnable_affine_block=True,
        hidden_act="relu",
        image_shape=(size, size, 3),
        out_features=["stage3", "stage4"],
    )
    backbone = hub.models.DFineBackbone(
        backbone=features,
        decoder_in_channels=[16, 16],
        encoder_hidden_dim=16,
        num_denoising=0,
        num_labels=2,
        hidden_dim=16,
        learn_initial_query=False,
        num_queries=10,
        anchor_image_size=(size, size),
        feat_strides=[16, 32],
        num_feature_levels=2,
        encoder_in_channels=[32, 64],
        encode_proj_layers=[1],
        num_attention_heads=2,
        encoder_ffn_dim=16,
        num_encoder_layers=1,
        hidden_expansion=0.34,
        depth_multiplier=0.5,
        eval_idx=-1,
        num_decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=16,
        decoder_n_points=[2, 2],
        lqe_hidden_dim=8,
        num_lqe_layers=1,
        out_features=["stage3", "stage4"],
        image_shape=(size, size, 3),
    )
    return hub.models.DFineObjectDetector(
        backbone=backbone, num_classes=2, bounding_box_format="xyxy"
    )


@pytest.mark.skipif(
    not os.environ.get("RUN_SLOW"), reason="takes minutes; run with RUN_SLOW=1"
)
def test_a_dfine_in_batches_that_leave_a_part():
    x, boxes = red_scenes(6, 64, 64)
    y = {"boxes": boxes, "labels": np.ones((6, 1), np.float32)}
    model = dfine(64)
    model.compile(optimizer=keras.optimizers.SGD(1e-4))
    evaluation = WandbDetectionEvalCallback(
        (x / 255, y), NAMES, batch_size=4, on_error="raise"
    )
    history = model.fit(
        x / 255, y, batch_size=3, epochs=2, verbose=0, callbacks=[evaluation]
    ).history
    assert len(history["eval/mAP"]) == 2
    assert len(evaluation.pred_table.data) == 6


# --- The way that `fit` takes -----------------------------------------------------


def uint8_images(count=10):
    return np.random.default_rng(0).integers(0, 256, (count, 40, 60, 3), np.uint8)


def converter(**options):
    return hub.layers.ImageConverter(image_size=(32, 32), **options)


PADDED = {"crop_to_aspect_ratio": False, "pad_to_aspect_ratio": True}


def image_classifier(**options):
    backbone = hub.models.ResNetBackbone(
        [64], [3], [64], [1], [1], block_type="basic_block", image_shape=(32, 32, 3)
    )
    preprocessor = hub.models.ImageClassifierPreprocessor(converter(**options))
    model = hub.models.ImageClassifier(
        backbone, num_classes=3, preprocessor=preprocessor
    )
    return model, uint8_images(), np.arange(10) % 3


def text_classifier():
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ",", "."]
    words += ["the", "quick", "brown", "fox"]
    backbone = hub.models.BertBackbone(
        vocabulary_size=len(words),
        num_layers=1,
        num_heads=2,
        hidden_dim=4,
        intermediate_dim=8,
        max_sequence_length=8,
    )
    preprocessor = hub.models.BertTextClassifierPreprocessor(
        hub.models.BertTokenizer(words), sequence_length=8
    )
    model = hub.models.BertTextClassifier(
        backbone, num_classes=2, preprocessor=preprocessor
    )
    texts = ["the quick", "brown fox.", "fox", "quick, the fox", "the"]
    return model, np.array(2 * texts), np.arange(10) % 2


def segmenter(dtype="int32"):
    x, _ = red_scenes(6, 64, 128)
    preprocessor = hub.models.ImageSegmenterPreprocessor(
        hub.layers.ImageConverter(image_size=(64, 64)), resize_output_mask=True
    )
    y = (x[..., :1] > 0).astype(dtype)
    return RedSegmenter(preprocessor).perfect(), x.astype("uint8"), y


def detector(**options):
    x, boxes = red_scenes(6, 48, 96)
    preprocessor = hub.models.ObjectDetectorPreprocessor(
        hub.layers.ImageConverter(
            image_size=(48, 48), bounding_box_format="xyxy", **options
        )
    )
    model = RedDetector(preprocessor, (48, 48))
    model.compile()
    y = {"boxes": boxes, "labels": np.ones((6, 1), np.float32)}
    return model, x.astype("uint8"), y


def batches_of_fit(model, *args, **options):
    """The batches that `test_step` gets, one after the other."""
    seen = []

    class Seeing(type(model)):
        def test_step(self, *args):
            seen.append(args[-1])
            return super().test_step(*args)

    kind, model.__class__ = type(model), Seeing
    was_jit, model.jit_compile = model.jit_compile, False
    model.run_eagerly, model.test_function = True, None
    try:
        model.evaluate(*args, verbose=0, **options)
    finally:
        model.__class__ = kind
        model.run_eagerly, model.test_function = False, None
        model.jit_compile = was_jit
    return seen


def arrays_of(tree):
    return [np.asarray(leaf) for leaf in keras.tree.flatten(tree)]


@pytest.mark.parametrize("as_dataset", [False, True], ids=["arrays", "dataset"])
@pytest.mark.parametrize(
    "make",
    [
        partial(image_classifier, scale=1 / 255, offset=[-0.4, -0.5, -0.3]),
        # On every backend, they run in a graph of `tf.data`.
        *(
            pytest.param(make, marks=pytest.mark.once)
            for make in (
                partial(image_classifier, **PADDED),
                text_classifier,
                partial(segmenter, "int32"),
                partial(segmenter, "uint8"),
                detector,
                partial(detector, **PADDED),
            )
        ),
    ],
    ids=[
        *("images", "padded images", "texts", "int32 masks", "uint8 masks"),
        *("boxes", "padded boxes"),
    ],
)
def test_data_is_preprocessed_bit_by_bit_as_in_fit(make, as_dataset):
    model, x, y = make()
    if as_dataset:
        tf = pytest.importorskip("tensorflow")
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
        raw, expected = list(data), batches_of_fit(model, data)
    else:
        data, cuts = (x, y), range(0, len(x), 4)
        raw = [
            keras.tree.map_structure(lambda a, k=k: a[k : k + 4], data) for k in cuts
        ]
        expected = batches_of_fit(model, x, y, batch_size=4)
    prepare = preprocessing(model, data)
    for batch, fits in zip(raw, expected, strict=True):
        for ours, theirs in (
            (prepare(batch), fits),
            (prepare.inputs(batch[0]), fits[0]),
        ):
            for leaf, other in zip(arrays_of(ours), arrays_of(theirs), strict=True):
                assert leaf.dtype == other.dtype
                np.testing.assert_array_equal(leaf, other)


@pytest.mark.parametrize(
    "dtype", ["int32", pytest.param("uint8", marks=pytest.mark.once)]
)
def test_integer_masks_need_no_second_pass(dtype):
    model, x, y = segmenter(dtype)
    evaluation = WandbSegmentationEvalCallback((x, y), NAMES, on_error="raise")
    history = model.fit(
        x, y, validation_data=(x, y), batch_size=4, verbose=0, callbacks=[evaluation]
    ).history
    assert evaluation._evaluator.reason is None
    assert history["eval/mean_iou"] == history["val_mean_io_u"] == [1.0]


def test_padded_uint8_images_are_evaluated():
    model, x, y = detector(**PADDED)
    evaluation = WandbDetectionEvalCallback((x, y), NAMES, on_error="raise")
    model.fit(x, y, validation_data=(x, y), verbose=0, callbacks=[evaluation])
    assert evaluation._evaluator.reason is None
    assert evaluation.history["eval/AP75"] == [pytest.approx(1.0)]


@pytest.mark.parametrize(
    "make",
    [partial(image_classifier, scale=1 / 255), text_classifier],
    ids=["images", "texts"],
)
def test_the_loss_of_a_classifier_is_that_of_fit(make):
    model, x, y = make()
    evaluation = WandbClassificationEvalCallback((x, y), num_samples=4)
    history = model.fit(
        x, y, batch_size=5, validation_data=(x, y), verbose=0, callbacks=[evaluation]
    ).history
    assert history["eval/log_loss"] == pytest.approx(history["val_loss"], abs=1e-6)
