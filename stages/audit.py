"""Show every classifier scenes in which shape no longer goes along with size, light or place.

    PYTHONPATH=src python stages/audit.py

Renders the conditions of ``audit.conditions``; writes ``metrics/audit/fixed_size.json``. With ``--random-size SEED``
the classifiers are not those of the study but those trained on scenes of random size with that seed, and
``metrics/audit/random_size-<seed>.json`` is written; with ``--fusion-course SEED`` the fusions that took CILP's course
there, and ``fusion_course-<seed>.json``. The last row is the size rule's, which is no network and takes no course.
"""

import argparse
from pathlib import Path

from cilp import params
from cilp.atomic import write_json
from cilp.console import cli
from cilp.console.progress import track
from cilp.cores import available_cores
from cilp.evaluation.audit import audit, conditions, mean_returns, rendered, scenes_of
from cilp.evaluation.models import SIZE_RULE, classifiers, on_course, on_random_sizes
from cilp.evaluation.predictions import load_classifier, probabilities
from cilp.training.device import prepare_device
from cilp.training.seeds import check_seeds, summarise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--random-size", type=int, metavar="SEED")
    which.add_argument("--fusion-course", type=int, metavar="SEED")
    given = parser.parse_args()
    settings = params.load()
    scenes = scenes_of(settings)
    if given.random_size is not None:
        seeds = [given.random_size]
        name, folder, models = f"random_size-{seeds[0]}", Path("models/random_size"), on_random_sizes(settings)
    elif given.fusion_course is not None:
        seeds = [given.fusion_course]
        name, folder, models = f"fusion_course-{seeds[0]}", Path("models/fusion_course"), on_course(settings)
    else:
        seeds = check_seeds(params.lookup(settings, "seeds"))
        name, folder, models = "fixed_size", Path("models"), classifiers(settings)
    runs = [(model, seed) for model in models for seed in seeds]
    if given.fusion_course is None:
        runs.append((SIZE_RULE, seeds[0]))
    asked = conditions(settings)
    device = prepare_device(params.lookup(settings, "device"))
    splits = {
        name: rendered(condition.simulate, scenes, available_cores(), device, condition.lidar)
        for name, condition in track(asked.items(), "render", total=len(asked), unit="conditions")
    }
    found = {model: {name: {} for name in asked} for model, _ in runs}
    for model, number in track(runs, "audit", unit="models"):
        classifier = load_classifier(folder, model, number, device)
        for condition, split in splits.items():
            found[model][condition][number] = vars(audit(probabilities(classifier, split), split))
    accuracies = {model: {name: summarise(by_seed) for name, by_seed in rows.items()} for model, rows in found.items()}
    returns = {name: mean_returns(split) for name, split in splits.items()}
    figures = {"scenes": returns, "models": accuracies, "seeds": len(seeds)}
    write_json(Path(f"metrics/audit/{name}.json"), figures)
    for model, rows in accuracies.items():
        print(f"{model}: " + ", ".join(f"{name} {row['accuracy']:.3f}" for name, row in rows.items()))


if __name__ == "__main__":
    cli.run(main)
