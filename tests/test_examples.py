"""Every example runs, from another folder, and its method beats the plain one it compares with."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.parametrize("script", EXAMPLES, ids=[p.stem for p in EXAMPLES])
def test_example(script, tmp_path):
    for package, sign in (("deepinv", "import deepinv"), ("optuna", '"tpe"')):
        if sign in script.read_text() and importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    plain, ours = (float(found) for found in re.findall(r"PSNR (\d+\.\d) dB", done.stdout))
    assert ours > plain + 4
