# SPDX-License-Identifier: Apache-2.0
"""A dataset of .jahp files for torch.utils.data: decoded in the workers of a DataLoader, one thread each.

    from jahp_fast.integrations.torch_data import JahpDataset
    loader = torch.utils.data.DataLoader(JahpDataset("photos", transform=crop), batch_size=16, num_workers=4)

Workers may be forked or spawned: each makes its own codec when it decodes its first image.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from jahp_fast.errors import FormatError, UsageError
from jahp_fast.files.view import checked_scale
from jahp_fast.local import codec_for, settings

PathLike = str | os.PathLike[str]


class JahpDataset(Dataset[Any]):
    """Images as uint8 tensors (3, H, W); (1, H, W) for grey, (4, H, W) with alpha.

    Args:
        source: a folder, searched in depth for *.jahp, in order of the paths; or the files themselves.
        transform: of each tensor, in the worker; its result is the item.
        models: model files, looked through before the folders of JAHP_FAST_MODELS and the package's own.
        scale: 1, 2, 4, 8 or 16: divide the images' sides by it (Codec.decode).

    Raises UsageError for a folder that has no .jahp files. Items raise FormatError with the file's name for a damaged file.
    """

    def __init__(
        self,
        source: PathLike | Iterable[PathLike],
        transform: Callable[[torch.Tensor], Any] | None = None,
        models: Sequence[PathLike] = (),
        scale: int = 1,
    ) -> None:
        if isinstance(source, (str, os.PathLike)):
            self.files = sorted(Path(source).rglob("*.jahp"))
            if not self.files:
                raise UsageError(f"{os.fspath(source)} is not a folder with .jahp files in it")
        else:
            self.files = [Path(path) for path in source]
        self.transform, self._scale = transform, checked_scale(scale)
        self._settings = settings(models=models)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        path = self.files[index]
        try:
            image = codec_for(self._settings).decode_tensor(path.read_bytes(), scale=self._scale)
        except OSError as e:
            raise FormatError(f"cannot read {path}: {e.strerror}") from None
        except FormatError as e:
            raise FormatError(f"{path}: {e}") from None
        return image if self.transform is None else self.transform(image)
