"""Detectors of KerasHub that are small enough for tests."""

import keras
import pytest


def retinanet(bounding_box_format, num_classes=2):
    """A RetinaNet with random weights, as small as KerasHub allows.

    It takes images of `(64, 96, 3)`, and finds at most seven boxes in each.
    """
    hub = pytest.importorskip("keras_hub")
    keras.utils.set_random_seed(0)
    encoder = hub.models.ResNetBackbone(
        [64],
        [7],
        [64, 64, 64, 64],
        [1, 1, 1, 1],
        [1, 2, 2, 2],
        block_type="basic_block",
        image_shape=(64, 96, 3),
    )
    backbone = hub.models.RetinaNetBackbone(
        encoder, min_level=4, max_level=5, use_p5=False, image_shape=(64, 96, 3)
    )
    model = hub.models.RetinaNetObjectDetector(
        backbone,
        num_classes=num_classes,
        bounding_box_format=bounding_box_format,
        pre_logits_num_conv_layers=1,
        prediction_decoder=hub.layers.NonMaxSuppression(
            bounding_box_format,
            from_logits=True,
            confidence_threshold=0.05,
            max_detections=7,
        ),
    )
    # The initial bias of KerasHub places every box far outside of the image.
    for weight in model.box_head.weights:
        if weight.path.endswith("bias"):
            weight.assign(keras.ops.zeros(weight.shape))
    return model
