from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from FedSegCore.data.batches import Batch, Batches, CachedCase
from FedSegCore.data.case import Dataset, read_dataset
from FedSegCore.data.labels import annotate
from FedSegCore.data.phantom import STYLES, write_phantom_dataset
from FedSegCore.data.plan import Plan
from FedSegCore.data.prepared import cache_case, input_sources
from FedSegCore.errors import DataError

PLAN = Plan(3, patch=(8, 8, 8))


def cached(sides: tuple[int, int, int], *, spot: int | None = 1, annotated: bool = True) -> CachedCase:
    """A case whose voxels count upwards from 1, with one voxel of structure 0 at (spot, spot, spot)."""
    image = torch.arange(1, math.prod(sides) + 1, dtype=torch.float32).view(1, *sides)
    target = torch.zeros(2, *sides, dtype=torch.uint8)
    if spot is not None:
        target[0, spot, spot, spot] = 1
    return CachedCase("case", image, target, torch.tensor([annotated, True]))


def epoch(batches: Batches, seed: int = 0) -> list[Batch]:
    return list(batches.epoch(torch.Generator().manual_seed(seed)))


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.image, b.image) and torch.equal(a.target, b.target)
        for a, b in zip(one, other, strict=True)
    )


@given(
    cases=st.integers(1, 9),
    batch_size=st.integers(1, 5),
    dims=st.sampled_from([2, 3]),
    depth=st.integers(1, 4),
)
@settings(max_examples=40, deadline=None)
def test_steps_follow_from_the_number_of_samples_and_the_batch_size_alone(
    cases: int, batch_size: int, dims: int, depth: int
) -> None:
    every = [cached((5, 6, depth), spot=0 if index % 2 else None) for index in range(cases)]
    batches = Batches(every, patch=(8, 4, 4)[:dims], batch_size=batch_size, dims=dims)
    samples = cases if dims == 3 else cases * depth
    found = epoch(batches)
    assert batches.num_cases == cases
    assert batches.num_samples == samples
    assert len(found) == batches.steps == math.ceil(samples / batch_size)
    assert all(batch.image.shape[1:] == (1, *(8, 4, 4)[:dims]) for batch in found)
    assert all(len(batch.image) <= batch_size for batch in found)


def test_an_epoch_visits_every_volume_once() -> None:
    every = [
        dataclasses.replace(cached((4, 4, 4)), image=torch.full((1, 4, 4, 4), float(i))) for i in range(7)
    ]
    images = torch.cat(
        [batch.image for batch in epoch(Batches(every, patch=(4, 4, 4), batch_size=3, dims=3))]
    )
    assert sorted(images[:, 0, 0, 0, 0].tolist()) == list(range(7))


@pytest.mark.parametrize("dims", [2, 3])
def test_equal_generators_give_equal_batches_and_epochs_differ(dims: int) -> None:
    every = [cached((12, 11, 10), spot=spot) for spot in (1, 5, None)]
    batches = Batches(every, patch=(6, 6, 6)[:dims], batch_size=2, dims=dims)
    assert same(epoch(batches), epoch(batches))
    assert not same(epoch(batches), epoch(batches, seed=1))
    generator = torch.Generator().manual_seed(0)
    assert not same(list(batches.epoch(generator)), list(batches.epoch(generator)))


@given(
    sides=st.tuples(*[st.integers(3, 14)] * 3),
    patch=st.tuples(*[st.sampled_from([4, 8])] * 3),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_a_third_of_every_batch_holds_the_foreground_and_image_and_target_stay_together(
    sides: tuple[int, int, int], patch: tuple[int, int, int], seed: int
) -> None:
    case = cached(sides, spot=2)
    for batch in epoch(Batches([case] * 5, patch=patch, batch_size=5, dims=3), seed):
        holds = batch.target[:, 0].flatten(1).any(1)
        assert holds.sum() >= 2
        assert torch.all(batch.image[:, 0][batch.target[:, 0] > 0] == case.image[0, 2, 2, 2])


def test_padding_is_centred_and_holds_each_channels_minimum_and_no_structure() -> None:
    case = cached((4, 4, 4))
    two = dataclasses.replace(case, image=torch.cat([case.image, -case.image]))
    (batch,) = epoch(Batches([two], patch=(8, 4, 6), batch_size=1, dims=3))
    assert torch.equal(batch.image[0, :, 2:6, :, 1:5], two.image)
    assert torch.equal(batch.target[0, :, 2:6, :, 1:5], two.target)
    assert batch.image[0, :, 0, 0, 0].tolist() == [1.0, -64.0]
    assert batch.target.sum() == two.target.sum()


def test_a_case_that_holds_the_patch_is_not_copied() -> None:
    case = cached((8, 9, 10))
    made = Batches([case], patch=(8, 8, 8), batch_size=1, dims=3)
    assert made._samples[0].image is case.image and made._samples[0].target is case.target


def test_every_position_of_a_patch_is_drawn() -> None:
    batches = Batches([cached((6, 4, 4), spot=None)], patch=(4, 4, 4), batch_size=1, dims=3)
    starts = {float(epoch(batches, seed)[0].image.min()) for seed in range(40)}
    assert starts == {1.0, 17.0, 33.0}


def test_only_annotated_structures_count_as_foreground() -> None:
    case = cached((20, 4, 4), spot=2, annotated=False)
    batches = Batches([case] * 30, patch=(4, 4, 4), batch_size=30, dims=3)
    assert epoch(batches)[0].target[:, 0].flatten(1).any(1).sum() < 20


@given(
    batch_size=st.integers(2, 7), filled=st.integers(1, 9), empty=st.integers(1, 9), seed=st.integers(0, 99)
)
@settings(max_examples=40, deadline=None)
def test_every_batch_of_slices_holds_one_with_and_one_without_foreground(
    batch_size: int, filled: int, empty: int, seed: int
) -> None:
    case = cached((4, 4, filled + empty), spot=None)
    case.target[0, 1, 1, :filled] = 1
    for batch in epoch(Batches([case], patch=(4, 4), batch_size=batch_size, dims=2), seed):
        holds = batch.target[:, 0].flatten(1).any(1)
        assert 1 <= holds.sum() < batch_size
        assert len(batch.image) == batch_size


@pytest.mark.parametrize("value", [0, 1])
def test_slices_all_of_one_kind_are_each_visited_once(value: int) -> None:
    case = cached((4, 4, 5), spot=None)
    case.target[0] = value
    images = torch.cat([batch.image for batch in epoch(Batches([case], patch=(4, 4), batch_size=2, dims=2))])
    assert sorted(images[:, 0, 0, 0].tolist()) == case.image[0, 0, 0].tolist()


def test_no_cases_are_refused() -> None:
    with pytest.raises(DataError, match="training case"):
        Batches([], patch=(4, 4, 4), batch_size=1, dims=3)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_batch_reaches_the_gpu_unchanged() -> None:
    (batch,) = epoch(Batches([cached((4, 4, 4))], patch=(4, 4, 4), batch_size=1, dims=3))
    assert torch.equal(batch.to("cuda").image.cpu(), batch.image)


def test_a_batch_moves_to_the_meta_device() -> None:
    (batch,) = epoch(Batches([cached((4, 4, 4))], patch=(4, 4, 4), batch_size=1, dims=3))
    assert batch.to("meta").target.device.type == "meta"


@pytest.mark.parametrize(
    ("inputs", "owned", "channels", "expected"),
    [
        (["CT"], ["MR"], ["MR"], (0,)),
        (["CT"], ["T2"], ["T1", "T2"], (1,)),
        (["T1", "T2"], ["T2", "T1"], ["T2", "T1"], (1, 0)),
        (["T1", "T2"], ["T2"], ["T1", "T2"], (None, 1)),
        (["T1", "T2", "FLAIR"], ["FLAIR"], ["FLAIR"], (None, None, 0)),
    ],
)
def test_channels_find_their_inputs(
    inputs: list[str], owned: list[str], channels: list[str], expected: tuple[int | None, ...]
) -> None:
    assert input_sources(inputs, owned=owned, channel_names=channels) == expected


def test_an_owned_modality_that_the_dataset_lacks_names_the_nearest() -> None:
    with pytest.raises(DataError) as raised:
        input_sources(["T1", "T2"], owned=["FLIAR"], channel_names=["T1", "FLAIR"])
    assert '"FLAIR"' in raised.value.fix


def test_a_site_without_any_of_the_inputs_is_refused() -> None:
    with pytest.raises(DataError, match="inputs"):
        input_sources(["T1", "T2"], owned=["CT"], channel_names=["CT"])


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    styles = [STYLES["t1"], STYLES["t2"]]
    shape = (10, 12, 8)
    return read_dataset(write_phantom_dataset(tmp_path, cases=2, seed=0, style=styles, shape=shape))


def load(dataset: Dataset, *, channels: tuple[int | None, ...] = (0, 1), plan: Plan = PLAN) -> CachedCase:
    annotation = annotate(["Kidney", "Spleen", "Liver"], dataset.labels)
    return cache_case(dataset.training[0], dataset, plan, annotation, channels=channels)


def prepared_channel(dataset: Dataset, channel: int) -> Tensor:
    return load(dataset, channels=(channel,)).image[0]


def test_a_case_is_cached_with_its_annotated_structures_in_the_studys_order(dataset: Dataset) -> None:
    case = load(dataset)
    label_map = np.asarray(nib.load(dataset.training[0].label).dataobj)  # type: ignore[arg-type]
    assert case.annotated.tolist() == [True, False, True]
    assert np.array_equal(case.target[0].numpy(), label_map == 2)
    assert np.array_equal(case.target[2].numpy(), label_map == 1)
    assert case.target[1].sum() == 0
    assert (case.image.dtype, case.target.dtype) == (torch.float32, torch.uint8)


def test_absent_inputs_are_zero_and_present_ones_in_the_inputs_order(dataset: Dataset) -> None:
    image = load(dataset, channels=(1, None, 0)).image
    assert torch.equal(image[0], prepared_channel(dataset, 1))
    assert torch.all(image[1] == 0)
    assert torch.equal(image[2], prepared_channel(dataset, 0))


def test_a_case_without_a_label_or_a_channel_is_refused(dataset: Dataset) -> None:
    bare = dataclasses.replace(dataset.training[0], label=None)
    annotation = annotate(["Liver"], dataset.labels)
    with pytest.raises(DataError, match="label map"):
        cache_case(bare, dataset, PLAN, annotation, channels=[0])
    with pytest.raises(DataError, match="channel"):
        cache_case(dataset.training[0], dataset, PLAN, annotation, channels=[None])


@pytest.mark.parametrize("fault", ["shape", "affine"])
def test_a_label_on_another_grid_is_refused(dataset: Dataset, fault: str) -> None:
    path = dataset.training[0].label
    assert path is not None
    image = nib.load(path)
    array = np.asarray(image.dataobj)  # type: ignore[attr-defined]
    affine = image.affine.copy()  # type: ignore[attr-defined]
    affine[0, 3] += 5.0 if fault == "affine" else 0.0
    nib.Nifti1Image(array[1:] if fault == "shape" else array, affine).to_filename(path)
    with pytest.raises(DataError, match="grid"):
        load(dataset)


def test_training_never_reads_a_file(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = Batches([load(dataset)], patch=(8, 8, 8), batch_size=1, dims=3)

    def refuse(*_: object) -> None:
        raise AssertionError("a file was read")

    monkeypatch.setattr("FedSegCore.data.reading.read_volume", refuse)
    monkeypatch.setattr("builtins.open", refuse)
    assert len(epoch(batches)) == 1


def test_a_stack_of_slices_is_cached_as_a_volume_and_visited_slice_by_slice(dataset: Dataset) -> None:
    case = load(dataset, plan=Plan(2, patch=(16, 16)))
    batches = Batches([case], patch=(16, 16), batch_size=3, dims=2)
    assert case.image.shape == (2, 10, 12, 8)
    assert batches.num_samples == 8
    assert all(batch.image.shape[1:] == (2, 16, 16) for batch in epoch(batches))
