# SPDX-License-Identifier: Apache-2.0
"""Control points of one file; see the package's docstring."""

import argparse
import json
import sys
from pathlib import Path

from . import Model, Refused, __doc__, decode, parse

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("file", type=Path)
parser.add_argument("--model", type=Path, action="append", required=True)
args = parser.parse_args()
try:
    stream = parse(args.file.read_bytes())
    models = {model.id: model for model in map(Model, args.model)}
    if stream.model not in models:
        raise Refused(f"its model, {stream.model.hex()}, is not found")
    print(json.dumps(decode(stream, models[stream.model])[2], indent=1))
except Refused as refused:
    sys.exit(f"refused: {refused}")
