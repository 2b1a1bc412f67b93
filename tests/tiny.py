"""Params that make the whole pipeline tiny: few scenes, one epoch, two fusions, two seeds."""

import re

FUSIONS, DOWNSAMPLINGS, SEEDS = ("late", "hadamard"), ("maxpool", "strided"), (51, 52)
VARIANTS = [f"{fusion}-{downsampling}" for fusion in FUSIONS for downsampling in DOWNSAMPLINGS]
TINY = {
    "data": {
        "source": "simulate",
        "scenes": 18,
        "subset": 10,
        "valid_fraction": 0.2,
        "test": 6,
        "split_seed": 51,
        "unlabelled": 3,
    },
    "tracking": {"mode": "auto"},
    "seeds": list(SEEDS),
    "device": "cpu",
    "variants": {"fusion": list(FUSIONS), "downsampling": list(DOWNSAMPLINGS)},
    "fusion": {
        name: {"epochs": 1, "batch_size": 8} for name in ("rgb", "lidar", "early", "late", "concat", "add", "hadamard")
    },
    "lidar": {"epochs": 1, "batch_size": 8},
    "cilp": {"steps": 4, "batch_size": 8, "validate_every": 2},
    "projector": {"epochs": 2, "batch_size": 8},
    "rgb2lidar": {"epochs": 2, "batch_size": 8},
    "modality_dropout": {"fusion": ["late"]},
    "significance": {"resamples": 200},
    "random_size": {
        "seeds": [51],
        "train": 8,  # as many scenes as data_efficiency asks for at most
        "valid": 2,
        "auxiliary_losses": ["late"],
        "cilp_steps": 2,
        "pretraining": {"unlabelled": 3},
    },
    "fusion_course": {"seeds": [51], "auxiliary_losses": ["late"]},
    "data_efficiency": {
        "scenes": [2, 4, 8],  # the last are all that train
        "fusion": "late",
        "least_steps": 2,
        "head": {"epochs": 1, "batch_size": 8},
    },
    "audit": {"scenes": 2},
    "sensor_failures": {
        "pairs": 4,
        "beams_dropped": [0.0, 1.0],
        "range_noise": [0.5],
        "image_noise": [0.1],
        "exposure": [0.0],
    },
    "cilp_ablation": {
        "pairs": 64,
        "recipes": {
            "reference": {"cilp": {"batch_size": 8}},
            **dict.fromkeys(["ours", "no-he", "no-shading", "no-twins", "no-augmentation", "no-unlabelled"]),
        },
    },
}


def stages_run(output):
    """Names of the stages that DVC says it ran."""
    return re.findall(r"Running stage '([^']+)'", output)
