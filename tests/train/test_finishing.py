# SPDX-License-Identifier: Apache-2.0
"""A finished decoder in the place of a model file's own: payloads stay, pixels are those of the new floats."""

import numpy as np
import pytest
import torch
from PIL import Image

from jahp_fast import Codec
from jahp_fast.cli import main
from jahp_fast.entropy.model_file import ModelFile
from jahp_fast.errors import UsageError
from jahp_fast.export.finishing import part_way, with_decoder
from jahp_fast.export.model import dequantise
from jahp_fast.export.state import export_state
from jahp_fast.files import container
from jahp_fast.models import registry


@pytest.fixture(scope="module")
def crop(photo_crop):
    return photo_crop[:64, :80]


@pytest.fixture
def before(tmp_path, crop):
    torch.manual_seed(0)
    model = registry.build("mbt2018", 8, 12, rows=8)
    with torch.no_grad():
        model.gain.copy_(torch.linspace(4, 6, 8)[:, None].expand(8, 12))
        model.inv_gain.copy_(-model.gain)
    export_state(model.state_dict(), tmp_path / "before.safetensors", photos=[crop])
    return tmp_path / "before.safetensors"


def finished(path):
    """Its floats, with another g_s."""
    model = registry.from_state_dict(dequantise(path)[1]).eval()
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.g_s.parameters():
            parameter.mul_(1 + 0.2 * torch.rand_like(parameter))
    return model


def test_payloads_stay(before, tmp_path, crop):
    model, after = finished(before), tmp_path / "after.safetensors"
    identity = with_decoder(before, model, after, [crop])
    old, new = ModelFile(before), ModelFile(after)
    new.verify()
    assert new.id == identity != old.id
    changed = {name for name in old.names if not np.array_equal(old._read(name), new._read(name))}
    assert changed <= {n for n in old.names if n.startswith(("transform.g_s.", "transform.inv_gain", "train.g_s.unit", "search."))}
    assert set(new.names) == set(old.names)
    for quality in (1, 4.5, 8):
        codecs = [Codec(path.stem, quality, models=[path], threads=1, drawings=False) for path in (before, after)]
        streams = [container.unpack(codec.encode(crop), None) for codec in codecs]
        assert streams[0].payload == streams[1].payload
        assert streams[0].checksum == streams[1].checksum
        latents = codecs[1].decode_latents(codecs[1].encode(crop))
        if quality == 4.5:
            continue
        row = int(quality) - 1
        with torch.no_grad():
            y = torch.from_numpy(latents.y.astype(np.float32))[None]
            y = y * model.inv_gain[row].exp()[:, None, None]
            for i, layer in enumerate(model.g_s):
                y = layer(y, torch.tensor([row])) if i in (4, 6) else layer(y)
        wanted = (y[0].permute(1, 2, 0).clamp(0, 1) * 255).numpy()
        assert np.abs(codecs[0].decode(codecs[0].encode(crop)) - wanted).max() > 3
        assert np.abs(codecs[1].decode(codecs[1].encode(crop)) - wanted).max() < 1.5
    back = registry.from_state_dict(dequantise(after)[1])
    assert torch.allclose(back.g_s[0].weight, model.g_s[0].weight, rtol=1e-2, atol=1e-3)


def test_a_decoder_of_another_size(before, tmp_path, crop):
    with pytest.raises(UsageError, match="g_s alone can be put in its place"):
        with_decoder(before, registry.build("mbt2018", 9, 12, rows=8), tmp_path / "out.safetensors", [crop])
    assert not (tmp_path / "out.safetensors").exists()


def test_part_of_the_way(before):
    model, own = finished(before), registry.from_state_dict(dequantise(before)[1])
    ends = [{name: tensor.clone() for name, tensor in one.state_dict().items()} for one in (own, model)]
    part_way(before, model, 0.25)
    for name, tensor in model.state_dict().items():
        want = 0.75 * ends[0][name] + 0.25 * ends[1][name] if name.startswith("g_s.") else ends[1][name]
        assert torch.allclose(tensor, want, rtol=1e-5, atol=1e-7), name
    other = finished(before)
    part_way(before, other, 1)
    assert all(torch.equal(tensor, ends[1][name]) for name, tensor in other.state_dict().items())
    for share in (0, -1, 1.01, float("nan")):
        with pytest.raises(UsageError, match="a share must be above 0 and at most 1"):
            part_way(before, other, share)
    with pytest.raises(UsageError, match="g_s alone can be put in its place"):
        part_way(before, registry.build("mbt2018", 9, 12, rows=8), 0.5)


@pytest.mark.slow
def test_by_the_command(before, tmp_path, crop, capsys):
    torch.save(finished(before).state_dict(), tmp_path / "finished.pt")
    (tmp_path / "photos").mkdir()
    for i in range(12):
        Image.fromarray(np.roll(crop, 5 * i, 1)).save(tmp_path / f"photos/{i}.png")
    out = tmp_path / "out.safetensors"
    command = ["export", str(tmp_path / "finished.pt"), str(out), "--photos", str(tmp_path / "photos"), "--onto", str(before)]
    assert main([*command, "--calibrate", "2", "--measure", "1"]) == 0
    assert "rounding g_s, on 2 photos" in capsys.readouterr().out
    assert any(name.startswith("view.") for name in ModelFile(out).names)
    halfway = tmp_path / "half.safetensors"
    assert main([*command[:2], str(halfway), *command[3:], "--share", "0.5", "--calibrate", "2", "--measure", "1"]) == 0
    weights = [dequantise(path)[1]["g_s.0.weight"] for path in (before, halfway, out)]
    assert torch.allclose(weights[1], (weights[0] + weights[2]) / 2, rtol=1e-2, atol=1e-3)
    assert main([*command, "--force", "--finetune", "5"]) == 1
    assert "--onto leaves all but g_s as it is" in capsys.readouterr().err
    assert main([*command[:-2], "--share", "0.5", "--force"]) == 1
    assert "--share is for --onto" in capsys.readouterr().err
    assert main([*command, "--force", "--form", "B"]) == 1
    assert "--onto keeps the model file's form and bits" in capsys.readouterr().err
