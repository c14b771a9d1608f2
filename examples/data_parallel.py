"""Trains a forecaster on several devices at once, each with its share of every batch.

Two devices of a machine without a GPU:

    KERAS_BACKEND=tensorflow python examples/data_parallel.py --cpu-devices 2
    KERAS_BACKEND=jax python examples/data_parallel.py --cpu-devices 2
    KERAS_BACKEND=torch torchrun --nproc-per-node 2 examples/data_parallel.py

JAX in two processes, which may be on two machines; in the other one, PROCESS_ID=1:

    export KERAS_DISTRIBUTION_JOB_ADDRESSES=localhost:9911 KERAS_DISTRIBUTION_NUM_PROCESSES=2
    KERAS_BACKEND=jax KERAS_DISTRIBUTION_PROCESS_ID=0 python examples/data_parallel.py

Without any of this it trains on one device, with the same losses and weights at the end.
"""

import argparse
import contextlib
import os

import keras
import numpy as np

import keras_msrnn
from keras_msrnn.data import MovingMNIST


class Share(keras.utils.PyDataset):
    """The samples of each batch of `dataset` that process `index` of `count` trains on."""

    def __init__(self, dataset, index, count):
        super().__init__()
        self.dataset, self.index, self.count = dataset, index, count

    @property
    def num_batches(self):
        return self.dataset.num_batches

    def __getitem__(self, batch):
        return tuple(np.split(frames, self.count)[self.index] for frames in self.dataset[batch])


def start(cpu_devices):
    """Returns the scope in which to make the model, this process's index, and their number."""
    return {"tensorflow": start_tensorflow, "jax": start_jax, "torch": start_torch}[
        keras.backend.backend()
    ](cpu_devices)


def start_tensorflow(cpu_devices):
    import tensorflow as tf

    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy().scope(), 0, 1
    [cpu] = tf.config.list_physical_devices("CPU")
    logical = [tf.config.LogicalDeviceConfiguration()] * cpu_devices
    tf.config.set_logical_device_configuration(cpu, logical)
    names = [f"CPU:{i}" for i in range(cpu_devices)]
    return tf.distribute.MirroredStrategy(names).scope(), 0, 1


def start_jax(cpu_devices):
    import jax

    if cpu_devices > 1:  # as XLA_FLAGS=--xla_force_host_platform_device_count does
        jax.config.update("jax_num_cpu_devices", cpu_devices)
    if "KERAS_DISTRIBUTION_NUM_PROCESSES" in os.environ:
        keras.distribution.initialize()
    distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
    return distribution.scope(), jax.process_index(), jax.process_count()


def start_torch(cpu_devices):
    import torch

    if "RANK" not in os.environ:
        return contextlib.nullcontext(), 0, 1
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    index, count = torch.distributed.get_rank(), torch.distributed.get_world_size()
    return contextlib.nullcontext(), index, count


def use_ddp(model):
    """Makes `fit` train a built `model` through PyTorch's `DistributedDataParallel`."""
    import torch
    from torch.nn.parallel import DistributedDataParallel

    class Loss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, context, future):
            inputs = {"context": context, "future": future}
            forecast = self.model(inputs, training=True)
            return self.model.compute_loss(inputs, future, forecast), forecast

    replica = DistributedDataParallel(Loss())

    def train_function(batches):
        context, future = (keras.ops.convert_to_tensor(frames) for frames in batches[0][:2])
        model.zero_grad()
        loss, forecast = replica(context, future)
        loss.backward()  # averages the gradients of all processes
        weights = model.trainable_variables
        with torch.no_grad():
            model.optimizer.apply([weight.value.grad for weight in weights], weights)
            torch.distributed.all_reduce(loss)
        loss /= torch.distributed.get_world_size()
        model.metrics[0].update_state(loss, sample_weight=len(context))
        return model.compute_metrics(context, future, forecast)

    model.train_function = train_function


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cpu-devices", type=int, default=1, help="where there is no GPU")
    parser.add_argument("--model", default="ms-predrnn")
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--out", help="where to save the trained model, a .keras file")
    arguments = parser.parse_args()

    scope, index, count = start(arguments.cpu_devices)
    digits = MovingMNIST(
        batch_size=4, batches=arguments.batches, context=3, horizon=3, size=32, fixed=True
    )
    with scope:
        model = keras_msrnn.build(
            arguments.model,
            filters=arguments.filters,
            scales=(1, 2, 1),
            patch_size=2,
            channels=1,
            seed=0,
        )
        if count > 1 and keras.backend.backend() == "torch":
            use_ddp(model)
        history = model.fit(
            Share(digits, index, count), epochs=arguments.epochs, shuffle=False, verbose=0
        )
    if index == 0:  # outside the scope, in which JAX expects all processes to do the same
        for epoch, loss in enumerate(history.history["loss"]):
            print(f"epoch {epoch + 1} loss {loss:.6f}")
        if arguments.out:
            model.save(arguments.out)


if __name__ == "__main__":
    main()
