from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from FedSegCore.data.io import read_volume
from FedSegCore.data.legend import read_legend
from FedSegCore.data.plan import Intensity, Plan, undo
from FedSegCore.data.segments import read_segments
from FedSegCore.data.volume import Volume
from FedSegCore.errors import DataError, UsageError
from FedSegCore.inference.modelfile import Model, ModelHeader, assemble
from FedSegCore.inference.segment import (
    match_modalities,
    read_case,
    restore,
    segment_volumes,
    write_segmentation,
)
from FedSegCore.learning.losses import decode
from Testing.inference.conftest import MakeWeights

pytestmark = pytest.mark.usefixtures("one_thread")

Image = list[tuple[str | None, Path]]


def volume(shape: tuple[int, int, int] = (12, 10, 9), *, seed: int = 0) -> Volume:
    array = np.random.default_rng(seed).normal(50, 40, shape).astype(np.float32)
    return Volume(array, np.diag([2.0, 2.0, 2.0, 1.0]))


def model_of(header: ModelHeader, weights: dict[str, torch.Tensor]) -> Model:
    return Model(header, assemble(header, weights).eval())


@pytest.mark.parametrize("shape", [(8, 8, 8), (5, 6, 3), (21, 9, 8), (17, 18, 19)])
@pytest.mark.parametrize("dims", [2, 3])
def test_a_result_has_the_images_shape_smaller_or_larger_than_the_patch(
    dims: int, shape: tuple[int, int, int], header: ModelHeader, two_d: ModelHeader, weights_of: MakeWeights
) -> None:
    chosen = header if dims == 3 else two_d
    found = segment_volumes(model_of(chosen, weights_of(chosen)), {"CT": volume(shape)})
    assert found.regions.shape == (2, *shape) and found.label_map.shape == shape
    assert found.label_map.dtype == np.uint8


def test_in_2d_a_slice_is_segmented_as_if_it_were_alone(two_d: ModelHeader, weights_of: MakeWeights) -> None:
    plan = replace(two_d.plan, intensity={"CT": Intensity("window", -100.0, 200.0)})
    chosen = replace(two_d, plan=plan)
    model, whole = model_of(chosen, weights_of(chosen)), volume((10, 12, 20))
    together = segment_volumes(model, {"CT": whole}).regions
    assert together.any()
    for z in (0, 7, 19):
        alone = segment_volumes(model, {"CT": Volume(whole.array[:, :, z : z + 1], whole.affine)}).regions
        assert np.array_equal(together[..., z : z + 1], alone)


def test_structures_exclude_each_other_unless_they_overlap(
    header: ModelHeader, weights_of: MakeWeights
) -> None:
    weights = weights_of(header, logits=(8.0, 9.0))
    exclusive = segment_volumes(model_of(header, weights), {"CT": volume()})
    assert not exclusive.regions[0].any() and exclusive.regions[1].all()
    overlapping = replace(header, overlapping=True)
    both = segment_volumes(model_of(overlapping, weights), {"CT": volume()})
    assert both.regions.all()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_inner_of_two_regions_is_painted_over_the_outer_one_in_any_order(
    order: tuple[int, int], header: ModelHeader, monkeypatch: pytest.MonkeyPatch, weights_of: MakeWeights
) -> None:
    outer, inner = np.zeros((12, 10, 9), bool), np.zeros((12, 10, 9), bool)
    outer[2:10, 2:8, 2:7], inner[4:6, 4:6, 4:6] = True, True
    regions = np.stack([(outer, inner)[place] for place in order])
    monkeypatch.setattr("FedSegCore.inference.segment.restore", lambda *_: regions)
    found = segment_volumes(model_of(replace(header, overlapping=True), weights_of(header)), {"CT": volume()})
    values = [header.labels[order.index(place)][1] for place in (0, 1)]
    assert (found.label_map[inner] == values[1]).all()
    assert (found.label_map[outer & ~inner] == values[0]).all()


@pytest.mark.parametrize("overlapping", [False, True])
@pytest.mark.parametrize("known", [("Liver", "Kidney", "Spleen"), ("Liver", "Spleen")])
def test_masks_made_one_map_at_a_time_are_those_decoded_from_all(
    header: ModelHeader, overlapping: bool, known: tuple[str, ...]
) -> None:
    labels = (("Liver", 1), ("Kidney", 2), ("Spleen", 3))
    wide = replace(header, labels=labels, known=known, overlapping=overlapping)
    geometry = header.plan.geometry((12, 10, 9), np.diag([-1.0, 3.0, 2.0, 1.0]))
    shape = (3, *geometry.prepared_shape)
    levels = torch.randint(0, 9, shape, generator=torch.Generator().manual_seed(3))
    probabilities = levels / 8  # many are equal, of each other and of 0.5
    on_grid = torch.from_numpy(undo(probabilities.numpy(), geometry))
    on_grid[[name not in known for name, _ in labels]] = 0.0
    expected = decode(on_grid, overlapping=overlapping).numpy()
    assert np.array_equal(restore(wide, probabilities, geometry), expected)


def test_a_structure_that_the_model_never_learnt_stays_empty(
    header: ModelHeader, weights_of: MakeWeights
) -> None:
    half = replace(header, known=("Kidney",))
    found = segment_volumes(model_of(half, weights_of(half, logits=(9.0, 8.0))), {"CT": volume()})
    assert not found.regions[0].any() and found.regions[1].all()
    assert set(np.unique(found.label_map)) == {2}


def regions_of(model: Model, images: dict[str, Volume]) -> np.ndarray:
    return segment_volumes(model, images).regions


@pytest.fixture
def two_modal(header: ModelHeader) -> ModelHeader:
    """T1 and FLAIR."""
    plan = Plan(dims=3, spacing_mm=(2.0, 2.0, 2.0), patch=(8, 8, 8))
    return replace(header, inputs=(("T1",), ("FLAIR",)), owned=("T1", "FLAIR"), plan=plan)


def test_each_image_goes_to_its_own_input_in_whatever_order_it_is_given(
    two_modal: ModelHeader, weights_of: MakeWeights
) -> None:
    model = model_of(two_modal, weights_of(two_modal))
    t1, flair = volume(seed=1), volume(seed=2)
    one = regions_of(model, {"T1": t1, "FLAIR": flair})
    assert np.array_equal(one, regions_of(model, {"FLAIR": flair, "T1": t1}))
    assert not np.array_equal(one, regions_of(model, {"T1": flair, "FLAIR": t1}))


def test_a_personal_model_is_given_only_what_its_owner_trained_with(
    two_modal: ModelHeader, weights_of: MakeWeights
) -> None:
    personal = replace(two_modal, owned=("T1",))
    model = model_of(personal, weights_of(personal))
    t1, flair = volume(seed=1), volume(seed=2)
    assert np.array_equal(regions_of(model, {"T1": t1, "FLAIR": flair}), regions_of(model, {"T1": t1}))
    everyone = model_of(two_modal, weights_of(two_modal))
    assert not np.array_equal(regions_of(everyone, {"T1": t1, "FLAIR": flair}), regions_of(model, {"T1": t1}))


def test_images_are_matched_to_modalities_by_name(two_modal: ModelHeader, header: ModelHeader) -> None:
    a, b = Path("a.nii.gz"), Path("b.nii.gz")
    assert match_modalities(two_modal, [("FLAIR", a), ("T1", b)]) == {"FLAIR": a, "T1": b}
    personal = replace(two_modal, owned=("T1",))
    assert match_modalities(personal, [("T1", a)]) == {"T1": a}, "what its owner lacked is fed as zero"
    assert match_modalities(personal, [("T1", a), ("FLAIR", b)]) == {"T1": a, "FLAIR": b}
    assert match_modalities(header, [(None, a)]) == {"CT": a}
    alike = replace(header, inputs=(("MR", "T1"),))
    assert match_modalities(alike, [(None, a)]) == {"MR": a}, "both are prepared alike"


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ([(None, Path("a"))], "--image T1=FILE --image FLAIR=FILE"),
        ([(None, Path("a")), (None, Path("b"))], "takes 2 images"),
        ([("T2", Path("a"))], '"T2"'),
        ([("T1", Path("a")), ("T1", Path("b"))], "Two images"),
        ([("T1", Path("a"))], "--image FLAIR=FILE"),
    ],
)
def test_a_number_or_name_of_images_that_does_not_fit_is_refused(
    images: Image, told: str, two_modal: ModelHeader
) -> None:
    with pytest.raises(UsageError) as caught:
        match_modalities(two_modal, images)
    assert told in str(caught.value)


def test_a_personal_model_without_any_image_that_it_knows_is_refused(two_modal: ModelHeader) -> None:
    with pytest.raises(UsageError, match="learnt from T1 alone"):
        match_modalities(replace(two_modal, owned=("T1",)), [("FLAIR", Path("a"))])


def test_a_model_of_ct_and_mr_asks_which_the_image_is(header: ModelHeader) -> None:
    with pytest.raises(UsageError, match="prepared differently"):
        match_modalities(replace(header, inputs=(("CT", "MR"),)), [(None, Path("a"))])


def test_images_of_one_case_on_two_grids_are_refused(two_modal: ModelHeader, weights_of: MakeWeights) -> None:
    model = model_of(two_modal, weights_of(two_modal))
    with pytest.raises(DataError):
        segment_volumes(model, {"T1": volume(), "FLAIR": volume((12, 10, 8))})


def test_an_image_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.nii"):
        read_case({"CT": tmp_path / "nowhere.nii"})


def test_a_label_map_says_what_its_values_cover_and_where_slices_are_stacked(
    header: ModelHeader, two_d: ModelHeader, weights_of: MakeWeights, tmp_path: Path
) -> None:
    for dims, one in ((2, two_d), (3, header)):
        overlapping = replace(one, overlapping=True)
        found = segment_volumes(
            model_of(overlapping, weights_of(overlapping, logits=(8.0, 9.0))), {"CT": volume()}
        )
        write_segmentation(tmp_path / "a.nii.gz", found, like=volume(), header=overlapping)
        legend = read_legend(tmp_path / "a.nii.gz")
        assert legend is not None and legend.slices_along == ("S" if dims == 2 else "")
        assert np.array_equal(legend.masks(read_volume(tmp_path / "a.nii.gz").array), found.regions)
        assert found.hidden(overlapping) == 0


def test_a_structure_that_the_model_never_learnt_is_not_named_in_the_result(
    header: ModelHeader, weights_of: MakeWeights, tmp_path: Path
) -> None:
    half = replace(header, known=("Kidney",))
    found = segment_volumes(model_of(half, weights_of(half)), {"CT": volume()})
    for name in ("a.nii.gz", "a.seg.nrrd"):
        write_segmentation(tmp_path / name, found, like=volume(), header=half)
        legend = read_legend(tmp_path / name)
        assert legend is not None and set(legend.structures) == {"Kidney"}
    assert read_segments(tmp_path / "a.seg.nrrd") == {"Kidney": 2}
