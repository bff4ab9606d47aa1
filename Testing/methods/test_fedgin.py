"""FedGIN: methods 1.8, items 8, 9 and 14; the augmentation itself is tested with `learning.gin`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from FedSegCore.learning import augment
from FedSegCore.methods import fedgin
from FedSegCore.methods.averaging import Averaging
from FedSegCore.methods.registry import named
from Testing.phantoms import TRAINING, Federation, equal, two_sites, updates

pytestmark = pytest.mark.usefixtures("one_thread")

GIN = replace(TRAINING, augment="gin", augment_probability=1.0)


def federation(folder: Path, method: Averaging, *, gin: bool, validation: int = 0) -> Federation:
    return Federation(folder, method, two_sites(training=GIN if gin else TRAINING, validation=validation))


def test_fedgin_is_fedavg_whose_training_augments_intensities() -> None:
    entry = named("fedgin", {})
    assert entry.method == fedgin.METHOD == Averaging()
    assert entry.augment == "gin"


def test_gin_adds_nothing_to_what_is_sent(tmp_path: Path) -> None:
    plain = federation(tmp_path / "plain", Averaging(), gin=False)
    gin = federation(tmp_path / "gin", fedgin.METHOD, gin=True)
    plain.run()
    gin.run()
    names = plain.server.model.state_dict().keys()
    assert all(weights.keys() == names for weights in updates(gin).values())
    for first, second in zip(plain.wire.up, gin.wire.up, strict=True):
        assert abs(len(first[2]) - len(second[2])) < 64  # a loss with other digits, nothing else


def test_gin_changes_the_training(tmp_path: Path) -> None:
    plain = federation(tmp_path / "plain", Averaging(), gin=False).run()
    assert not equal(plain.weights, federation(tmp_path / "gin", fedgin.METHOD, gin=True).run().weights)


def test_gin_touches_training_batches_only_never_a_validation_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched: list[bool] = []
    real = augment.apply_gin
    validating = [False]

    def heard(image: Tensor, draw: Any) -> Tensor:
        touched.append(validating[0])
        return real(image, draw)

    monkeypatch.setattr(augment, "apply_gin", heard)
    from FedSegCore.methods import ingredients

    validate = ingredients.validate

    def watched(*positional: Any, **options: Any) -> dict[str, float]:
        validating[0] = True
        found = validate(*positional, **options)
        validating[0] = False
        return found

    monkeypatch.setattr(ingredients, "validate", watched)
    run = federation(tmp_path, replace(fedgin.METHOD, recalibrate=True), gin=True, validation=2)
    run.run()
    trained = len(touched)
    assert trained == sum(2 * site.batches.steps for site in run.sites if site.batches)
    assert not any(touched)
    run.finish(run.run())
    assert len(touched) == trained, "neither validation nor recalibration augments"


def test_training_and_validation_cases_are_left_as_they_are(tmp_path: Path) -> None:
    run = federation(tmp_path, fedgin.METHOD, gin=True, validation=1)
    images = [case.image for site in run.sites for case in site.validation]
    images += [sample.image for site in run.sites if site.batches for sample in site.batches._samples]
    before = [image.clone() for image in images]
    run.run()
    assert all(torch.equal(*pair) for pair in zip(images, before, strict=True))
