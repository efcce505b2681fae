"""Full-batch training in JAX: all positions, one jitted step of optax.adamw, float32 throughout."""

import time

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
import numpy as np
import optax  # pyright: ignore[reportMissingImports]
from protocol import read_job, serve

job = read_job()
settings = job["training"]
with np.load(job["material"]) as file:
    tensors = dict(file)
pairs, labels = jnp.asarray(tensors.pop("pairs")), jnp.asarray(tensors.pop("labels"))
tensors.pop("baselines")
initial = {name: jnp.asarray(value[0]) for name, value in tensors.items()}
causal = jnp.tril(jnp.ones((3, 3), bool))
warmup = settings["warmup_steps"]
optimizer = optax.adamw(
    lambda count: settings["learning_rate"] * jnp.minimum(1.0, (count + 1) / warmup),
    *settings["betas"],
    weight_decay=settings["weight_decay"],
)


def mean_loss(w: dict) -> jax.Array:
    """Mean cross-entropy over the train set."""
    equals = jnp.full_like(pairs[:, :1], w["W_E"].shape[0] - 1)
    residual = w["W_E"][jnp.concatenate([pairs, equals], 1)] + w["W_pos"]
    heads, d, width = w["W_Q"].shape
    query, key, value = (
        # one product for all heads, which XLA does faster than an einsum
        (residual @ w[name].swapaxes(0, 1).reshape(d, -1)).reshape(-1, 3, heads, width).swapaxes(1, 2)
        for name in ("W_Q", "W_K", "W_V")
    )
    scores = jnp.einsum("bhqk,bhpk->bhqp", query, key) / query.shape[-1] ** 0.5
    pattern = jax.nn.softmax(jnp.where(causal, scores, -jnp.inf), -1)
    mixed = jnp.einsum("bhqp,bhpk->bqhk", pattern, value).reshape(-1, 3, heads * width)
    residual = residual + mixed @ w["W_O"].reshape(heads * width, d)
    residual = residual + jax.nn.relu(residual @ w["W_in"] + w["b_in"]) @ w["W_out"] + w["b_out"]
    logits = (residual @ w["W_U"])[:, -1]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


@jax.jit
def step(weights: dict, state: optax.OptState) -> tuple:
    """One update."""
    gradients = jax.grad(mean_loss)(weights)
    updates, state = optimizer.update(gradients, state, weights)
    return optax.apply_updates(weights, updates), state


def run(steps: int) -> tuple[float, float]:
    """Seconds, and the train loss after `steps` steps."""
    weights, state = initial, optimizer.init(initial)
    start = time.perf_counter()
    for _ in range(steps):
        weights, state = step(weights, state)
    jax.block_until_ready(weights)
    return time.perf_counter() - start, float(mean_loss(weights))


def repeat(repetition: int) -> dict:
    """Train from the same weights again."""
    steps = job["steps"] if repetition >= 0 else 3
    return {"seconds": run(steps)[0], "units": steps, "compared_losses": {0: compared}}


_, compared = run(job["compared_after"])
computed = f"JAX jit at all three positions in float32, optax.adamw, {job['steps']} steps, compilation not counted"
serve({"computed": computed}, repeat)
