"""Networks on disk: safetensors with the settings in their metadata, nothing that could run."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from invreg.io import InputError
from invreg.io.errors import words
from invreg.io.writing import replaced

KEY = "invreg"  # of the metadata, whose value is JSON
PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # those of torch.save among them


def save(path: Path, tensors: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write tensors by name with `about` (what JSON can hold); the file is whole or absent."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with replaced(path) as part:
        try:
            save_file(flat, part, metadata={KEY: json.dumps(about)})
        except SafetensorError as error:  # a full disk among others
            raise InputError(f"{path}: cannot be written ({words(error)}); make room and go on with --resume") from None


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors of a file that `save` wrote, and what it says about them. Raises InputError for any other."""
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({(error.strerror or 'an error').lower()})") from None
    if start.startswith(PICKLES):
        raise InputError(
            f"{path}: this is a pickle, as torch.save writes, which could run anything when it is loaded; expected a "
            "network in safetensors, as invreg train writes"
        )
    try:
        with safe_open(path, "pt") as file:
            about = (file.metadata() or {}).get(KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{path}: no safetensors file, or a truncated one ({words(error)}); copy it again or train it anew"
        ) from None
    if about is None:
        raise InputError(f"{path}: safetensors of another program; expected a network as invreg train writes")
    return tensors, json.loads(about)


def save_model(path: Path, model: nn.Module, about: dict[str, Any]) -> None:
    """Write the weights of a network alone, for use; `about` says its task and its settings."""
    save(path, dict(model.state_dict()), about)


def load_model(path: str | Path, task: str) -> tuple[nn.Module, dict[str, Any]]:
    """A trained network of `task`, ready for use, and what its file says about it.

    Raises InputError for a file that is missing, truncated, a pickle, or of something else.
    """
    from invreg.train.tasks import find

    path = Path(path)
    tensors, about = read(path)
    if about.get("task") != task:
        raise InputError(f"{path}: a network of {about.get('task', 'no task')}; expected one of {task}")
    if about.get("holds") != "network":
        raise InputError(f"{path}: this is for going on with training; take model.safetensors beside it")
    model = find(task).network(about["settings"])
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise InputError(f"{path}: its weights do not fit its settings; train it anew") from None
    return model.eval().requires_grad_(False), about


def flattened(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser as tensors by name."""
    state = optimiser.state_dict()["state"]
    return {f"{number}.{key}": value for number, part in state.items() for key, value in part.items()}


def restore(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Give an optimiser the state of `flattened`, laid out in memory as its parameters are."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, _, key = name.partition(".")
        p = parameters[int(number)]
        same = value.shape == p.shape
        state.setdefault(int(number), {})[key] = torch.empty_like(p).copy_(value) if same else value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
