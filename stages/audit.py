"""Show every trained classifier scenes in which shape no longer goes along with size, light or place.

    PYTHONPATH=src python stages/audit.py

Renders the conditions of ``audit.conditions``; writes ``metrics/audit.json`` and ``.md``, and ``plots/audit.png``.
"""

import argparse
from pathlib import Path

from cilp import params
from cilp.atomic import write_json, write_text
from cilp.console import cli
from cilp.console.progress import track
from cilp.evaluation.audit import AuditParams, audit, conditions, mean_over_seeds, mean_returns, rendered
from cilp.evaluation.predictions import load_classifier, probabilities
from cilp.report.audit import audit_markdown, draw_audit
from cilp.training.device import available_cores, prepare_device
from cilp.training.seeds import check_seeds


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = params.load()
    scenes = AuditParams(params.whole(settings, "audit.scenes", 1, 100_000)).scenes
    seeds = check_seeds(params.lookup(settings, "seeds"))
    variants = params.lookup(settings, "variants")
    models = [f"fusion/{fusion}-{way}" for fusion in variants["fusion"] for way in variants["downsampling"]]
    models += ["lidar", "rgb2lidar"]
    asked = conditions(settings)
    device = prepare_device(params.lookup(settings, "device"))
    splits = {
        name: rendered(simulation, scenes, available_cores(), device)
        for name, (_, simulation) in track(asked.items(), "render", total=len(asked), unit="conditions")
    }
    found = {model: {name: {} for name in asked} for model in models}
    for model, seed in track([(m, s) for m in models for s in seeds], "audit", unit="models"):
        classifier = load_classifier(Path(f"models/{model}/seed-{seed}.pt"), device)
        for name, split in splits.items():
            found[model][name][seed] = audit(probabilities(classifier, split), split)
    accuracies = {
        model: {name: mean_over_seeds(by_seed) for name, by_seed in rows.items()} for model, rows in found.items()
    }
    returns = {name: mean_returns(split) for name, split in splits.items()}
    titles = {name: title for name, (title, _) in asked.items()}
    table = audit_markdown(accuracies, titles, returns, scenes, len(seeds), params.lookup(settings, "data.source"))
    by_name = {model.rpartition("/")[2]: rows for model, rows in accuracies.items()}
    write_json(Path("metrics/audit.json"), {"scenes": returns, "models": by_name})
    write_text(Path("metrics/audit.md"), table)
    draw_audit(accuracies, titles, Path("plots/audit.png"))
    print(table)


if __name__ == "__main__":
    cli.run(main)
