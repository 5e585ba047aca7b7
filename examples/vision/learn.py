"""Training in JAX on the CPU: loss, Adam, and the batches a second process composes meanwhile."""

import os

# One thread sums in one order: without this two runs would differ in their last bits.
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
os.environ["JAX_PLATFORMS"] = "cpu"

import multiprocessing
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from network import (
    ANCHOR_SIZE, CLASSES, LAYERS, NORM_EPSILON, SIZE_RANGE, STRIDE, Params, cell_centres,
    initial_params, network, padding,
)
from pages import Glyphs, load_glyphs, training_crop

SIDE = 224
BATCH = 16
MOST_DIGITS = 24
PEAK_RATE = 3e-3
WEIGHT_DECAY = 1e-2
WARM_UP = 200

Moments = dict[str, tuple[jax.Array, jax.Array]]


class Batch(NamedTuple):
    """Crops with their boxes, padded to one count so that the step is compiled once."""

    images: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray


@cache
def training_glyphs() -> Glyphs:
    return load_glyphs()[0]


def compose_batch(seed: int, step: int) -> Batch:
    """The batch of one step, from its own seed: the same whoever composes it and when."""
    glyphs = training_glyphs()
    rng = np.random.default_rng([seed, step])
    batch = Batch(
        np.zeros((BATCH, SIDE, SIDE, 3), np.uint8),
        np.zeros((BATCH, MOST_DIGITS, 4), np.float32),
        np.full((BATCH, MOST_DIGITS), -1, np.int32),
    )
    for row in range(BATCH):
        page = training_crop(rng, glyphs, SIDE)
        while len(page.labels) > MOST_DIGITS:
            page = training_crop(rng, glyphs, SIDE)
        batch.images[row] = page.pixels
        batch.boxes[row, :len(page.labels)] = page.boxes
        batch.labels[row, :len(page.labels)] = page.labels
    return batch


def batches(seed: int, steps: int) -> Iterator[Batch]:
    """Batches in order, a few composed ahead by another process."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as pool:
        ahead: deque[Future[Batch]] = deque()
        for step in range(steps):
            ahead.append(pool.submit(compose_batch, seed, step))
            if len(ahead) > 4:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


class TrainingOps:
    """The network on batches (NHWC), normalised by each batch's own moments, which it keeps."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.moments: Moments = {}

    def convolve(self, name: str, x: jax.Array) -> jax.Array:
        kernel, stride, _, _ = LAYERS[name]
        pads = [padding(kernel, stride)] * 2
        layout = ("NHWC", "HWIO", "NHWC")
        weights = self.params[name]["kernel"]
        return jax.lax.conv_general_dilated(
            x, weights, (stride, stride), pads, dimension_numbers=layout
        )

    def block(self, name: str, x: jax.Array) -> jax.Array:
        x = self.convolve(name, x)
        mean = x.mean((0, 1, 2))
        variance = jnp.square(x - mean).mean((0, 1, 2))
        self.moments[name] = (mean, variance)
        scale = self.params[name]["gain"] * jax.lax.rsqrt(variance + NORM_EPSILON)
        return jax.nn.relu((x - mean) * scale + self.params[name]["bias"])

    def linear(self, name: str, x: jax.Array) -> jax.Array:
        return self.convolve(name, x) + self.params[name]["bias"]

    def add(self, x: jax.Array, y: jax.Array) -> jax.Array:
        return x + y

    def double(self, x: jax.Array) -> jax.Array:
        return x.repeat(2, 1).repeat(2, 2)


def forward(params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array, Moments]:
    """Boxes (x1, y1, x2, y2 in pixels), class logits, and the moments each layer saw."""
    ops = TrainingOps(params)
    raw = network(ops, images.astype(jnp.float32) / 255.0)
    raw = raw.reshape(raw.shape[0], -1, raw.shape[-1])
    middle = raw[..., :2] * STRIDE + cell_centres(images.shape[1])
    half = jnp.exp(jnp.clip(raw[..., 2:4], *SIZE_RANGE)) * (ANCHOR_SIZE / 2)
    return jnp.concatenate([middle - half, middle + half], -1), raw[..., 4:], ops.moments


def overlap(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """IoU, and the generalised IoU that still has a slope where boxes do not meet."""
    area_a = jnp.prod(a[..., 2:] - a[..., :2], -1)
    area_b = jnp.prod(b[..., 2:] - b[..., :2], -1)
    inner = jnp.minimum(a[..., 2:], b[..., 2:]) - jnp.maximum(a[..., :2], b[..., :2])
    outer = jnp.maximum(a[..., 2:], b[..., 2:]) - jnp.minimum(a[..., :2], b[..., :2])
    shared = jnp.prod(jnp.maximum(inner, 0.0), -1)
    union = area_a + area_b - shared
    hull = jnp.prod(outer, -1)
    iou = shared / (union + 1e-6)
    return iou, iou - (hull - union) / (hull + 1e-6)


def assign(boxes: jax.Array, labels: jax.Array) -> tuple[jax.Array, jax.Array]:
    """For each cell the digit it must report, if any: the cells about a digit's middle.

    The reach is never under most of a cell, so that no digit is too thin to own one.
    """
    centres = cell_centres(SIDE)
    sizes = boxes[:, 2:] - boxes[:, :2]
    middles = (boxes[:, 2:] + boxes[:, :2]) / 2
    reach = jnp.maximum(sizes * 0.2, 0.75 * STRIDE)
    near = (jnp.abs(centres[:, None] - middles) <= reach).all(-1) & (labels >= 0)
    distance = jnp.abs((centres[:, None] - middles) / (sizes + 1.0)).max(-1)
    owner = jnp.where(near, distance, jnp.inf).argmin(-1)
    return near.any(-1), owner


def loss(params: Params, batch: Batch) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Boxes by generalised IoU; scores by focal loss towards the IoU each box really has.

    A score that tells how good its box is lets suppression keep the best of several.
    """
    boxes, logits, _ = forward(params, batch.images)
    positive, owner = jax.vmap(assign)(batch.boxes, batch.labels)
    wanted = jnp.take_along_axis(batch.boxes, owner[..., None], 1)
    label = jnp.take_along_axis(batch.labels, owner, 1)
    iou, generalised = overlap(boxes, wanted)
    count = jnp.maximum(positive.sum(), 1.0)
    quality = jax.lax.stop_gradient(jnp.where(positive, iou, 0.0))
    target = jax.nn.one_hot(label, CLASSES) * quality[..., None]
    score = jax.nn.sigmoid(logits)
    entropy = jax.nn.softplus(logits) - target * logits
    score_loss = (jnp.square(target - score) * entropy).sum() / count
    box_loss = jnp.where(positive, 1.0 - generalised, 0.0).sum() / count
    report = {"score": score_loss, "box": box_loss, "iou": quality.sum() / count}
    return 2.0 * score_loss + box_loss, report


def rate(step: jax.Array, steps: int) -> jax.Array:
    """A short warm-up, then half a cosine down to nothing."""
    rise = jnp.minimum((step + 1) / WARM_UP, 1.0)
    return PEAK_RATE * rise * 0.5 * (1.0 + jnp.cos(jnp.pi * step / steps))


@partial(jax.jit, static_argnames="steps", donate_argnums=(0, 1, 2))
def update(
    params: Params, first: Params, second: Params, step: jax.Array, batch: Batch, steps: int
) -> tuple[Params, Params, Params, dict[str, jax.Array]]:
    """One step of Adam with decoupled weight decay on the kernels."""
    slopes, report = jax.grad(loss, has_aux=True)(params, batch)
    norm = jnp.sqrt(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(slopes)))
    slopes = jax.tree.map(lambda g: g * jnp.minimum(1.0, 5.0 / (norm + 1e-6)), slopes)
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slopes)
    second = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g * g, second, slopes)
    pace = rate(step, steps)

    def moved(p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        m, v = m / (1.0 - 0.9 ** (step + 1)), v / (1.0 - 0.99 ** (step + 1))
        decay = WEIGHT_DECAY * p if p.ndim == 4 else 0.0
        return p - pace * (m / (jnp.sqrt(v) + 1e-8) + decay)

    return jax.tree.map(moved, params, first, second), first, second, report


@jax.jit
def moments_of(params: Params, images: jax.Array) -> Moments:
    return forward(params, images)[2]


def fold(params: Params, images: Iterator[np.ndarray]) -> Params:
    """Plain kernels and biases, normalisation folded in with moments averaged over crops.

    Measured after training, with the final weights, so no stale running averages are left.
    """
    seen = [moments_of(params, batch) for batch in images]
    folded: Params = {}
    for name, layer in params.items():
        kernel, bias = np.asarray(layer["kernel"]), np.asarray(layer["bias"])
        if name in seen[0]:
            mean = np.mean([moments[name][0] for moments in seen], 0)
            variance = np.mean([moments[name][1] for moments in seen], 0)
            scale = np.asarray(layer["gain"]) / np.sqrt(variance + NORM_EPSILON)
            kernel, bias = kernel * scale, bias - mean * scale
        folded[name] = {"kernel": kernel, "bias": bias}
    return folded


def learn(seed: int, steps: int) -> Params:
    """Trains from scratch and returns the folded weights."""
    params = jax.tree.map(jnp.asarray, initial_params(np.random.default_rng(seed)))
    first = jax.tree.map(jnp.zeros_like, params)
    second = jax.tree.map(jnp.zeros_like, params)
    began = time.perf_counter()
    for step, batch in enumerate(batches(seed, steps)):
        params, first, second, report = update(
            params, first, second, jnp.float32(step), batch, steps=steps
        )
        if step % 100 == 0 or step == steps - 1:
            figures = "  ".join(f"{name} {float(value):.3f}" for name, value in report.items())
            print(f"step {step:5d}  {time.perf_counter() - began:5.0f} s  {figures}", flush=True)
    calibration = batches(seed + 1, 60)
    return fold(params, (batch.images for batch in calibration))
