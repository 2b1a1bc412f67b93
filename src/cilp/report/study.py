"""The whole study as one document, from its figures, tables and pictures."""

from collections.abc import Iterable, Mapping
from typing import Any

from cilp.evaluation.models import BASELINES, DECISION
from cilp.report.finding import Finding
from cilp.report.provenance import SOURCES

TABLES = {  # file of metrics/ and the pictures of plots/ that go with it
    "fusion_comparison": ("fusion_loss_curves",),
    "strided_ablation": (),
    "cilp_results": ("cilp_curves", "similarity_sorted"),
    "cilp_ablation": (),
    "significance": (),
    "audit": ("audit",),
    "sensor_failures": ("sensor_failures",),
    "data_efficiency": ("data_efficiency",),
}
FOLDED = {
    "significance": "Intervals of all classifiers, and all comparisons",
    "audit": "Accuracy on cubes / on spheres",
}
"""Tables too long to be read in passing, and what the line says that unfolds them."""
PICTURES = {
    "fusion_loss_curves": "Training and validation loss of all variants, median over the seeds and each seed thin",
    "cilp_curves": "Pretraining: training loss, twin test and recall over the steps",
    "similarity_sorted": "Cosines of all validation pairs, sorted by class",
    "calibration": "Reliability diagrams of all classifiers on the test set",
    "audit": "Heat maps of accuracy by classifier and condition",
    "sensor_failures": "Accuracy of each classifier against how badly each sensor fails",
    "data_efficiency": "Accuracy against labelled scenes, with and without pretraining",
}
QUESTION = """A camera takes a 64x64 RGBA picture of one object, a LiDAR a 64x64 range image. Is it a cube or a sphere?
Where should the two be fused, what does max-pooling buy over strided convolution, and can contrastive image-LiDAR
pretraining (CILP) make a classifier that knows only LiDAR work on images?"""


def study_markdown(settings: Mapping[str, Any], findings: Iterable[Finding], tables: Mapping[str, str]) -> str:
    """The document; ``tables`` are the texts of ``metrics/<name>.md``, in ``TABLES``."""
    sections = [
        "# The study",
        "<!-- Written by `dvc repro write_report` from metrics/ and plots/; what is typed in here is lost. -->",
        f"## Question\n\n{QUESTION}",
        f"## Set-up\n\n{_set_up(settings)}",
        "## Findings\n\n" + "\n".join(finding.markdown() for finding in findings),
    ]
    for name, pictures in TABLES.items():
        title, _, body = tables[name].strip().partition("\n\n")
        sections.append(f"#{title}")  # one level down
        sections.append(
            f"<details>\n<summary>{FOLDED[name]}</summary>\n\n{body}\n\n</details>" if name in FOLDED else body
        )
        sections += map(_picture, pictures)
    sections += ["## Calibration", _picture("calibration")]
    return "\n\n".join(sections) + "\n"


def _set_up(settings: Mapping[str, Any]) -> str:
    data, variants = settings["data"], settings["variants"]
    valid = round(data["subset"] * data["valid_fraction"])
    seeds = ", ".join(map(str, settings["seeds"]))
    baselines = [f"`{name}`" for name in variants["fusion"] if name in BASELINES]
    if len(baselines) == len(BASELINES):
        alone = f" {' and '.join(baselines)} see one sensor alone; `{DECISION}` asks both and adds up their log odds."
    else:
        alone = "".join(f" {name} sees one sensor alone." for name in baselines)
    lines = [
        f"- Data: {SOURCES.get(data['source'], data['source'])}; {data['subset'] - valid:,} scenes train, {valid:,} "
        f"validate, {data['test']:,} are held out for the test, if the source does not say otherwise. Each is a cube "
        "and a sphere at the same place, in the same colour and light.",
        f"- Variants: {', '.join(variants['fusion'])}, each with {' and '.join(variants['downsampling'])}; seeds "
        f"{seeds}.{alone}",
        "- The checkpoint with the lowest validation loss is kept; the test set chooses nothing. A difference is "
        f"beyond noise if its p-value over seeds and test scenes, corrected for all comparisons, is at most "
        f"{1 - settings['significance']['confidence']:.2g}.",
    ]
    return "\n".join(lines)


def _picture(name: str) -> str:
    return f"![{PICTURES[name]}](../plots/{name}.png)"
