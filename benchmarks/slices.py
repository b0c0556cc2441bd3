"""The time of the search for weak slices, and of the properties of images.

The part `slices` of compare.py runs it in a separate process.
"""

from __future__ import annotations

import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

PROPERTIES, CLASSES = 12, 10


def data(samples: int) -> dict[str, Any]:
    """Errors of samples, 12 independent properties, and classes."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, CLASSES, samples)
    properties = {f"p{i}": rng.normal(size=samples) for i in range(PROPERTIES)}
    properties["p0"] = classes + properties["p0"]
    rates = np.linspace(0.02, 0.25, CLASSES)[classes]
    errors = (rng.random(samples) < rates).astype(float)
    return {"errors": errors, "properties": properties, "strata": classes}


def measure_search(samples: int) -> dict[str, float]:
    """Measures the seconds of one core, and the peak of memory of arrays in MB."""
    from wandb_eval.engine.slices.search import find_weak_slices

    find_weak_slices(**data(300))
    arguments = data(samples)
    start = time.process_time()
    find_weak_slices(**arguments)
    seconds = time.process_time() - start
    tracemalloc.start()
    find_weak_slices(**arguments, num_permutations=40)
    memory = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return {"samples": samples, "seconds": seconds, "memory": memory}


def measure_properties(images: int, size: int) -> dict[str, float]:
    """Measures milliseconds per image of properties, and of MobileNetV2's `predict`."""
    import cv2
    import keras

    from wandb_eval.engine.slices.properties import image_properties

    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (images, 8, 8, 3), np.uint8)
    x = np.stack([cv2.resize(one, (size, size)) for one in coarse])
    model = keras.applications.MobileNetV2((size, size, 3), weights=None)
    model.predict(x[:32].astype("float32"), verbose=0)
    start = time.perf_counter()
    model.predict(x.astype("float32"), verbose=0)
    predicting = time.perf_counter() - start
    with ThreadPoolExecutor() as pool:
        list(pool.map(image_properties, x[:32]))
        start = time.perf_counter()
        list(pool.map(image_properties, x))
    found = time.perf_counter() - start
    return {"properties": 1e3 * found / images, "predict": 1e3 * predicting / images}
