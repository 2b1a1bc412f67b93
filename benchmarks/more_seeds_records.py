"""What ``more_seeds.py`` keeps records of: fusions trained in one way, on some scenes and seeds, and how they do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import more_seeds_networks
from more_seeds_course import IN_PART, RESCALED, WHOLE, taking_the_course
from more_seeds_networks import (
    AUXILIARY,
    JOINT,
    TWO_LIDARS,
    WITH_LOSSES,
    Runs,
    as_the_study,
    on_random_sizes,
    parts,
    registered_on_random_sizes,
)

from cilp.classifiers.course import Course
from cilp.evaluation.models import BASELINES, DECISION
from cilp.report.titles import DOWNSAMPLING_TITLES, TITLES, title


def chosen(settings: dict[str, Any], decides: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The sections of ``params.yaml`` that decide something; of those with keys, these alone."""
    return {
        section: {key: settings[section][key] for key in keys} if keys else settings[section]
        for section, keys in decides.items()
    }


@dataclass(frozen=True)
class Beside:
    """Another training, tested on the same scenes, which variants are held against one by one."""

    record: str
    """Its name among ``RECORDS``."""
    ending: str
    """Behind the name of a variant: trained in the way that is held against it."""
    before: str
    """The other training, in words."""
    after: str
    """This one, in words."""


@dataclass(frozen=True)
class Record:
    """One training of variants, and what it is judged by."""

    name: str
    """Of what is written about them: ``docs/<name>.json``, ``docs/<name>.png``."""
    prefix: str
    """Of the names of their tables in the page."""
    further: Sequence[int]
    """Seeds beside those of the study."""
    decides: Mapping[str, Sequence[str]]
    """Sections of ``params.yaml`` that decide what a run gives and how it is judged; of some, only what is named."""
    together: tuple[str, Sequence[str]] | None
    """Over which networks max-pooling and strides are compared as a whole: in words, and the fusions left out."""
    page: Path
    """Where the tables stand."""
    ticks: Sequence[float]
    """Of the figure: shares that are wrong; none for no figure."""
    fusions: Sequence[str] | None = None
    """Which of those of the study; none for all."""
    beside: Sequence[str] = ()
    """Fusions beside those of the study."""
    rate: float | None = None
    """Learning rate of all networks, as a share of the fusions'; none on the study's scenes."""
    epochs: int | None = None
    """Of all networks; none for the fusions' own."""
    xyz_scale: float | None = None
    """Unit of XYZ in metres; none for ``embedder.xyz_scale``."""
    runs: Callable[..., Runs] = as_the_study
    """What gives the networks and the test set, by the params of this training, a device, and ``further_scenes``."""
    further_scenes: Mapping[str, int] = field(default_factory=dict)
    """Scenes that are others than those of ``random_size``: added to the seed, of what is ``trained`` or ``tested``."""
    against: Beside | None = None
    """What they are held against."""

    @property
    def results(self) -> Path:
        """What every run says of the test set."""
        return Path(f"docs/{self.name}.json")

    @property
    def figure(self) -> Path:
        """The picture of it."""
        return Path(f"docs/{self.name}.png")

    def trained_by(self, settings: dict[str, Any]) -> dict[str, Any]:
        """The params of this training; of another than the pipeline's, none of its networks is one of these."""
        if self.epochs is not None:
            fusion = {name: {**protocol, "epochs": self.epochs} for name, protocol in settings["fusion"].items()}
            return {**settings, "fusion": fusion, "seeds": []}
        if self.xyz_scale is not None:
            settings = {**settings, "embedder": {**settings["embedder"], "xyz_scale": self.xyz_scale}}
            return {**settings, "random_size": {**settings["random_size"], "seeds": []}}
        sizes = settings["random_size"]
        if self.rate in (None, sizes["lr_factor"]):
            return settings
        return {**settings, "random_size": {**sizes, "lr_factor": self.rate, "seeds": []}}

    def decided_by(self, settings: dict[str, Any]) -> dict[str, Any]:
        """What of the params a run is made of and, where the study has no test set, which scenes test it."""
        made_of = chosen(settings, self.decides)
        if "random_size" in self.decides:
            made_of["test_scenes"] = more_seeds_networks.TEST_SCENES
        if self.further_scenes:
            made_of["added_to_seed"] = dict(self.further_scenes)
        return made_of


RECORDS = {
    "study": Record(
        name="more-seeds", prefix="", further=range(54, 59),
        decides={"data": (), "fusion": (), "significance": ()},
        together=("networks that see the LiDAR", ("rgb",)), page=Path("docs/more-seeds.md"),
        ticks=(0, 0.001, 0.01, 0.1),
    ),
    "random_size": Record(
        name="random-size-seeds", prefix="random_size_", further=range(51, 59), rate=1.0,
        decides={
            "data": (), "fusion": (), "embedder": ("xyz_centre", "xyz_scale"),
            "random_size": ("train", "valid", "inputs", "lr_factor", "simulate"), "significance": (),
        },
        together=("fusions of both sensors", (*BASELINES, JOINT, AUXILIARY, DECISION)),
        page=Path("docs/random-sizes.md"), ticks=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
        beside=(JOINT, AUXILIARY, DECISION), runs=on_random_sizes,
    ),
}  # fmt: skip
RECORDS["half_rate"] = replace(
    RECORDS["random_size"], name="half-rate-seeds", prefix="half_rate_", rate=0.5,
    beside=(JOINT, AUXILIARY, *WITH_LOSSES, DECISION),
    against=Beside("random_size", "/slower", "full learning rate", "half of it"),
)  # fmt: skip
RECORDS["registered"] = replace(
    RECORDS["half_rate"], name="registered-seeds", prefix="registered_", further=range(51, 54), ticks=(), beside=(),
    fusions=("rgb", "early", "concat", "add", "hadamard"), runs=registered_on_random_sizes,
    against=Beside("half_rate", "/registered", "grids as they are", "registered"),
)  # fmt: skip
RECORDS["two_lidars"] = replace(
    RECORDS["half_rate"], name="two-lidars-seeds", prefix="two_lidars_", ticks=(), fusions=BASELINES,
    beside=(TWO_LIDARS, DECISION), together=None, against=None,
)  # fmt: skip
RECORDS["half_rate_fine"] = replace(
    RECORDS["registered"], name="half-rate-fine-seeds", prefix="half_rate_fine_", further=range(51, 53),
    runs=on_random_sizes, xyz_scale=1.5,
    fusions=("early", "late", "concat", "add", "hadamard"),
    against=Beside("half_rate", "/fine", "units of 5 m", "units of 1.5 m"),
)  # fmt: skip
RECORDS["longer"] = replace(
    RECORDS["study"], name="longer-seeds", prefix="longer_", further=range(51, 54), ticks=(), fusions=BASELINES[:1],
    epochs=100, decides={"data": (), "fusion": BASELINES[:1], "significance": ()},
    against=Beside("study", "/longer", "20 epochs", "100 epochs"),
)  # fmt: skip
RECORDS["course"] = replace(
    RECORDS["random_size"], name="course-seeds", prefix="course_", further=range(51, 54), rate=None,
    page=Path("docs/cilp-course.md"),
    decides={
        **RECORDS["random_size"].decides,
        "random_size": ("train", "valid", "inputs", "lr_factor", "cilp_steps", "simulate"),
        "embedder": ("xyz_centre", "xyz_scale", "initialisation"),
        "cilp": tuple(field.name for field in fields(Course) if field.name != "steps"), "image_classifier": (),
    },
    beside=(*IN_PART, DECISION), runs=taking_the_course,
    against=Beside("half_rate", "/course", "20 epochs, half rate", "CILP's course"),
)  # fmt: skip
RECORDS["course_auxiliary"] = replace(
    RECORDS["course"], name="course-auxiliary-seeds", prefix="course_auxiliary_", ticks=(), beside=(),
    fusions=tuple(WITH_LOSSES.values()), runs=partial(taking_the_course, auxiliary=True),
    against=Beside("course", "/auxiliary", "one loss", "a loss for each sensor"),
)  # fmt: skip
RECORDS["fresh"] = replace(
    RECORDS["course"], name="fresh-seeds", prefix="fresh_", ticks=(), against=None,
    further_scenes={"tested": 1},
)  # fmt: skip
RECORDS["replication"] = replace(
    RECORDS["fresh"], name="replication-seeds", prefix="replication_", further=range(54, 58), beside=(DECISION,),
    further_scenes={"trained": 2, "tested": 2},
)  # fmt: skip
RECORDS["course_registered"] = replace(
    RECORDS["replication"], name="course-registered-seeds", prefix="course_registered_", beside=(), together=None,
    fusions=RECORDS["registered"].fusions, runs=partial(taking_the_course, grids_registered=True),
    against=Beside("replication", "/registered", "grids as they are", "registered"),
)  # fmt: skip
RECORDS["course_rescaled"] = replace(
    RECORDS["replication"], name="course-rescaled-seeds", prefix="course_rescaled_", beside=tuple(RESCALED),
    together=None, fusions=("rgb", "early", "add"),
)  # fmt: skip
RECORDS["course_fine"] = replace(
    RECORDS["replication"], name="course-fine-seeds", prefix="course_fine_", beside=(), together=None,
    fusions=tuple(WITH_LOSSES.values()), xyz_scale=1.5,
    against=Beside("replication", "/fine", "units of 5 m", "units of 1.5 m"),
)  # fmt: skip
RECORDS["course_more"] = replace(
    RECORDS["replication"], name="course-more-seeds", prefix="course_more_", further_scenes={},
    fusions=tuple(WITH_LOSSES.values()), beside=(), together=None,
)  # fmt: skip
FURTHER_TITLES = {
    **{name: f"{TITLES[fusion]}, auxiliary losses" for name, fusion in WITH_LOSSES.items()},
    TWO_LIDARS: "two networks of the LiDAR",
    **{name: f"{TITLES['early']}, XYZ in units of {unit:g} m" for name, unit in RESCALED.items()},
    **{name: f"{TITLES[WHOLE]}, {words}" for name, words in IN_PART.items()},
}
"""Of fusions that the study does not train."""


def called(name: str) -> str:
    """The title of a variant, of the study or not."""
    fusion, downsampling = parts(name)
    if fusion not in FURTHER_TITLES:
        return title(name)
    return f"{FURTHER_TITLES[fusion]}, {DOWNSAMPLING_TITLES[downsampling]}"


def fusion_called(fusion: str) -> str:
    """The title of a fusion, whatever its downsampling."""
    return FURTHER_TITLES.get(fusion, TITLES.get(fusion, fusion))
