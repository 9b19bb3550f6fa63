"""One trainer in a process of its own, for `sae.py`: it trains a turn whenever a line comes in.

Each function here runs steps for ever, as the library itself does them.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


class Clock:
    """Every `steps` steps the time of one is told, and the next turn waited for."""

    def __init__(self, steps: int) -> None:
        self.steps, self.count, self.idle = steps, 0, memory("VmRSS")
        self.began = time.perf_counter()

    def lap(self, steps: int) -> None:
        seconds = (time.perf_counter() - self.began) / steps
        peak = memory("VmHWM")
        print(
            "@@" + json.dumps({"seconds": seconds, "peak": peak, "own": peak - self.idle}),
            file=REPORTS,
            flush=True,
        )
        if not sys.stdin.readline():
            os._exit(0)
        self.began = time.perf_counter()

    def step(self) -> None:
        """Before each step: the first is a turn by itself."""
        if self.count and (self.count - 1) % self.steps == 0:
            self.lap(1 if self.count == 1 else self.steps)
        self.count += 1


def memory(what: str) -> float:
    """MB of this process, or of its accelerator."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        return sys.modules["torch"].cuda.max_memory_allocated() / 1e6
    if "torch" not in sys.modules:
        import jax

        found = jax.devices()[0].memory_stats() or {}
        if "peak_bytes_in_use" in found:
            return found["peak_bytes_in_use"] / 1e6
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1e3 for line in lines if line.startswith(what))


def activations(given: Any) -> np.ndarray:
    """Four batches of made-up activations `(rows, d)`: a few of many directions, and noise."""
    rng = np.random.default_rng(0)
    decoder = rng.standard_normal((2 * given.d, given.d), np.float32) / given.d**0.5
    x = 0.1 * rng.standard_normal((4 * given.batch, given.d), np.float32)
    for _ in range(8):
        x += rng.random((len(x), 1), np.float32) * decoder[rng.integers(0, len(decoder), len(x))]
    return x


def matmul(given: Any, clock: Clock) -> None:
    import jax
    import jax.numpy as jnp

    kind = jnp.float32 if jax.default_backend() == "cpu" else jnp.bfloat16
    rows = min(512, given.batch)
    x = jax.random.normal(jax.random.key(0), (given.batch // rows, given.d, rows), kind)
    w = jax.random.normal(jax.random.key(1), (given.features, given.d), kind)
    # Blocks of rows, the best arrangement that was found on a CPU; nothing of them is kept.
    one = lambda part: jnp.max(jnp.matmul(w, part, precision="highest"), 0)
    product = jax.jit(lambda x: jax.lax.map(one, x))
    while True:
        clock.step()
        product(x).block_until_ready()


def jaxinterp(given: Any, clock: Clock) -> None:
    import jax

    import jaxinterp as ji

    low = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    extra = {"k": given.k} if "TopK" in given.kind else {}
    kind = getattr(ji.sae, given.kind)(d=given.d, features=given.features, matmul=low, **extra)
    turn = 4 * given.steps  # a dispatch, by default of 16 steps, asks for its memory once
    ji.sae.train(
        kind,
        activations(given),
        key=jax.random.key(0),
        steps=10**6,
        batch_size=given.batch,
        settings=ji.fit.Settings(
            steps_per_dispatch=turn, every=turn, progress=False, callback=lambda *_: clock.lap(turn)
        ),
    )


def torch_batches(given: Any, clock: Clock) -> Iterator[Any]:
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    x = torch.from_numpy(activations(given)).to(device())
    while True:
        for start in range(0, len(x), given.batch):
            clock.step()
            yield x[start : start + given.batch]


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def sae_lens(given: Any, clock: Clock) -> None:
    import sae_lens as lens
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    extra = {"k": given.k} if "TopK" in given.kind else {}
    config = getattr(lens, f"{given.kind}TrainingSAEConfig")
    settings = config(d_in=given.d, d_sae=given.features, device=device(), **extra)
    sae = getattr(lens, f"{given.kind}TrainingSAE")(settings)
    trainer = SAETrainerConfig(
        total_training_samples=10**9,
        train_batch_size_samples=given.batch,
        device=device(),
        lr_end=3e-4,
        autocast=device() == "cuda",
    )
    SAETrainer(trainer, sae, torch_batches(given, clock)).fit()


def dictionary_learning(given: Any, clock: Clock) -> None:
    import torch
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.gdm import GatedSAETrainer
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.standard import StandardTrainerAprilUpdate
    from dictionary_learning.trainers.top_k import TopKTrainer

    of = {
        "TopK": TopKTrainer,
        "BatchTopK": BatchTopKTrainer,
        "Gated": GatedSAETrainer,
        "JumpReLU": JumpReluTrainer,
        "Standard": StandardTrainerAprilUpdate,
    }
    extra = {"k": given.k} if "TopK" in given.kind else {}
    trainer = of[given.kind](
        steps=10**6,
        activation_dim=given.d,
        dict_size=given.features,
        layer=0,
        lm_name="none",
        device=device(),
        seed=0,
        **extra,
    )
    with torch.autocast(device(), torch.bfloat16, enabled=device() == "cuda"):
        for step, x in enumerate(torch_batches(given, clock)):
            trainer.update(step, x)


def sparsify(given: Any, clock: Clock) -> None:
    """Its trainer reads activations by a hook on a model: here one that hands them out."""
    import torch
    from sparsify import SparseCoderConfig, TrainConfig, Trainer

    batches = torch_batches(given, clock)

    class Model(torch.nn.Module):
        device, dummy_inputs = torch.device(device()), {"x": torch.zeros(1, 1, given.d)}

        def __init__(self) -> None:
            super().__init__()
            self.site = torch.nn.Identity()

        @property
        def base_model(self) -> Any:
            return self

        def forward(self, x: Any) -> Any:
            return self.site(x if x.is_floating_point() else next(batches)[None])

    class Tokens:
        def __len__(self) -> int:
            return 10**6

        def __getitem__(self, i: int) -> dict[str, Any]:
            return {"input_ids": torch.zeros(given.batch, dtype=torch.int64)}

    config = TrainConfig(
        SparseCoderConfig(num_latents=given.features, k=given.k),
        batch_size=1,
        optimizer="adam",
        auxk_alpha=1 / 32,
        hookpoints=["site"],
        log_to_wandb=False,
        save_every=10**9,
    )
    Trainer(config, Tokens(), Model()).fit()


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ask.add_argument("library")
    ask.add_argument("kind")
    for name in ("features", "d", "k", "batch", "steps"):
        ask.add_argument(name, type=int)
    given = ask.parse_args()
    if given.library not in ("matmul", "jaxinterp"):  # importing is not training
        __import__("torch")
        __import__(given.library)
    globals()[given.library](given, Clock(given.steps))


if __name__ == "__main__":
    # What is told goes to the pipe; what libraries print goes to stderr.
    REPORTS = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    main()
