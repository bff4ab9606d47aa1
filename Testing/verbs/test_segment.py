from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK

from FedSegCore.data.io import read_volume
from FedSegCore.data.segments import read_segments
from FedSegCore.inference.modelfile import load_model, save_model
from Testing.command import FEW_STEPS, Finished, SmallSite, fedseg, refused, write_study


def oblique(image: nib.Nifti1Image) -> nib.Nifti1Image:
    """Turned by a few degrees about two axes, as scanners do."""
    a, b = np.deg2rad(7), np.deg2rad(-4)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = image.affine.copy()
    affine[:3, :3] = turn @ tilt @ affine[:3, :3]
    return nib.Nifti1Image(np.asarray(image.dataobj), affine)


def stored_as(codes: str) -> Callable[[nib.Nifti1Image], nib.Nifti1Image]:
    def store(image: nib.Nifti1Image) -> nib.Nifti1Image:
        orientation = nib.orientations.axcodes2ornt(tuple(codes))
        return image.as_reoriented(
            nib.orientations.ornt_transform(nib.io_orientation(image.affine), orientation)
        )

    return store


def dicom_series(folder: Path, image: Path) -> Path:
    """The image as a DICOM series of one file a slice."""
    folder.mkdir()
    volume = SimpleITK.Cast(SimpleITK.ReadImage(str(image)), SimpleITK.sitkInt16)
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    cosines = np.array(volume.GetDirection()).reshape(3, 3)
    for number in range(volume.GetSize()[2]):
        one = volume[:, :, number]
        place = volume.TransformIndexToPhysicalPoint((0, 0, number))
        for tag, value in {
            "0008|0060": "CT",
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2",
            "0008|0018": f"1.2.3.4.{number + 1}",
            "0020|000d": "1.2.3.1",
            "0020|000e": "1.2.3.2",
            "0020|0032": "\\".join(f"{x:.6f}" for x in place),
            "0020|0037": "\\".join(f"{x:.6f}" for x in (*cosines[:, 0], *cosines[:, 1])),
            "0020|0013": str(number),
        }.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{number:03d}.dcm"))
        writer.Execute(one)
    return folder


def segment(finished: Finished, *images: object, out: Path, modality: str = "CT") -> Path:
    named = [word for image in images for word in ("--image", f"{modality}={image}")]
    outcome = fedseg("segment", *named, "--model", finished.model, "-o", out, "--json")
    assert outcome.code == 0, outcome
    assert set(outcome.result["summary"]["volumes_ml"]) == set(outcome.result["paths"])
    (path,) = outcome.result["paths"]
    return Path(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".seg.nrrd"])
@pytest.mark.parametrize("kind", ["as drawn", "PSR", "LAI", "oblique"])
def test_a_result_lies_on_its_images_grid(kind: str, suffix: str, finished: Finished, tmp_path: Path) -> None:
    change = {"as drawn": lambda image: image, "oblique": oblique}.get(kind) or stored_as(kind)
    scan = tmp_path / "scan.nii.gz"
    change(nib.load(finished.scan)).to_filename(scan)
    out = segment(finished, scan, out=tmp_path / f"found{suffix}")
    image, result = read_volume(scan), read_volume(out)
    assert result.shape == image.shape
    np.testing.assert_allclose(result.affine, image.affine, atol=1e-4)
    if suffix.startswith(".nii"):
        written = nib.load(out)
        assert written.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(written.affine, nib.load(scan).affine)


def test_a_patient_gets_the_same_segmentation_however_the_image_is_stored(
    finished: Finished, tmp_path: Path
) -> None:
    turned = tmp_path / "turned.nii.gz"
    stored_as("PSR")(nib.load(finished.scan)).to_filename(turned)
    one = nib.load(segment(finished, finished.scan, out=tmp_path / "one.nii.gz"))
    two = nib.load(segment(finished, turned, out=tmp_path / "two.nii.gz"))
    assert np.array_equal(np.asarray(stored_as("RAS")(two).dataobj), np.asarray(one.dataobj))


def test_a_segmentation_for_slicer_names_its_structures(finished: Finished, tmp_path: Path) -> None:
    out = segment(finished, finished.scan, out=tmp_path / "found.seg.nrrd")
    assert read_segments(out) == {"Liver": 1, "Kidney": 2}


def test_an_output_without_suffix_is_a_folder_that_receives_the_images_name(
    finished: Finished, tmp_path: Path
) -> None:
    assert segment(finished, finished.scan, out=tmp_path / "found") == tmp_path / "found" / finished.scan.name


def test_a_dicom_folder_is_an_image(finished: Finished, tmp_path: Path) -> None:
    series = dicom_series(tmp_path / "series", finished.scan)
    out = segment(finished, series, out=tmp_path / "found")
    assert out == tmp_path / "found" / "series.nii.gz"
    np.testing.assert_allclose(read_volume(out).affine, read_volume(series).affine, atol=1e-4)


@pytest.fixture(scope="module")
def mr_model(tmp_path_factory: pytest.TempPathFactory, finished: Finished) -> Path:
    out = tmp_path_factory.mktemp("trained") / "out"
    outcome = fedseg("train", finished.study.parent / "mr", "--out", out, "--study", finished.study, "--json")
    assert outcome.code == 0, outcome
    return Path(outcome.result["path"])


def test_several_images_and_a_folder_of_them_land_in_a_folder_under_their_names(
    finished: Finished, mr_model: Path, tmp_path: Path
) -> None:
    images = finished.study.parent / "mr" / "imagesTr"
    names = sorted(path.name for path in images.iterdir())
    for number, words in enumerate(([images], sorted(images.iterdir()))):
        out = tmp_path / f"found{number}"
        outcome = fedseg("segment", *words, "--model", mr_model, "-o", out, "--json")
        assert outcome.code == 0, outcome
        assert sorted(path.name for path in out.iterdir()) == names
        assert [Path(path).name for path in outcome.result["paths"]] == names
        assert [event["value"] for event in outcome.told("progress")] == pytest.approx([0, 1 / 3, 2 / 3])


def test_a_folder_with_one_image_still_gets_a_folder(
    finished: Finished, mr_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(finished.study.parent / "mr" / "imagesTs" / "mr_003.nii.gz", tmp_path / "in")
    outcome = fedseg("segment", tmp_path / "in", "--model", mr_model, "-o", tmp_path / "found.nii.gz")
    assert "Give a folder" in refused(outcome)


def test_for_people_each_structures_volume_is_told(finished: Finished, tmp_path: Path) -> None:
    out = tmp_path / "found.nii.gz"
    outcome = fedseg("segment", "--image", f"CT={finished.scan}", "--model", finished.model, "-o", out)
    assert outcome.code == 0
    assert str(out) in outcome.out and "Liver" in outcome.out and " ml" in outcome.out


def test_an_image_may_be_named_before_or_after_the_options(
    mr_model: Path, finished: Finished, tmp_path: Path
) -> None:
    image = finished.study.parent / "mr" / "imagesTs" / "mr_003.nii.gz"
    for number, words in enumerate(
        (["segment", image, "--model", mr_model], ["segment", "--model", mr_model, "--device", "cpu", image])
    ):
        assert fedseg(*words, "-o", tmp_path / f"{number}.nii.gz").code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "No image was given"),
        (["{scan}"], "--image CT=FILE"),
        (["--image", "MRI={scan}"], '"MRI"'),
        (["--image", "{scan}"], "MODALITY=FILE"),
        (["--image", "CT={scan}", "--image", "CT={scan}"], "Two images"),
        (["--image", "CT={scan}", "--image", "MR={scan}"], "takes one image"),
        (["{scan}", "--image", "CT={scan}"], "both with and without"),
        (["--image", "CT=/nowhere.nii.gz"], "/nowhere.nii.gz"),
        (["/nowhere.nii.gz"], "/nowhere.nii.gz"),
        (["--image", "CT={empty}"], "folder"),
        (["{empty}"], "holds no image"),
        (["--image", "CT={junk}"], "junk.nii.gz"),
        (["--image", "CT={text}"], "notes.txt"),
        (["--image", "CT={four}"], "4 axes"),
    ],
)
def test_images_that_do_not_fit_are_refused(
    words: list[str], told: str, finished: Finished, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "junk.nii.gz").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "notes.txt").write_text("not an image")
    scan = nib.load(finished.scan)
    nib.Nifti1Image(np.stack([np.asarray(scan.dataobj)] * 2, -1), scan.affine).to_filename(
        tmp_path / "four.nii.gz"
    )
    places = {
        "scan": finished.scan, "empty": tmp_path / "empty", "junk": tmp_path / "junk.nii.gz",
        "text": tmp_path / "notes.txt", "four": tmp_path / "four.nii.gz",
    }  # fmt: skip
    out = tmp_path / "found.nii.gz"
    line = refused(
        fedseg("segment", *(w.format(**places) for w in words), "--model", finished.model, "-o", out)
    )
    assert told in line
    assert not out.exists()


def test_a_result_never_overwrites_an_image(finished: Finished, mr_model: Path, tmp_path: Path) -> None:
    image = tmp_path / "scan.nii.gz"
    shutil.copy(finished.scan, image)
    before = image.read_bytes()
    for out in (tmp_path, image):
        assert "overwrite" in refused(fedseg("segment", image, "--model", mr_model, "-o", out))
        assert image.read_bytes() == before


def test_two_images_of_one_name_are_refused_before_the_first_is_segmented(
    finished: Finished, mr_model: Path, tmp_path: Path
) -> None:
    images = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        images.append(tmp_path / folder / "scan.nii.gz")
        shutil.copy(finished.scan, images[-1])
    assert "Two images" in refused(fedseg("segment", *images, "--model", mr_model, "-o", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def two_channels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model of T1 and FLAIR, and a folder of two cases of both, named as nnU-Net names them."""
    folder = tmp_path_factory.mktemp("channels")
    rest = FEW_STEPS.replace("rounds = 2", "rounds = 1")
    study = write_study(folder, [SmallSite("north", "t1+flair", cases=2, test_cases=2)], rest=rest)
    outcome = fedseg("simulate", study, "--out", folder / "out")
    assert outcome.code == 0, outcome
    return folder / "out" / "models" / "global.safetensors", folder / "north" / "imagesTs"


def test_the_channels_of_a_case_in_a_folder_are_fed_together_in_order(
    two_channels: tuple[Path, Path], tmp_path: Path
) -> None:
    model, images = two_channels
    out = tmp_path / "found"
    outcome = fedseg("segment", images, "--model", model, "-o", out)
    assert outcome.code == 0, outcome
    assert sorted(path.name for path in out.iterdir()) == ["north_002.nii.gz", "north_003.nii.gz"]
    assert "_0000 T1, _0001 FLAIR" in outcome.out
    named = [f"T1={images / 'north_002_0000.nii.gz'}", f"FLAIR={images / 'north_002_0001.nii.gz'}"]
    words = [word for one in named for word in ("--image", one)]
    assert fedseg("segment", *words, "--model", model, "-o", tmp_path / "one.nii.gz").code == 0
    together, apart = read_volume(out / "north_002.nii.gz"), read_volume(tmp_path / "one.nii.gz")
    assert np.array_equal(together.array, apart.array)


def test_a_case_that_lacks_a_channel_or_has_one_twice_is_refused(
    two_channels: tuple[Path, Path], tmp_path: Path
) -> None:
    model, images = two_channels
    folder = tmp_path / "in"
    folder.mkdir()
    for path in images.glob("north_002_*"):
        shutil.copy(path, folder)
    shutil.copy(folder / "north_002_0001.nii.gz", folder / "north_002_0002.nii.gz")
    words = ("segment", folder, "--model", model, "-o", tmp_path / "found")
    assert "takes 2 images a case (T1, FLAIR)" in (said := refused(fedseg(*words)))
    assert "holds 3 of north_002" in said and "--image MODALITY=FILE" in said
    (folder / "north_002_0001.nii.gz").unlink()
    (folder / "north_002_0002.nii.gz").rename(folder / "north_002_0000.nii")
    assert "same channel of north_002" in refused(fedseg(*words))
    (folder / "north_002_0000.nii").unlink()
    assert "takes 2 images" in refused(fedseg(*words))
    assert not (tmp_path / "found").exists()


def test_a_model_of_one_image_refuses_cases_of_several_channels(
    two_channels: tuple[Path, Path], mr_model: Path, tmp_path: Path
) -> None:
    said = refused(fedseg("segment", two_channels[1], "--model", mr_model, "-o", tmp_path / "found"))
    assert "takes one image a case (MR)" in said and "2 channels of north_002" in said
    assert "--image MR=FILE" in said and "that channel alone" in said


@pytest.mark.parametrize(
    "numbers", [("a_0000", "b_0000"), ("a_0001", "a_0002"), ("a", "a_0000"), ("a_0003",)]
)
def test_images_of_one_channel_in_a_folder_are_cases_under_their_own_names(
    numbers: tuple[str, ...], finished: Finished, mr_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "in").mkdir()
    for name in numbers:
        image = finished.study.parent / "mr" / "imagesTs" / "mr_003.nii.gz"
        shutil.copy(image, tmp_path / "in" / f"{name}.nii.gz")
    outcome = fedseg("segment", tmp_path / "in", "--model", mr_model, "-o", tmp_path / "found")
    assert outcome.code == 0, outcome
    assert sorted(path.name for path in (tmp_path / "found").iterdir()) == [
        f"{name}.nii.gz" for name in numbers
    ]


def test_structures_that_a_label_map_cannot_show_are_told(
    finished: Finished, mr_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = load_model(mr_model)
    model = tmp_path / "model.safetensors"
    save_model(model, trained.net.state_dict(), replace(trained.header, overlapping=True))
    image = finished.study.parent / "mr" / "imagesTs" / "mr_003.nii.gz"
    regions = np.zeros((2, *read_volume(image).shape), dtype=bool)
    regions[0, 2:8], regions[1, 7:9] = True, True
    monkeypatch.setattr("FedSegCore.inference.segment.restore", lambda *_: regions)
    words = ("segment", image, "--model", model, "--json", "-o")
    outcome = fedseg(*words, tmp_path / "found.nii.gz")
    (warning,) = outcome.told("warning")
    assert "1 of 1 cases" in warning["message"] and ".seg.nrrd" in warning["fix"]
    whole = fedseg(*words, tmp_path / "found.seg.nrrd")
    assert not whole.told("warning")
    layers = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "found.seg.nrrd")))
    for place, region in enumerate(regions):
        assert np.array_equal((layers[..., place] != 0).transpose(2, 1, 0), region)
