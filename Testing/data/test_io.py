from __future__ import annotations

import gzip
import resource
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from FedSegCore.data.io import (
    find_images,
    image_stem,
    read_header,
    read_volume,
    write_label_map,
    write_volume,
)
from FedSegCore.data.volume import Volume, same_grid
from FedSegCore.errors import DataError, FedSegError, InputError

OBLIQUE = np.array(
    [
        [-1.99662268, -0.11613927, 0.00309402, 118.68132],
        [-0.11422966, 1.95268106, -0.41711903, -79.137924],
        [-0.02120128, 0.41659138, 1.95601690, -57.67998],
        [0, 0, 0, 1],
    ]
)
PSR = np.array([[0, 0, 2.0, -78.16], [-2.0, 0, 0, 82.23], [0, 1.5, 0, -75.27], [0, 0, 0, 1]])


def voxels(shape: tuple[int, ...] = (7, 6, 5)) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def save_nifti(path: Path, affine: np.ndarray = PSR, array: np.ndarray | None = None) -> Path:
    nib.Nifti1Image(voxels() if array is None else array, affine).to_filename(path)
    return path


def save_dicom(
    folder: Path, array: np.ndarray, *, step: float = 3.0, tilt: float = 0.0, leave_out: int | None = None
) -> Path:
    """Slices of (X, Y, Z) as one series, axial with the columns running to the patient's Left."""
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in range(array.shape[2]):
        if z == leave_out:
            continue
        one = sitk.GetImageFromArray(array[:, :, z].T.astype(np.int16))
        one.SetSpacing((0.5, 0.75))
        tags = {
            "0008|0060": "CT",
            "0020|000d": "1.2.3.1",
            "0020|000e": "1.2.3.2",
            "0008|0018": f"1.2.3.3.{z + 1}",
            "0020|0013": str(z + 1),
            "0020|0032": f"-10\\{-20 + tilt * z}\\{5 + step * z}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0008|0008": "ORIGINAL\\PRIMARY\\AXIAL",
        }
        for key, value in tags.items():
            one.SetMetaData(key, value)
        writer.SetFileName(str(folder / f"slice{(z * 7) % array.shape[2]:02d}.dcm"))
        writer.Execute(one)
    return folder


@pytest.mark.parametrize("affine", [PSR, OBLIQUE], ids=["PSR", "oblique"])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_one_image_reads_identically_as_nifti_and_through_simpleitk(
    tmp_path: Path, affine: np.ndarray, suffix: str
) -> None:
    write_volume(tmp_path / "a.nii.gz", Volume(voxels(), affine))
    write_volume(tmp_path / f"a{suffix}", Volume(voxels(), affine))
    nifti, other = read_volume(tmp_path / "a.nii.gz"), read_volume(tmp_path / f"a{suffix}")
    assert np.array_equal(nifti.array, other.array)
    assert nifti.orientation == other.orientation
    assert np.allclose(nifti.affine, other.affine, atol=1e-4)


def test_simpleitk_itself_sees_the_voxels_of_our_nifti_and_nrrd_at_the_same_place(tmp_path: Path) -> None:
    write_volume(tmp_path / "a.nii.gz", Volume(voxels(), PSR))
    write_volume(tmp_path / "a.nrrd", Volume(voxels(), PSR))
    places = [
        sitk.ReadImage(str(tmp_path / name)).TransformIndexToPhysicalPoint((3, 2, 1))
        for name in ("a.nii.gz", "a.nrrd")
    ]
    ras = (PSR @ [3, 2, 1, 1])[:3]
    assert np.allclose(places[0], places[1], atol=1e-4)
    assert np.allclose(places[0], ras * [-1, -1, 1], atol=1e-4)


def test_slope_and_intercept_are_applied(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), PSR)
    image.header.set_slope_inter(2.0, -1024.0)
    image.to_filename(tmp_path / "ct.nii")
    stored = nib.load(tmp_path / "ct.nii").dataobj.get_unscaled()
    assert np.array_equal(read_volume(tmp_path / "ct.nii").array, stored * 2.0 - 1024.0)


def test_a_nifti_with_a_qform_only_is_placed_by_it(tmp_path: Path) -> None:
    image = nib.Nifti1Image(voxels(), None)
    image.set_qform(OBLIQUE, code=1)
    image.set_sform(None, code=0)
    image.to_filename(tmp_path / "q.nii.gz")
    volume = read_volume(tmp_path / "q.nii.gz")
    assert np.allclose(volume.affine, OBLIQUE, atol=1e-3)
    write_label_map(tmp_path / "r.nii.gz", np.zeros(volume.shape), like=volume, segments={})
    assert np.array_equal(read_volume(tmp_path / "r.nii.gz").affine, volume.affine)


def test_a_2d_image_gets_a_third_axis_of_one_voxel(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(voxels((6, 7))), str(tmp_path / "slice.mha"))
    assert read_volume(tmp_path / "slice.mha").shape == (7, 6, 1)
    assert read_header(tmp_path / "slice.mha").shape == (7, 6)


def test_a_trailing_axis_of_one_is_dropped_and_a_real_fourth_axis_is_refused(tmp_path: Path) -> None:
    save_nifti(tmp_path / "one.nii", array=voxels((7, 6, 5, 1)))
    save_nifti(tmp_path / "film.nii", array=voxels((7, 6, 5, 2)))
    assert read_volume(tmp_path / "one.nii").shape == (7, 6, 5)
    with pytest.raises(DataError, match="4 axes, 7 x 6 x 5 x 2"):
        read_volume(tmp_path / "film.nii")


def test_a_vector_image_is_refused_as_4d(tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(voxels((5, 6, 7, 2)).astype(np.float32), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "v.nrrd"))
    assert read_header(tmp_path / "v.nrrd").shape == (7, 6, 5, 2)
    with pytest.raises(DataError, match="4 axes"):
        read_volume(tmp_path / "v.nrrd")


def test_rgb_voxels_are_refused(tmp_path: Path) -> None:
    rgb = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    save_nifti(tmp_path / "rgb.nii", array=rgb)
    with pytest.raises(DataError, match="not plain numbers"):
        read_volume(tmp_path / "rgb.nii")


def test_big_endian_voxels_become_native(tmp_path: Path) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.Nifti1Image(voxels().astype(">i2"), PSR, header).to_filename(tmp_path / "big.nii")
    volume = read_volume(tmp_path / "big.nii")
    assert volume.array.dtype == np.dtype("=i2")
    assert np.array_equal(volume.array, voxels())
    write_label_map(tmp_path / "l.nii", np.ones(volume.shape), like=volume, segments={})
    assert np.array_equal(read_volume(tmp_path / "l.nii").affine, volume.affine)


def damage_by_truncation(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage_by_text(path: Path) -> None:
    path.write_text("this is not an image\n" * 40)


def damage_by_emptying(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_by_truncation, damage_by_text, damage_by_emptying])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.nrrd", "a.mha", "a.seg.nrrd"])
def test_a_damaged_file_is_one_sentence_that_names_it(
    tmp_path: Path, name: str, damage: object, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 200, (12, 13, 14)).astype(np.float32)
    write_volume(tmp_path / name, Volume(noise, PSR))
    damage(tmp_path / name)  # type: ignore[operator]
    with pytest.raises(DataError) as caught:
        read_volume(tmp_path / name)
    assert str(tmp_path / name) in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.fix
    noise_from_metaimage = name == "a.mha"  # its C++ library prints to stderr and has no switch
    assert noise_from_metaimage or capfd.readouterr() == ("", "")


def test_a_gzip_whose_content_ends_early_is_refused(tmp_path: Path) -> None:
    whole = save_nifti(tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(whole[:-40]))
    with pytest.raises(DataError, match=r"a\.nii\.gz"):
        read_volume(tmp_path / "a.nii.gz")


def test_a_degenerate_header_is_refused_with_the_file_name(tmp_path: Path) -> None:
    content = bytearray(save_nifti(tmp_path / "flat.nii", affine=np.eye(4)).read_bytes())
    content[312:328] = b"\x00" * 16  # srow_z
    (tmp_path / "flat.nii").write_bytes(content)
    for read in (read_volume, read_header):
        with pytest.raises(DataError, match=r"flat\.nii.*parallel axes"):
            read(tmp_path / "flat.nii")


@pytest.mark.parametrize("name", ["missing.nii.gz", "missing_folder"])
def test_what_does_not_exist_is_said_to_not_exist(tmp_path: Path, name: str) -> None:
    for read in (read_volume, read_header):
        with pytest.raises(DataError, match="does not exist"):
            read(tmp_path / name)


def test_a_file_of_unknown_suffix_and_a_folder_without_dicom_are_refused(tmp_path: Path) -> None:
    (tmp_path / "scan.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match="no known image file"):
        read_volume(tmp_path / "scan.jpg")
    with pytest.raises(DataError, match="no DICOM series"):
        read_volume(tmp_path)


def test_a_header_tells_shape_affine_and_type_without_voxels(tmp_path: Path) -> None:
    save_nifti(tmp_path / "a.nii.gz", OBLIQUE)
    write_volume(tmp_path / "a.nrrd", Volume(voxels(), OBLIQUE))
    for name, dtype in (("a.nii.gz", np.int16), ("a.nrrd", np.float32)):
        header = read_header(tmp_path / name)
        assert header.shape == (7, 6, 5)
        assert header.dtype == dtype
        assert np.array_equal(header.affine, read_volume(tmp_path / name).affine)


@pytest.mark.parametrize("affine", [PSR, OBLIQUE], ids=["PSR", "oblique"])
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii"])
def test_a_nifti_result_repeats_the_images_affine_bit_by_bit(
    tmp_path: Path, affine: np.ndarray, suffix: str
) -> None:
    image = nib.Nifti1Image(voxels(), affine)
    image.set_sform(affine, code=2)
    image.set_qform(affine, code=1)
    image.to_filename(tmp_path / "image.nii.gz")
    label_map = (voxels() % 3).astype(np.uint8)
    like = read_volume(tmp_path / "image.nii.gz")
    write_label_map(tmp_path / f"out{suffix}", label_map, like=like, segments={"a": 1, "b": 2})
    before, after = nib.load(tmp_path / "image.nii.gz"), nib.load(tmp_path / f"out{suffix}")
    assert after.get_data_dtype() == np.uint8
    assert np.array_equal(np.asarray(after.dataobj), label_map)
    assert after.affine.tobytes() == before.affine.tobytes()
    for field in ("srow_x", "srow_y", "srow_z", "quatern_b", "qform_code", "sform_code", "pixdim"):
        assert np.array_equal(after.header[field], before.header[field]), field


def test_a_sheared_grid_survives_in_every_format(tmp_path: Path) -> None:
    sheared = PSR.copy()
    sheared[1, 1] = 0.3
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        write_volume(tmp_path / name, Volume(voxels(), sheared))
        back = read_volume(tmp_path / name)
        assert np.allclose(back.affine, sheared, atol=1e-4), name
        assert nib.affines.voxel_sizes(back.affine) == pytest.approx(back.spacing_mm)


def test_the_same_result_is_the_same_bytes_whatever_the_moment(tmp_path: Path) -> None:
    like = Volume(voxels(), PSR)
    for name in ("a.nii.gz", "b.nii.gz"):
        write_label_map(tmp_path / name, np.ones(like.shape), like=like, segments={})
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_values_or_shapes_that_do_not_fit_a_label_map_are_refused(tmp_path: Path) -> None:
    like = Volume(voxels(), PSR)
    for wrong in (np.full(like.shape, 256), np.full(like.shape, 0.5), np.full(like.shape, -1)):
        with pytest.raises(DataError, match="whole numbers"):
            write_label_map(tmp_path / "a.nii.gz", wrong, like=like, segments={})
    with pytest.raises(DataError, match="shape"):
        write_label_map(tmp_path / "a.nii.gz", np.zeros((2, 2, 2)), like=like, segments={})
    with pytest.raises(DataError, match="must end in"):
        write_label_map(tmp_path / "a.png", np.zeros(like.shape), like=like, segments={})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    target = save_nifti(tmp_path / "a.nii.gz")
    before = target.read_bytes()
    monkeypatch.setattr("nibabel.Nifti1Image.to_filename", full_disk)
    with pytest.raises(InputError, match="No space left on device") as caught:
        write_volume(target, Volume(voxels(), PSR))
    assert caught.value.exit_code == 2
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


WRITE_WITH_LITTLE_ROOM = """
import resource, sys
from pathlib import Path
import numpy as np
from FedSegCore.data.io import write_volume
from FedSegCore.data.volume import Volume
from FedSegCore.errors import InputError
noise = np.random.default_rng(0).random((40, 40, 40))
volume = Volume(noise, np.eye(4))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for name in sys.argv[2:]:
    try:
        write_volume(Path(sys.argv[1]) / name, volume)
    except InputError as error:
        print(name, "refused")
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no file size limit on this system")
def test_a_disk_that_fills_up_midway_is_noticed_in_every_format(tmp_path: Path) -> None:
    names = ["a.nii.gz", "a.nii", "a.nrrd", "a.mha"]
    out = subprocess.run(
        [sys.executable, "-c", WRITE_WITH_LITTLE_ROOM, str(tmp_path), *names],
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.split("\n")[:-1] == [f"{name} refused" for name in names]
    assert "Traceback" not in out.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_dicom_series_is_read_on_its_own_grid_whatever_the_file_names(tmp_path: Path) -> None:
    folder = save_dicom(tmp_path / "series", voxels((8, 6, 4)))
    volume = read_volume(folder)
    assert np.array_equal(volume.array, voxels((8, 6, 4)))
    expected = np.array([[-0.5, 0, 0, 10], [0, -0.75, 0, 20], [0, 0, 3.0, 5], [0, 0, 0, 1]])
    assert np.allclose(volume.affine, expected)
    header = read_header(folder)
    assert header.shape == volume.shape
    assert np.array_equal(header.affine, volume.affine)
    assert header.dtype == volume.array.dtype


def test_a_tilted_gantry_gives_slices_that_step_sideways(tmp_path: Path) -> None:
    folder = save_dicom(tmp_path / "series", voxels((8, 6, 4)), tilt=1.0)
    assert np.allclose(read_volume(folder).affine[:3, 2], [0, -1, 3])
    assert np.array_equal(read_header(folder).affine, read_volume(folder).affine)


def test_a_segmentation_of_a_dicom_series_lies_on_its_grid(tmp_path: Path) -> None:
    volume = read_volume(save_dicom(tmp_path / "series", voxels((8, 6, 4))))
    for name in ("out.nii.gz", "out.seg.nrrd"):
        write_label_map(tmp_path / name, np.ones(volume.shape), like=volume, segments={"a": 1})
        result = read_volume(tmp_path / name)
        assert same_grid(result.shape, result.affine, other_shape=volume.shape, other_affine=volume.affine)


def test_a_dicom_series_with_a_missing_slice_is_refused_without_noise(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = save_dicom(tmp_path / "series", voxels((8, 6, 6)), leave_out=2)
    with pytest.raises(DataError, match="not evenly spaced"):
        read_volume(folder)
    assert capfd.readouterr().err == ""


def test_two_dicom_series_in_one_folder_are_refused_with_the_fix(tmp_path: Path) -> None:
    folder = save_dicom(tmp_path / "series", voxels((8, 6, 4)))
    one = sitk.ReadImage(str(next(folder.iterdir())))
    one.SetMetaData("0020|000e", "1.2.3.9")
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    writer.SetFileName(str(folder / "other.dcm"))
    writer.Execute(one)
    with pytest.raises(DataError, match="2 DICOM series") as caught:
        read_volume(folder)
    assert "folder of its own" in caught.value.fix


def test_images_are_found_by_name_with_dicom_folders_and_without_hidden_files(tmp_path: Path) -> None:
    save_nifti(tmp_path / "b.nii.gz")
    save_nifti(tmp_path / "a.nii")
    (tmp_path / "._a.nii").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    save_dicom(tmp_path / "c", voxels((4, 4, 2)))
    assert [path.name for path in find_images(tmp_path)] == ["a.nii", "b.nii.gz", "c"]
    assert find_images(tmp_path / "c") == [tmp_path / "c"]
    with pytest.raises(FedSegError, match="does not exist"):
        find_images(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.b.nii.gz", "a.b"), ("x.seg.nrrd", "x"), ("x.NRRD", "x"), ("folder", "folder"), ("s.mha", "s")],
)
def test_the_stem_is_the_name_without_its_known_suffix(name: str, stem: str) -> None:
    assert image_stem(Path(name)) == stem


def test_a_real_psr_image_and_its_label_lie_on_one_grid(real_data: Path) -> None:
    folder = real_data / "brain_ixi_hh10"
    image = read_volume(folder / "imagesTr" / "IXI012-HH-1211_0000.nii.gz")
    label = read_volume(folder / "labelsTr" / "IXI012-HH-1211.nii.gz")
    assert image.orientation == label.orientation == "PSR"
    assert np.array_equal(image.affine, label.affine)
