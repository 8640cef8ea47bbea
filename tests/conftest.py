# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several test files share: tiny exported models, a photo, an environment without the user's settings."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: more threads make tiny shapes slower, on a busy machine tenfold


def _gpu() -> bool:
    if not Path("/dev/nvidiactl").exists():
        return False  # without the time that loading torch takes
    import torch

    return torch.cuda.is_available()


GPU = _gpu()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # read by triton when it is first imported

# Known when pytest reads --hypothesis-profile; for test_fuzz.py.
settings.register_profile("long", max_examples=2_000, deadline=None, database=None, suppress_health_check=list(HealthCheck))

from builders import TINY, photo  # noqa: E402  (behind the settings of torch and triton)


def pytest_collection_modifyitems(config, items):
    """Without a GPU the tests that need one are deselected, whatever -k or -m says."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if wanting and not GPU:
        config.hook.pytest_deselected(items=wanting)
        items[:] = [item for item in items if not item.get_closest_marker("gpu")]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch):
    for name in ("JAHP_FAST_BACKEND", "JAHP_FAST_ISA", "JAHP_FAST_MODELS"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def photo_crop():
    """(96, 128, 3) uint8 out of the photo that comes with the package."""
    return photo()[200:296, 300:428].copy()


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory, photo_crop):
    """Name -> model file with random weights (N = 8, M = 12), exported like a real one; see support.TINY."""
    import torch

    from jahp_fast.constants import BY_ROW
    from jahp_fast.export.state import export_state
    from jahp_fast.models import registry

    folder = tmp_path_factory.mktemp("models")
    paths = {}
    for seed, (name, case) in enumerate(TINY.items()):
        torch.manual_seed(seed)
        model = registry.build(case.architecture, 8, 12, rows=8)
        with torch.no_grad():
            model.gain.copy_(torch.linspace(3, 6, 8)[:, None].expand(8, 12))  # latents of 0.5 to 10
            model.inv_gain.copy_(-model.gain)
            for i in BY_ROW:
                for row, layer in enumerate(model.g_s[i].children()):
                    layer.weight.mul_(1 + row / 4)
        paths[name] = folder / f"{name}.safetensors"
        export_state(model.state_dict(), paths[name], photos=[photo_crop], form=case.form,
                     activation_bits=case.activation_bits, prob_bits=case.prob_bits)  # fmt: skip
    return paths
