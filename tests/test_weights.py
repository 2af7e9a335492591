"""The networks that come with invreg: found by name, small, described, and as good as their cards say."""

import re
from pathlib import Path

import pytest

from invreg import weights
from invreg.io import InputError
from invreg.train.checkpoints import load_model, read


def test_a_network_is_found_by_its_name_or_its_path(tmp_path):
    assert weights.path("lpn-natural-0.05") == weights.FOLDER / "lpn-natural-0.05.safetensors"
    own = tmp_path / "own.safetensors"
    own.write_bytes(b"")
    assert weights.path(own) == own and weights.path(str(own)) == own
    gone = tmp_path / "gone.safetensors"
    assert weights.path(gone) == gone
    with pytest.raises(InputError, match=r"lpn-naturel: neither a file nor one of the networks of invreg, .*lpn-nat"):
        weights.path("lpn-naturel")


@pytest.mark.parametrize("name", weights.names())
def test_it_has_a_card_with_its_figures(name):
    file = weights.path(name)
    assert file.stat().st_size < 10 * 2**20
    about = read(file)[1]
    model, _ = load_model(file, about["task"])
    assert not any(p.requires_grad for p in model.parameters())
    card = Path(file.with_suffix(".md")).read_text()
    assert f"{about['figures']['PSNR']:.2f} dB" in card and f"{about['figures']['PSNR of the noisy']:.2f} dB" in card
    assert f"sigma {about['settings']['noise']['sigma']:g}" in card and f"{about['step']} steps" in card
    assert re.search(r"licen[cs]e", card, re.I) and "small model trained on a CPU" in card
