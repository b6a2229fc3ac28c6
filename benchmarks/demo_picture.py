"""How long `mars demo` takes from start to end, and whether its picture opens.

python -m benchmarks.demo_picture
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import matplotlib.image
import numpy as np

from benchmarks.commands import run


def main() -> None:
    """Print the report as one line of JSON."""
    with tempfile.TemporaryDirectory() as scratch:
        picture = Path(scratch, "picture.png")
        started = time.perf_counter()
        report = run("demo", "--picture", picture)
        seconds = time.perf_counter() - started
        pixels = np.asarray(matplotlib.image.imread(picture))
    result = {
        "seconds": round(seconds, 1),
        "days": report["days"],
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "opens": bool(pixels.shape[1] >= 600 and pixels.std() > 0.01),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
