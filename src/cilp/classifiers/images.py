"""What CILP is measured against: an image classifier that has seen what CILP's image embedder has.

It takes CILP's course. What it is told of a pair makes two of it. *Supervised*, it is told the label, hence sees
labelled pairs alone. *Distilled*, it is told what a LiDAR classifier makes of the pair's range image, hence sees the
unlabelled pairs as well: cross-modal distillation (Gupta et al. 2016, arXiv:1507.00448), on the teacher's probabilities
(Hinton et al. 2015, arXiv:1503.02531) at temperature 1.
"""

import torch
from torch import Tensor

from cilp.classifiers.course import Course, CourseValidation, OneCycleParams, take_course
from cilp.console.progress import track
from cilp.models.embedder import EmbedderParams
from cilp.models.image_classifier import ImageClassifier, build
from cilp.models.lidar import LidarClassifier
from cilp.training.inputs import ImagePairs, ImageSplit, Pairs, Split, in_order
from cilp.training.loop import Run, Trained


@torch.no_grad()
def answers(teacher: LidarClassifier, pairs: Pairs, label: str | None = None) -> Tensor:
    """What a LiDAR classifier in evaluation mode makes of every pair: probabilities (N,) of a sphere, asked once.

    Mirroring a pair and permuting its colours changes no shape, so that they hold for its variations too. With a
    ``label``, progress is shown.
    """
    batches = list(in_order(len(pairs), pairs.scene.device))
    shown = track(batches, label, unit="batches") if label else batches
    return torch.cat([teacher(pairs.points(rows)) for rows in shown]).sigmoid()


def train_image(
    pairs: Pairs,
    target: Tensor,
    valid: Split,
    valid_target: Tensor,
    course: Course,
    protocol: OneCycleParams,
    embedder: EmbedderParams,
    run: Run[CourseValidation],
) -> Trained[ImageClassifier, CourseValidation]:
    """Train on the images of ``pairs``, told ``target``: labels, or a teacher's ``answers``.

    The other arguments, and what it raises, are those of ``take_course``.
    """
    return take_course(
        lambda: build(**embedder.arguments()),
        ImagePairs.of(pairs),
        target,
        ImageSplit.of(valid),
        valid_target,
        course,
        protocol,
        run,
    )
