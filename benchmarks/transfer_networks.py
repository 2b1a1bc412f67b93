"""The classifiers of ``transfer_seeds.py``: image classifiers with and without CILP, where size tells nothing.

Each network is trained once for a seed and kept, so that an interrupted run goes on after the last of them.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from more_seeds_course import digest
from more_seeds_networks import RANDOM_SIZE, TEST_SCENES, logits_on, random_size_test
from resized_pairs import LARGEST, ResizedPairs
from torch import Tensor, nn

from cilp import packed, params
from cilp.classifiers import random_size
from cilp.classifiers.course import Course, CourseValidation, OneCycleParams, course_of, take_course
from cilp.classifiers.images import answers, train_image
from cilp.classifiers.transfer import TransferProtocol, train_lidar, train_rgb2lidar
from cilp.contrastive.pairs import load_pairs, load_training_pairs
from cilp.contrastive.pretraining import CilpParams, evaluate, pretrain
from cilp.contrastive.projection import projected_head, train_projector
from cilp.embeddings import embed_split
from cilp.evaluation.audit import FIRST_SCENE
from cilp.models import lidar
from cilp.models.cilp import Cilp
from cilp.models.embedder import Embedder, EmbedderParams
from cilp.models.lidar import LidarClassifier
from cilp.models.rgb2lidar import RgbToLidar
from cilp.packing import pack_scenes
from cilp.simulation.processes import rendering
from cilp.simulation.varied import of_random_size
from cilp.training.checkpoint import load_checkpoint, save_checkpoint
from cilp.training.classifier import TrainingParams
from cilp.training.inputs import LidarSplit, Pairs, Split, load_split, seen_by
from cilp.training.loop import Run

NETWORKS = Path("models/transfer_seeds")
"""By what was seen and the machine that made them, as those of ``more_seeds.py`` are."""
MORE, MATCHED, BOTH, APART, RESIZED = "more", "matched", "more_matched", "more_apart", "more_resized"
COURSE = "course"
"""Behind the name of a classifier: pretrained, or distilled, on as many pairs and steps as on the default scenes;
pretrained on twins of matched size; on as many of those; on as many of any size, in batches at random, in which twins
seldom meet; on as many of any size, each sensor's view of them magnified by a factor of its own; taught by, or with the
head of, a LiDAR classifier that took CILP's course."""
MANY = (MORE, BOTH, APART, RESIZED)
"""Those that see as many pairs as on the default scenes."""
UNTRAINED, DISTANCE = "untrained", "distance"
"""With the head of a LiDAR classifier that nothing has trained; with a projector that knows no label of an image, only
where the LiDAR classifier puts the range image beside it."""
AS_THERE = ""
"""Pretrained, or distilled, on the labelled scenes and for the steps of ``random_size``."""


@dataclass(frozen=True)
class Scenes:
    """What all of them learn from and are tested on."""

    labelled: packed.Packed
    unlabelled: packed.Packed
    matched: packed.Packed
    unlabelled_matched: packed.Packed
    train: Split
    valid: Split
    test: Split

    @classmethod
    def of(cls, settings: dict[str, Any], device: torch.device) -> Self:
        """The study's labelled scenes of random size, as many more without labels as bring them to the number that CILP
        sees of the default ones, all of these over again with twins of matched size, and those that test
        ``more_seeds.py``."""
        labelled, sizes, simulation = packed.load(RANDOM_SIZE), random_size.sizes(settings), of_random_size(settings)
        first = sizes.scenes()["val"].stop
        further = {"train": range(first, first + settings["random_size"]["pretraining"]["unlabelled"])}
        by_size = {matched: partial(rendering, simulation, matched_twins=matched) for matched in (False, True)}
        unlabelled, unlabelled_matched = (pack_scenes(further, rendered) for rendered in by_size.values())
        matched = pack_scenes(sizes.scenes(), by_size[True])
        train, valid = (load_split(labelled, split, device) for split in ("train", "val"))
        test = random_size_test(settings, device)
        return cls(labelled, unlabelled, matched, unlabelled_matched, train, valid, test)

    def pairs(self, way: str, mirror: bool) -> Pairs:
        """Those that CILP, or a student, sees."""
        data = self.matched if way in (MATCHED, BOTH) else self.labelled
        pool = {BOTH: self.unlabelled_matched}.get(way, self.unlabelled if way in MANY else None)
        return load_training_pairs(data, pool, mirror, self.train.scene.device)

    def validation(self, way: str) -> Pairs:
        """Those that CILP's weights are chosen by."""
        data = self.matched if way in (MATCHED, BOTH) else self.labelled
        return load_pairs([(data, data.rows("val"))], self.train.scene.device)


def twins(settings: dict[str, Any], device: torch.device) -> dict[str, Pairs]:
    """The scenes that test, as they are and with twins of matched size: the same cubes, and other spheres."""
    numbers, simulation = range(FIRST_SCENE, FIRST_SCENE + TEST_SCENES), of_random_size(settings)
    packs = {
        kind: pack_scenes({"test": numbers}, partial(rendering, simulation, matched_twins=kind == MATCHED))
        for kind in (AS_THERE, MATCHED)
    }
    return {kind: load_pairs([(pack, slice(None))], device) for kind, pack in packs.items()}


class Networks:
    """Those of one seed, trained when they are first asked for."""

    def __init__(self, seed: int, settings: dict[str, Any], scenes: Scenes):
        self.seed, self.scenes, self.device = seed, scenes, scenes.train.label.device
        self.embedder = params.section(settings, "embedder", EmbedderParams)
        self.reference = params.section(settings, "lidar", TrainingParams)
        self.one_cycle = params.section(settings, "image_classifier", OneCycleParams)
        self.bridge = TransferProtocol.of(settings)
        few, many = random_size.sizes(settings).cilp_steps, settings["cilp"]["steps"]
        steps = {AS_THERE: few, MATCHED: few, **dict.fromkeys(MANY, many)}
        cilp, course = params.section(settings, "cilp", CilpParams), course_of(settings)
        self.cilp = {way: replace(cilp, steps=count, twins=cilp.twins and way != APART) for way, count in steps.items()}
        self.courses = {way: replace(course, steps=count) for way, count in steps.items()}
        self.folder = NETWORKS / digest(scenes.train, scenes.valid)

    def logits(self, name: str) -> Tensor:
        """What the classifier of this name says of the test set: (N,) float64."""
        kind, *ways = name.split("/")
        course, way = COURSE in ways, next((way for way in ways if way in self.cilp), AS_THERE)
        if kind == "lidar":
            model: nn.Module = self.lidar(course)
        elif kind == "rgb2lidar":
            images = self.pretrained(way).rgb
            frozen = self.untrained() if UNTRAINED in ways else self.lidar(course)
            splits = self.scenes.train, self.scenes.valid
            label = f"{name}, seed {self.seed}"
            if DISTANCE in ways:
                model = self.by_distance(images, frozen, splits, label)
            else:
                model = train_rgb2lidar(images, frozen, self.bridge, *splits, self.seed, label).model
        else:
            model = self.image(kind, way, course)
        return logits_on(model, seen_by(self.scenes.test, ["lidar" if kind == "lidar" else "rgb"]))

    def lidar(self, course: bool) -> LidarClassifier:
        """The LiDAR classifier, trained by the reference protocol or on CILP's course; frozen."""
        run = Run(self.seed, f"lidar{'/course' if course else ''}, seed {self.seed}")
        train, valid = (LidarSplit.of(split) for split in (self.scenes.train, self.scenes.valid))
        if course:
            by = {**asdict(self.courses[AS_THERE]), **asdict(self.one_cycle)}
            return self._kept(f"lidar/{COURSE}", "lidar", by, lambda: self.lidar_on_course(train, valid, run))
        protocol = self.reference
        return self._kept(
            "lidar/reference", "lidar", asdict(protocol),
            lambda: train_lidar(self.embedder, protocol, train, valid, run).model,
        )  # fmt: skip

    def lidar_on_course(self, train: LidarSplit, valid: LidarSplit, run: Run[CourseValidation]) -> LidarClassifier:
        """The LiDAR classifier that takes CILP's course on these scenes, told the labels."""
        shared, own = self.courses[AS_THERE], self.one_cycle
        arguments = self.embedder.arguments()
        return take_course(
            lambda: lidar.build(**arguments), train, train.label, valid, valid.label, shared, own, run
        ).model

    def untrained(self) -> LidarClassifier:
        """A LiDAR classifier as it begins; frozen."""
        torch.manual_seed(self.seed)
        return lidar.build(**self.embedder.arguments()).to(self.device).requires_grad_(False).eval()

    def by_distance(self, images: Embedder, frozen: LidarClassifier, splits: Sequence[Split], label: str) -> RgbToLidar:
        """The RGB-to-LiDAR classifier whose projector is fitted to the LiDAR classifier's embeddings alone."""
        both = [
            (embed_split(images, split).embedding, embed_split(frozen.embedder, split).embedding) for split in splits
        ]
        projector = train_projector(*both, self.bridge.projector, Run(self.seed, f"projector, {label}"), "projector")
        return RgbToLidar(copy.deepcopy(images), projected_head(projector.model, frozen.head)).eval()

    def pretrained(self, way: str) -> Cilp:
        """Both embedders; frozen."""
        protocol, scenes = self.cilp[way], self.scenes
        run: Run = Run(self.seed, f"CILP{f', {way}' if way else ''}, seed {self.seed}")
        return self._kept(
            f"cilp/{way or 'as_there'}", "cilp", self._by(protocol, way),
            lambda: pretrain(self.pairs(way), scenes.validation(way), protocol, self.embedder, run).model,
        )  # fmt: skip

    def pairs(self, way: str) -> Pairs:
        """Those that CILP sees, as it sees them."""
        pairs = self.scenes.pairs(way, self.cilp[way].mirror)
        return ResizedPairs.by(pairs, self.seed) if way == RESIZED else pairs

    def twin_accuracy(self, way: str, pairs: Pairs) -> float:
        """Share of the images that are nearer to their own range image than to that of their twin."""
        found = evaluate(self.pretrained(way), pairs)["twin_accuracy"]
        assert found is not None  # every scene has both shapes
        return found

    def image(self, kind: str, way: str, course: bool) -> nn.Module:
        """An image classifier that takes CILP's course: told labels, or what a LiDAR classifier says."""
        shared, own, valid = self.courses[way], self.one_cycle, self.scenes.valid
        name = "/".join(filter(None, [kind, way, COURSE if course else ""]))
        by = {**self._by(shared, way), **asdict(own)}
        if kind == "image_distilled":
            by["teacher"] = asdict(self.courses[AS_THERE] if course else self.reference)

        def train() -> nn.Module:
            pairs = self.scenes.pairs(way, shared.mirror)
            if kind == "image_distilled":
                teacher = self.lidar(course)
                told = answers(teacher, pairs), answers(teacher, valid)
            else:
                told = self.scenes.train.label, valid.label
            run: Run = Run(self.seed, f"{name}, seed {self.seed}")
            return train_image(pairs, told[0], valid, told[1], shared, own, self.embedder, run).model

        return self._kept(name, "image_classifier", by, train)

    def _by(self, protocol: Course | CilpParams, way: str) -> dict[str, Any]:
        by = {**asdict(protocol), "further_pairs": len(self.scenes.unlabelled.scene) if way in MANY else 0}
        return {**by, "largest": LARGEST} if way == RESIZED else by

    def _kept(self, name: str, kind: str, made_by: dict[str, Any], train: Callable[[], Any]) -> Any:
        """The network of this name: the one that was trained so before, or a new one."""
        path, arguments = self.folder / name / f"seed-{self.seed}.pt", self.embedder.arguments()
        if path.is_file():
            model, kept = load_checkpoint(path, self.device)
            if (kept["params"], kept["arguments"]) == (made_by, arguments):
                return model.requires_grad_(False)
        model = train()
        save_checkpoint(path, model, kind, arguments, made_by, self.seed)
        return model.requires_grad_(False).eval()
