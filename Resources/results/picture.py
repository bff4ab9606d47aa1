"""Draw the median test case of a finished run: scan, expert, global model, personal model.

    python Resources/results/picture.py STUDY.toml DIR -o Resources/figures/median_case.png

The median is by the personal model's mean Dice over the test cases of all members: neither the best nor the worst.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import nibabel as nib
import numpy as np
from matplotlib.axes import Axes

from FedSegCore.inference.modelfile import load_model
from FedSegCore.report.overlays import LABEL_COLOURS, CrossSection, Overlay, cross_section
from FedSegCore.setting import Setting, SiteData, read_setting
from FedSegCore.simulation.scoring import measure, read_test_cases
from FedSegCore.study import read_study


def main() -> None:
    """Find the median case and draw it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    setting = read_setting(read_study(arguments.study))
    personal = [
        one for data in setting.with_role("member") for one in cases(setting, data, own(arguments.run, data))
    ]
    personal.sort(key=lambda one: one.dice)
    median = personal[len(personal) // 2]
    data = next(data for data in setting.sites if data.site.name == median.site)
    shared = cases(setting, data, arguments.run / "models" / "global.safetensors")
    draw(median, next(one for one in shared if one.case == median.case), arguments.out)


def own(run: Path, data: SiteData) -> Path:
    """The file of a site's personal model."""
    return run / "sites" / data.site.name / "personal.safetensors"


def cases(setting: Setting, data: SiteData, model: Path) -> list[Overlay]:
    """Every test case of a site with one model's prediction."""
    found = []
    for measured in measure(load_model(model), setting, data, read_test_cases(setting, data, data.test)):
        case = measured.case
        orientation = "".join(nib.orientations.aff2axcodes(case.geometry.affine))
        found.append(
            Overlay(
                "",
                data.site.name,
                case.name,
                measured.dice,
                case.scan,
                case.reference,
                measured.prediction,
                setting.labels,
                case.spacing_mm,
                orientation,
            )
        )
    return found


def draw(personal: Overlay, shared: Overlay, out: Path) -> None:
    """Four panels of one slice."""
    # One section for all panels, cut around what the expert and either model drew.
    both = replace(personal, prediction=np.concatenate([shared.prediction, personal.prediction]))
    cut = cross_section(both)
    count = len(personal.labels)
    panels = {
        "Scan": None,
        "Expert's drawing": cut.reference,
        f"Global model, Dice {shared.dice:.2f}": cut.prediction[:count],
        f"Personal model, Dice {personal.dice:.2f}": cut.prediction[count:],
    }
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.4), facecolor="white")
    for axis, (title, masks) in zip(axes, panels.items(), strict=True):
        _panel(axis, cut, masks)
        axis.set_title(title, fontsize=11)
    for label, colour in zip(personal.labels, LABEL_COLOURS, strict=False):
        axes[1].plot([], [], color=colour, linewidth=6, label=label)
    figure.legend(loc="lower center", ncols=len(personal.labels), frameon=False, fontsize=10)
    figure.subplots_adjust(left=0.01, right=0.99, top=0.9, bottom=0.1, wspace=0.03)
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=110)
    print(f"{out}: case {personal.case} of {personal.site}")


def _panel(axis: Axes, cut: CrossSection, masks: np.ndarray | None) -> None:
    rows, columns = cut.image.shape
    height, width = cut.pixel_mm
    extent = (0, columns * width, rows * height, 0)
    axis.imshow(cut.image, cmap="gray", extent=extent, interpolation="bicubic")
    for mask, colour in zip(masks if masks is not None else (), LABEL_COLOURS, strict=False):
        axis.contourf(np.arange(columns) * width + width / 2, np.arange(rows) * height + height / 2,
                      mask.astype(float), levels=[0.5, 1], colors=[colour], alpha=0.45)  # fmt: skip
        axis.contour(np.arange(columns) * width + width / 2, np.arange(rows) * height + height / 2,
                     mask.astype(float), levels=[0.5], colors=[colour], linewidths=1.6)  # fmt: skip
    axis.set_axis_off()


if __name__ == "__main__":
    main()
