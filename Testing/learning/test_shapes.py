"""The shapes and types in the signatures hold, checked by jaxtyping and beartype in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
import textwrap

SCRIPT = """
    from jaxtyping import TypeCheckError, install_import_hook

    names = ["losses", "gin", "intensity", "spatial"]
    with install_import_hook([f"FedSegCore.learning.{name}" for name in names], "beartype.beartype"):
        from FedSegCore.learning import gin, intensity, losses, spatial

    import torch

    for sides in ((6, 8), (6, 8, 4)):
        g = torch.Generator().manual_seed(0)
        image = torch.randn(4, 2, *sides)
        target = torch.zeros(4, 3, *sides, dtype=torch.uint8)
        annotated = torch.ones(4, 3, dtype=torch.bool)
        gin.apply_gin(image, gin.draw_gin(g, image.shape))
        intensity.apply_intensity(image, intensity.draw_intensity(g, image.shape))
        spatial.apply_spatial(image, target, spatial.draw_spatial(g, image.shape))
        for loss in losses.LOSSES.values():
            loss(target.float(), target, annotated)
            for wrong in (target.bool(), target[:, :1]):
                try:
                    loss(target.float(), wrong, annotated)
                except TypeCheckError:
                    continue
                raise SystemExit("a wrong target passed")
        losses.decode(torch.rand(3, *sides), overlapping=False)
"""


def test_signatures_are_true_in_two_and_three_dimensions() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
