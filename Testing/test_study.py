from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from FedSegCore.data.phantom import STYLES, write_phantom_dataset
from FedSegCore.data.plan import Plan
from FedSegCore.errors import DataError, FedSegError, StudyError
from FedSegCore.idle import refuse_idle
from FedSegCore.inference.modelfile import ModelHeader
from FedSegCore.learning.train import Training
from FedSegCore.nets.unet import Network
from FedSegCore.setting import read_setting
from FedSegCore.study import NetworkTable, PlanTable, Study, StudySite, parse_study, read_study

SITES = [{"name": "north", "data": "north"}, {"name": "south", "data": "south"}]
PROJECT_ROOT = Path(__file__).resolve().parents[1]


def raw(**keys: Any) -> dict[str, Any]:
    """A study of two sites with other keys; None leaves a key out."""
    whole = {"name": "x", "method": "fedavg", "site": SITES, **keys}
    return {key: value for key, value in whole.items() if value is not None}


def parse(**keys: Any) -> Study:
    return parse_study(raw(**keys), Path("folder"))


def refused(**keys: Any) -> StudyError:
    with pytest.raises(StudyError) as caught:
        parse(**keys)
    error = caught.value
    assert error.exit_code == 2
    assert error.message
    assert "\n" not in str(error)
    return error


def test_everything_but_name_method_and_sites_has_a_default() -> None:
    found = parse()
    assert found == Study(
        "x", ("fedavg",), (StudySite("north", Path("folder/north")), StudySite("south", Path("folder/south")))
    )
    assert (found.rounds, found.seeds, found.min_sites) == (20, (0,), None)
    assert (found.network, found.plan, found.train) == (NetworkTable(), PlanTable(), Training())


def test_a_study_file_is_read_with_folders_relative_to_it(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(
        """
name = "hippocampus"
methods = ["fedavg", "fedgin"]
rounds = 3
seeds = [0, 1]
min_sites = 1
labels = ["Anterior", "Posterior"]
[method_options]
weighting = "uniform"
[method_options.fedgin]
mu = 0.1
[network]
channels = [16, 32]
norm = "batch"
[plan]
dims = 3
spacing_mm = [1, 1.0, 2.5]
intensity = {CT = {rule = "window", lower = -160, upper = 240}}
[train]
batch_size = 2
learning_rate = 1e-3
augment = "gin"
[[site]]
name = "north"
data = "../data/north"
labels = ["Anterior"]
label_map = {Posterior = ["Body", "Tail"]}
limit = 6
publish_personal = true
[[site]]
name = "far away"
data = "/data/far"
role = "outside"
test_cases = ["a", "b"]
""",
        encoding="utf-8",
    )
    found = read_study(tmp_path / "study.toml")
    assert found.methods == ("fedavg", "fedgin")
    assert found.plan.spacing_mm == (1.0, 1.0, 2.5)
    assert found.plan.intensity["CT"].lower == -160.0
    assert found.network == NetworkTable(channels=(16, 32), norm="batch")
    assert found.train.augment == "gin"
    assert [site.data for site in found.sites] == [tmp_path / "../data/north", Path("/data/far")]
    assert found.sites[0].label_map == {"Posterior": ("Body", "Tail")}
    assert found.sites[1].role == "outside"


UNKNOWN: list[tuple[dict[str, Any], str, str]] = [
    ({"metod": "fedavg"}, '"metod" in the study', '"method"'),
    ({"round": 3}, '"round" in the study', '"rounds"'),
    ({"sites": []}, '"sites" in the study', '"site"'),
    ({"train": {"learningrate": 1}}, '"learningrate" in "train" in the study', '"learning_rate"'),
    ({"plan": {"spacing": [1]}}, '"spacing"', '"spacing_mm"'),
    ({"network": {"norms": "batch"}}, '"norms"', '"norm"'),
    ({"method_options": {"mus": 1}}, '"mus" in [method_options]', '"mu"'),
    ({"site": [{"name": "a", "data": "a", "modality": ["CT"]}]}, '"modality" in [[site]] a', '"modalities"'),
]


@pytest.mark.parametrize(("keys", "where", "meant"), UNKNOWN, ids=[meant for _, _, meant in UNKNOWN])
def test_an_unknown_key_names_where_it_stands_and_the_nearest(
    keys: dict[str, Any], where: str, meant: str
) -> None:
    error = refused(**keys)
    assert error.message.startswith("Unknown key ")
    assert where in error.message
    assert error.fix == f"Did you mean {meant}?"


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": None}, 'lacks "name"'),
    ({"name": 3}, "must be a text"),
    ({"method": None}, 'lacks "method"'),
    ({"method": "fedgan"}, 'Unknown method "fedgan"'),
    ({"method": 3}, "must be a text"),
    ({"methods": ["fedavg"]}, "both method and methods"),
    ({"method": None, "methods": "fedavg"}, "must be a list"),
    ({"method": None, "methods": []}, "empty list"),
    ({"method": None, "methods": ["fedavg", "fedavg"]}, "named twice"),
    (
        {"method": None, "methods": ["fedavg", "FedAvg"], "method_options": {"FedAvg": {"like": "fedgin"}}},
        "named twice",
    ),
    ({"seed": 1, "seeds": [1]}, "both seed and seeds"),
    ({"seed": "one"}, "must be a whole number"),
    ({"seeds": [1, 1]}, "named twice"),
    ({"seeds": []}, "empty list"),
    ({"rounds": 0}, "rounds is 0, expected 1 or more"),
    ({"rounds": "ten"}, "must be a whole number"),
    ({"rounds": 2.5}, "must be a whole number"),
    ({"min_sites": 0}, "min_sites is 0"),
    ({"min_sites": 3}, "min_sites = 3, but the study has 2 members"),
    ({"round_timeout": 0}, "round_timeout is 0"),
    ({"labels": []}, "labels are none"),
    ({"labels": ["a", "a"]}, "named twice"),
    ({"outside_models": ["rooted"]}, "cannot be scored with"),
    ({"train": {"batch_size": 0}}, "batch_size is 0"),
    ({"train": {"gin_kernels": [2]}}, "gin_kernels"),
    ({"train": {"gin_kernels": []}}, "gin_kernels"),
    ({"train": {"epochs": 0}}, "epochs is 0"),
    ({"train": {"learning_rate": 0.0}}, "learning_rate is 0.0"),
    ({"train": {"learning_rate": -1.0}}, "learning_rate is -1.0"),
    ({"train": {"weight_decay": -1.0}}, "weight_decay is -1.0"),
    ({"train": {"clip_norm": 0}}, "clip_norm is 0"),
    ({"train": {"warm_up": 2.0}}, "warm_up is 2.0"),
    ({"train": {"augment_probability": 1.5}}, "augment_probability is 1.5"),
    ({"train": {"validate_every": 0}}, "validate_every is 0"),
    ({"train": {"threads": -1}}, "threads is -1"),
    ({"train": {"augment": "ginn"}}, "got 'ginn'"),
    ({"train": {"precision": "float16"}}, "got 'float16'"),
    ({"train": 3}, "must be a table"),
    ({"network": {"channels": [16]}}, "channels"),
    ({"network": {"channels": [0, 16]}}, "channels"),
    ({"network": {"kind": "vnet"}}, "got 'vnet'"),
    ({"plan": {"dims": 4}}, "must be one of 2, 3"),
    ({"plan": {"intensity": {"CT": {"rule": "windw", "lower": 0, "upper": 1}}}}, "got 'windw'"),
    ({"method_options": {"personal": "often"}}, "must be a number"),
    ({"site": None}, "has no site"),
    ({"site": []}, "has no site"),
    ({"site": SITES[0]}, "has no site"),
    ({"site": [3]}, "must be a table"),
    ({"site": [{"name": "a"}]}, 'lacks "data"'),
    ({"site": [{"data": "a"}]}, 'lacks "name"'),
    ({"site": [*SITES, SITES[0]]}, 'Two sites are called "north"'),
    ({"site": [*SITES, {"name": "North", "data": "x"}]}, 'Two sites are called "north"'),
    ({"site": [{"name": "a", "data": "a", "role": "outside"}]}, "no member site"),
    ({"site": [{"name": "a", "data": "a", "role": "outsider"}]}, "got 'outsider'"),
    ({"site": [{"name": "a", "data": "a", "limit": 0}]}, "limit of site a is 0"),
    ({"site": [{"name": "../a", "data": "a"}]}, "cannot be called"),
    ({"site": [{"name": "a/b", "data": "a"}]}, "cannot be called"),
    ({"site": [{"name": "", "data": "a"}]}, "cannot be called"),
    ({"site": [{"name": ".a", "data": "a"}]}, "cannot be called"),
    ({"site": [{"name": "a", "data": 3}]}, "must be a path"),
]


@pytest.mark.parametrize(("keys", "message"), WRONG, ids=[str(keys)[:70] for keys, _ in WRONG])
def test_a_study_that_cannot_be_run_is_one_sentence_with_its_fix(keys: dict[str, Any], message: str) -> None:
    error = refused(**keys)
    assert message in error.message
    assert error.fix


@pytest.mark.parametrize("text", ["name = ", "[[site]", "name = 'a'\nname = 'b'", "\ufeff\x00"])
def test_broken_toml_is_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=r"study\.toml is not valid TOML") as caught:
        read_study(path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match="is not valid TOML"):
        read_study(tmp_path / "study.toml")


def test_a_missing_file_or_a_folder_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(StudyError, match="cannot be read"):
            read_study(path)


def test_a_missing_folder_is_one_sentence_that_names_the_site(tmp_path: Path) -> None:
    with pytest.raises(FedSegError, match="north") as caught:
        read_setting(parse_study(raw(), tmp_path))
    assert caught.value.exit_code == 2


def test_the_digest_depends_on_what_the_results_depend_on_only() -> None:
    base = parse()
    assert parse().digest() == base.digest()
    assert parse(min_sites=1, round_timeout=5.0).digest() == base.digest()
    assert parse(baseline="fedavg", stand_in="One hospital for two.").digest() == base.digest()
    for keys in ({"rounds": 3}, {"seed": 1}, {"train": {"epochs": 2}}, {"method_options": {"mu": 1.0}}):
        assert parse(**keys).digest() != base.digest()
    elsewhere = [{"name": "north", "data": "north"}, {"name": "south", "data": "elsewhere"}]
    assert parse(site=elsewhere).digest() != base.digest()


def test_the_digest_is_the_same_wherever_the_command_is_called_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    here = parse_study(raw(), Path()).digest()
    assert parse_study(raw(), tmp_path).digest() == here
    monkeypatch.chdir(tmp_path / "sub")
    assert parse_study(raw(), Path("..")).digest() == here


@pytest.mark.parametrize(
    "baseline",
    ["local", "fedbn", "fedbn/personal", "fedavg/global", "segviz/global", "central", "ditto/personal"],
)
def test_the_baseline_is_a_method_of_the_study_or_one_of_its_models(baseline: str) -> None:
    methods = ["local", "central", "fedavg", "fedbn", "ditto", "segviz"]
    assert parse(method=None, methods=methods, baseline=baseline).baseline == baseline


@pytest.mark.parametrize(
    ("baseline", "meant"),
    [("fedavgg", '"fedavg"'), ("fedavg/globl", '"fedavg/global"'), ("fedbn/global", '"fedbn/personal"'),
     ("fedprox", '"fed'), ("local/local", '"local"'), ("", "fedavg/global")],
)  # fmt: skip
def test_a_baseline_that_the_study_does_not_make_is_refused_with_the_nearest(
    baseline: str, meant: str
) -> None:
    error = refused(method=None, methods=["local", "fedavg", "fedbn"], baseline=baseline)
    assert f'no model "{baseline}"' in error.message and meant in error.fix


VALUES = st.none() | st.booleans() | st.integers(-2, 5) | st.floats() | st.text(max_size=4) | st.lists(
    st.integers(-1, 3) | st.text(max_size=3), max_size=3
)  # fmt: skip
KEYS = st.sampled_from([*Study.__dataclass_fields__, "method", "seed", "site", "other"])


@given(
    keys=st.dictionaries(KEYS, VALUES | st.dictionaries(st.sampled_from(["channels", "dims", "mu"]), VALUES))
)
def test_any_study_is_a_study_or_a_sentence(keys: dict[str, Any]) -> None:
    try:
        found = parse_study(raw(**keys), Path())
    except StudyError as error:
        assert error.message
        return
    assert found.sites


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hospitals on disk, north with CT and south with MR."""
    folder = tmp_path_factory.mktemp("phantoms")
    for name, style in (("north", "ct"), ("south", "mr")):
        write_phantom_dataset(
            folder / name, cases=1, test_cases=1, seed=1, style=STYLES[style], shape=(16, 16, 16)
        )
    return folder


def with_north(**keys: Any) -> list[dict[str, Any]]:
    return [{**SITES[0], **keys}, SITES[1]]


@pytest.mark.parametrize(
    ("keys", "message", "fix"),
    [
        ({"labels": ["Lever"]}, "Lever", '"Liver"'),
        ({"site": with_north(labels=["Kidny"])}, "Kidny", '"Kidney"'),
        ({"site": with_north(modalities=["MR"])}, '"MR"', "CT"),
        ({"site": with_north(label_map={"Organ": ["Livr"]})}, "Livr", '"Liver"'),
        ({"site": with_north(cases=["phantom_0"])}, "phantom_0", "phantom_00"),
        ({"site": with_north(cases=[])}, "north has no training cases", "outside"),
        ({"site": with_north(data="nowhere")}, "nowhere", ""),
    ],
    ids=str,
)
def test_what_no_site_has_is_one_sentence_with_the_nearest_name(
    phantoms: Path, keys: dict[str, Any], message: str, fix: str
) -> None:
    with pytest.raises(FedSegError) as caught:
        read_setting(parse_study(raw(**keys), phantoms))
    assert caught.value.exit_code == 2
    assert message in caught.value.message
    assert fix in caught.value.fix
    assert "\n" not in str(caught.value)


def test_an_image_that_trains_at_one_site_and_tests_at_another_is_refused(phantoms: Path) -> None:
    north = read_setting(parse_study(raw(), phantoms)).with_role("member")[0]
    (case,) = north.training
    outside = {"name": "far", "data": "north", "role": "outside"}
    with pytest.raises(
        StudyError, match=f'test case "{case.name}" of site far is a training case of site north'
    ):
        read_setting(parse_study(raw(site=[*SITES, {**outside, "cases": [case.name]}]), phantoms))
    shared = read_setting(parse_study(raw(site=[*SITES, outside]), phantoms))
    assert shared.with_role("outside")[0].test == north.test, "two sites may test with one case"


def test_an_outside_site_changes_neither_inputs_nor_network(
    phantoms: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("outside")
    styles = [STYLES["mr"], STYLES["ct"]]
    write_phantom_dataset(folder, cases=1, test_cases=1, seed=2, style=styles, shape=(16, 16, 16))
    outside = {"name": "far", "data": str(folder), "role": "outside"}
    alone = read_setting(parse_study(raw(site=SITES[:1]), phantoms))
    setting = read_setting(parse_study(raw(site=[SITES[0], outside]), phantoms))
    assert setting.inputs == alone.inputs == (("CT",),)
    assert setting.modalities_of(setting.infos("member")) == ("CT",)
    (far,) = setting.with_role("outside")
    assert (far.modalities, far.sources) == (("CT",), (far.dataset.channel_names.index("CT"),))


def test_an_outside_site_without_any_input_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    member, outside = (tmp_path_factory.mktemp(name) for name in ("member", "outside"))
    for folder, names in ((member, ("t1", "flair")), (outside, ("mr", "ct"))):
        styles = [STYLES[name] for name in names]
        write_phantom_dataset(folder, cases=1, test_cases=1, seed=2, style=styles, shape=(16, 16, 16))
    sites = [
        {"name": "near", "data": str(member)},
        {"name": "far", "data": str(outside), "role": "outside"},
    ]
    with pytest.raises(DataError, match="network's inputs"):
        read_setting(parse_study(raw(site=sites), Path()))


IDLE: list[tuple[dict[str, Any], str]] = [
    ({"method_options": {"fedgin": {"mu": 1.0}}}, "does not run fedgin"),
    ({"method_options": {"form": "heads"}}, '"form"'),
    ({"method_options": {"fedavg": {"form": "heads"}}}, '"form" in [method_options.fedavg]'),
    ({"method_options": {"masked": False}}, '"masked"'),
    ({"method": "local", "method_options": {"local": {"mu": 1.0}}}, "not used by local"),
    ({"method": "central", "method_options": {"weighting": "uniform"}}, "not used by central"),
    ({"method_options": {"recalibrate": True}}, "instance norm"),
    ({"train": {"gin_balance": True}}, '"gin_balance" in [train]'),
    ({"train": {"augment_probability": 0.9}}, '"augment_probability" in [train]'),
    ({"method_options": {"fedavg": {"gin_kernels": [1]}}}, '"gin_kernels" in [method_options.fedavg]'),
    ({"method_options": {"mine": {"like": "fedgin"}}}, "does not run mine"),
    ({"method": "mine", "method_options": {"mine": {"like": "local", "mu": 1.0}}}, '"mu"'),
]


def refuse(study: Study) -> None:
    refuse_idle(study.methods, study.method_options, norm=study.network.norm, training=study.train)


@pytest.mark.parametrize(("keys", "message"), IDLE, ids=[str(keys) for keys, _ in IDLE])
def test_an_option_that_changes_nothing_is_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyError) as caught:
        refuse(parse(**keys))
    assert message in caught.value.message
    assert caught.value.fix


def test_an_option_that_one_of_the_methods_uses_is_fine() -> None:
    options = {"form": "heads", "masked": False, "mu": 1.0, "recalibrate": True}
    refuse(parse(method=None, methods=["segviz", "central", "local"], method_options=options))


def test_augmentation_that_one_of_the_methods_uses_is_fine() -> None:
    options = {"central+gin": {"like": "central", "augment": "gin", "gin_kernels": [1]}}
    methods = ["central", "central+gin"]
    refuse(parse(method=None, methods=methods, method_options=options, train={"gin_balance": True}))
    refuse(parse(method="fedgin", train={"gin_balance": True}))


def test_an_intensity_rule_of_a_modality_that_no_site_has_is_refused(phantoms: Path) -> None:
    rule = {"rule": "window", "lower": -160, "upper": 240}
    with pytest.raises(StudyError, match="no site has") as caught:
        read_setting(parse_study(raw(plan={"intensity": {"CTT": rule}}), phantoms))
    assert '"CT"' in caught.value.fix


def test_folders_may_name_environment_variables_that_are_set(monkeypatch: pytest.MonkeyPatch) -> None:
    site = [{"name": "a", "data": "$HOSPITALS/a"}]
    monkeypatch.delenv("HOSPITALS", raising=False)
    assert "environment variable" in refused(site=site).message
    monkeypatch.setenv("HOSPITALS", "/images")
    assert parse(site=site).sites[0].data == Path("/images/a")


def test_the_example_studies_are_valid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSEG_DATA", "/images")
    for path in sorted((PROJECT_ROOT / "Resources" / "studies").glob("*.toml")):
        assert read_study(path).sites, path


def test_a_study_that_goes_on_from_a_model_of_overlapping_structures_keeps_them_so(tmp_path: Path) -> None:
    write_phantom_dataset(tmp_path / "north", cases=2, seed=0, style=STYLES["mr"], shape=(16, 16, 16))
    plan = Plan(3, spacing_mm=(2.0, 2.0, 2.0), patch=(16, 16, 16))
    network = Network(channels=(4, 8))
    model = ModelHeader(
        "s", "fedavg", "global", (("Liver", 1), ("Kidney", 2)), ("Liver", "Kidney"), True, (("MR",),), ("MR",),
        plan, network,
    )  # fmt: skip
    study = Study(
        "s", ("local",), (StudySite("north", tmp_path / "north"),), network=NetworkTable(channels=(4, 8))
    )
    assert read_setting(study, like=model).overlapping
    assert not read_setting(study, like=replace(model, overlapping=False)).overlapping


@pytest.mark.parametrize(("head", "used"), [('method = "fedavg"', False), ('method = "iopfl"', True)])
def test_a_routing_table_without_anything_to_route_is_refused(head: str, used: bool, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f'name = "x"\n{head}\n[routing]\nsteps = 9\n[[site]]\nname = "a"\ndata = "a"\n')
    if used:
        assert read_study(path).routing.steps == 9
    else:
        with pytest.raises(StudyError, match=r"\[routing\] changes nothing"):
            read_study(path)
