"""The processes that train together, one a device, as torchrun starts them."""

import os

import torch
from torch import Tensor, distributed, nn

from invreg.io import InputError


class Processes:
    """This process among all that train; alone unless torchrun started it (its environment says so).

    device: its own, with `cuda` the GPU of its number on the machine. Raises InputError where there is no such device,
    and where the batch cannot be shared out evenly.
    """

    def __init__(self, device: str, batch: int) -> None:
        self.count, self.number = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError("train.device=cuda: torch finds no GPU here; invreg doctor says why, or use --device cpu")
        if batch % self.count:
            raise InputError(f"train.batch={batch} cannot be shared by {self.count} processes; take a multiple of it")
        if device == "cuda" and self.count > 1:
            device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        self.device = torch.device(device)
        if device.startswith("cuda"):
            try:
                torch.cuda.set_device(self.device)
            except RuntimeError:
                count = torch.cuda.device_count()
                raise InputError(f"train.device={device}: there are {count} GPUs here, counted from 0") from None

    def __enter__(self) -> "Processes":
        if self.count > 1:
            distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
        return self

    def __exit__(self, *_: object) -> None:
        if self.count > 1:
            distributed.destroy_process_group()

    @property
    def first(self) -> bool:
        """True of the one that writes and talks."""
        return self.number == 0

    def share(self, batch: int) -> range:
        """The items of a batch that are this one's."""
        n = batch // self.count
        return range(self.number * n, (self.number + 1) * n)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model with gradients that are means over all processes."""
        return nn.parallel.DistributedDataParallel(model) if self.count > 1 else model

    def mean(self, values: Tensor) -> Tensor:
        """Means of a tensor over the processes."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values / self.count

    def wait(self) -> None:
        """Go on when all are here."""
        if self.count > 1:
            distributed.barrier()
