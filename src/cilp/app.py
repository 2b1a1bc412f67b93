"""Open the FiftyOne App on the subset, with what every model says of it.

    PYTHONPATH=src python -m cilp.app [--port 5151] [--address 127.0.0.1] [--browser]

Shows ``data/subset`` with the predictions of the first seed (``data/predictions.csv``), the views "mistakes" and "test
set", and CILP's embeddings (``models/cilp``) as scatter plots. What is missing is left out. The dataset is built anew
each time, in a database that ends with this command; your own FiftyOne datasets are not touched, nor is ``data/``.

The App has no login, and hands out any file that you may read: serve it to an address other than loopback only where
you trust everyone.
"""

import argparse
import asyncio
import math
import re
import signal
import socket
import tempfile
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib
import numpy as np
import torch
from PIL import Image

from cilp import packed, params
from cilp.console import cli
from cilp.console.progress import ProgressBar, track
from cilp.contrastive.frozen import load_frozen
from cilp.contrastive.pairs import load_pairs
from cilp.contrastive.pretraining import embed
from cilp.errors import UserError
from cilp.evaluation.table import Prediction, read_predictions
from cilp.models.cilp import Cilp
from cilp.packed import Packed
from cilp.raw.exported import read_export
from cilp.raw.layout import CLASSES
from cilp.report.contact_sheet import TILT, TURN, as_the_camera_sees_it
from cilp.sensors import MAX_RANGE, returns
from cilp.subset.database import connect
from cilp.subset.grouped import DATASET_NAME, SLICES
from cilp.training.device import prepare_device
from cilp.training.seeds import check_seeds

SUBSET, PREDICTIONS, PACKED, MODELS = (
    Path(path) for path in ("data/subset", "data/predictions.csv", "data/packed.pt", "models/cilp")
)
MISTAKES, TEST_SET = "mistakes", "test set"
PLOTS = ("cilp_image", "cilp_lidar")
"""Brain runs of the embeddings of either modality."""
COLOURS = {"cube": "#4c9be8", "sphere": "#f2a33a"}
PALETTE = np.vstack([np.zeros(3), matplotlib.colormaps["viridis"](np.linspace(0.1, 1, 255))[:, :3]])
"""Colours (256, 3) in [0, 1] of range images: black without a return, then from the farthest return to the nearest."""
EYE = 11 * np.array([math.sin(TURN) * math.cos(TILT), -math.cos(TURN) * math.cos(TILT), math.sin(TILT)])
"""From where a point cloud is looked at, in metres from its middle."""
EMBEDDED_AT_A_TIME = 500
GRID_ZOOM = 8
"""Out of 10: tiles large enough for the labels on them."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends the App: Ctrl-C, ``kill``, and a terminal that is closed."""
SECONDS_TO_STOP = 3.0
"""How long open pages may keep the server from ending."""

Key = tuple[int, str]
"""Scene and class, which name an object."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=5151, help="port to serve at; 0 takes a free one (default: 5151)")
    parser.add_argument("--address", default="127.0.0.1", help="address to serve at (default: 127.0.0.1, loopback)")
    parser.add_argument("--browser", action="store_true", help="open it in the browser, too")
    arguments = parser.parse_args()
    settings = params.load()
    seed = check_seeds(params.lookup(settings, "seeds"))[0]
    device = prepare_device(params.lookup(settings, "device"))
    listener = listen(arguments.address, arguments.port)  # before anything that takes its time
    with listener, tempfile.TemporaryDirectory(prefix="cilp-app-") as folder:
        dataset = build(Path(folder), seed, device)
        url = f"http://{arguments.address}:{listener.getsockname()[1]}"

        def announce() -> None:
            print(f"The App is at {url}; Ctrl-C ends it.", flush=True)
            if arguments.browser:
                webbrowser.open(url)

        serve(dataset, listener, announce)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # a second Ctrl-C must not keep the database from being removed


def build(folder: Path, seed: int, device: torch.device) -> Any:
    """The dataset with everything that there is to show; what is drawn for it goes into ``folder``.

    Raises:
        UserError: the subset is missing, or FiftyOne has no database to work with.
    """
    dataset = load_subset(SUBSET)
    replace_media(dataset, "lidar", draw_range_image, folder)
    replace_media(dataset, "pcd", set_scene, folder)
    try:
        add_predictions(dataset, read_predictions(PREDICTIONS), seed)
    except UserError as error:
        print(f"without predictions: {error}", flush=True)
    try:
        path = MODELS / f"seed-{seed}.pt"
        if not path.is_file():
            raise UserError(f"{path} is missing; train it with `dvc repro pretrain_cilp`, or fetch it with `dvc pull`.")
        add_embeddings(dataset, packed.load(PACKED), load_frozen(path, Cilp, device))
    except UserError as error:
        print(f"without embeddings: {error}", flush=True)
    dataset.save_view(TEST_SET, dataset.match_tags("test"), description="The objects held out for the final figures")
    dataset.save()
    return dataset


def load_subset(subset: Path) -> Any:
    """The grouped dataset that was exported to ``subset``, on the throwaway database.

    Raises:
        UserError: it is missing or damaged, or FiftyOne has no database to work with.
    """
    if not (subset / "samples.json").is_file():
        raise UserError(f"{subset} is missing; make it with `dvc repro subset`, or fetch it with `dvc pull`.")
    read_export(subset)  # which says what is wrong with it
    print(f"loading {subset} into FiftyOne", flush=True)
    fo = connect()
    return fo.Dataset.from_dir(
        dataset_dir=str(subset.resolve()),
        dataset_type=fo.types.FiftyOneDataset,
        name=DATASET_NAME,
        overwrite=True,
        progress=False,
    )


def replace_media(dataset: Any, name: str, draw: Callable[[Path, Path], Path], folder: Path) -> None:
    """Replace the samples of a slice by ones that show what ``draw`` makes of the exported files, which ``file`` names.

    ``draw`` takes an exported file and a path in ``folder`` without suffix, and returns what it has written there.

    Raises:
        UserError: an exported file cannot be read.
    """
    fo = connect()
    columns = dataset.select_group_slices(name).values(["filepath", "group.id", "label.label", "scene", "tags"])
    samples = []
    for path, group, label, scene, tags in track(list(zip(*columns, strict=True)), f"drawing {name}", unit="objects"):
        try:
            drawn = draw(Path(path), folder / Path(path).stem)
        except (OSError, ValueError, EOFError) as error:
            raise UserError(
                f"{path} cannot be read ({error}); run `dvc repro --force subset` to make it anew."
            ) from None
        element = fo.Group(id=group).element(name)
        samples.append(
            fo.Sample(
                str(drawn), group=element, label=fo.Classification(label=label), scene=scene, tags=tags, file=path
            )
        )
    dataset.delete_group_slice(name)
    dataset.add_samples(samples, progress=False)


def draw_range_image(path: Path, target: Path) -> Path:
    """Draw a range image (azimuth, zenith; metres; .npy) as the camera would see it, a pixel a ray, into a PNG.

    Colours span the object, from the farthest return (violet) to the nearest (yellow); black is no return.
    """
    range_image = np.load(path, allow_pickle=False)
    hit = returns(range_image)
    shade = np.zeros(range_image.shape, dtype=np.uint8)
    if hit.any():
        far = range_image[hit].max()
        depth = max(far - range_image[hit].min(), 1e-6)
        shade[hit] = 1 + np.rint(254 * (far - range_image[hit]) / depth).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(as_the_camera_sees_it(shade)))
    picture.putpalette(np.rint(255 * PALETTE).astype(np.uint8).tobytes())
    picture.save(target.with_suffix(".png"))
    return target.with_suffix(".png")


def set_scene(path: Path, target: Path) -> Path:
    """Put a point cloud (.pcd) into a 3D scene (.fo3d) that is entered looking at it from the right and above."""
    fo = connect()
    points = np.frombuffer(path.read_bytes().partition(b"DATA binary\n")[2], dtype="<f4").reshape(-1, 3)
    middle = (points.min(axis=0) + points.max(axis=0)) / 2 if len(points) else np.array([0.0, MAX_RANGE / 2, 0.0])
    eye = middle + EYE
    scene = fo.Scene(camera=fo.PerspectiveCamera(position=eye.tolist(), look_at=middle.tolist(), up="Z"))
    scene.add(fo.PointCloud("returns", str(path), fo.PointCloudMaterial(shading_mode="height", point_size=4.0)))
    scene.write(str(target.with_suffix(".fo3d")))
    return target.with_suffix(".fo3d")


def field_name(model: str) -> str:
    """The field of a model's predictions: ``late_maxpool`` for ``fusion/late-maxpool``."""
    return re.sub(r"\W", "_", Path(model).name)


def add_predictions(dataset: Any, predictions: Sequence[Prediction], seed: int) -> None:
    """What every model, trained on ``seed``, says of each object, a field a model, on all slices; and the mistakes.

    ``wrong`` counts the models that are wrong, ``wrong_models`` lists their fields. A saved view holds the objects
    with any, those that most get wrong first. Objects without predictions (training) have none of these fields.

    Raises:
        UserError: there are none of this seed, or some are of objects that the dataset does not have.
    """
    fo = connect()
    cure = f"run `dvc repro predict` to write {PREDICTIONS} anew."
    objects = dataset.select_group_slices("rgb")
    splits = dict(zip(_keys(objects), objects.values("tags"), strict=True))
    said: dict[str, dict[Key, Prediction]] = {}  # by field
    wrong: dict[Key, list[str]] = {}
    for prediction in predictions:
        if prediction.seed != seed:
            continue
        field, key = field_name(prediction.model), (prediction.scene, CLASSES[prediction.label])
        if prediction.split not in splits.get(key, []):
            raise UserError(
                f"There are predictions of objects that are not in the subset, or not in that split; {cure}"
            )
        said.setdefault(field, {})[key] = prediction
        mistaken = wrong.setdefault(key, [])
        if prediction.predicted != prediction.label:
            mistaken.append(field)
    if not said:
        raise UserError(f"There are no predictions of seed {seed}; {cure}")

    for field, by_key in said.items():
        model = next(iter(by_key.values())).model
        dataset.add_sample_field(
            field, fo.EmbeddedDocumentField, fo.Classification, description=f"What {model}, seed {seed}, says"
        )
    dataset.add_sample_field("wrong", fo.IntField, description="How many models are wrong")
    dataset.add_sample_field(
        "wrong_models", fo.ListField, subfield=fo.StringField, description="Which models are wrong"
    )
    for name in track(list(SLICES), "adding predictions", unit="slices"):
        view = dataset.select_group_slices(name)
        ids = dict(zip(_keys(view), view.values("id"), strict=True))
        for field, by_key in said.items():
            labels = {ids[key]: _classification(fo, prediction) for key, prediction in by_key.items()}
            view.set_values(field, labels, key_field="id")
        view.set_values("wrong_models", {ids[key]: mistaken for key, mistaken in wrong.items()}, key_field="id")
        view.set_values("wrong", {ids[key]: len(mistaken) for key, mistaken in wrong.items()}, key_field="id")

    mistakes = dataset.match(fo.ViewField("wrong") > 0).sort_by("wrong", reverse=True)
    dataset.save_view(MISTAKES, mistakes, description="What at least one model gets wrong; what most get wrong first")
    show_fields(dataset, list(said))
    print(f"{sum(map(bool, wrong.values())):,} of {len(wrong):,} objects are mistaken by a model or more", flush=True)


def _classification(fo: ModuleType, prediction: Prediction) -> Any:
    sphere = prediction.probability
    return fo.Classification(label=CLASSES[prediction.predicted], confidence=max(sphere, 1 - sphere))


def show_fields(dataset: Any, predicted: Sequence[str]) -> None:
    """Show in the grid an object's class and how many models mistake it; the rest is a tick in the sidebar away.

    A class has one colour in all fields, so that mistakes catch the eye.
    """
    fo = connect()
    colours = [{"value": label, "color": colour} for label, colour in COLOURS.items()]
    dataset.app_config.color_scheme = fo.ColorScheme(
        color_by="value",
        fields=[
            {"path": field, "colorByAttribute": "label", "valueColors": colours} for field in ("label", *predicted)
        ],
    )
    dataset.app_config.active_fields = fo.ActiveFields(paths=["label", "wrong"])
    ours = {"labels": ["label"], "mistakes": ["wrong", "wrong_models"], "predictions": list(predicted)}
    taken = [path for paths in ours.values() for path in paths]
    tags, *others = fo.DatasetAppConfig.default_sidebar_groups(dataset)
    for group in others:
        group.paths = [path for path in group.paths if path not in taken]
        group.expanded = False
    dataset.app_config.sidebar_groups = [
        tags,
        *(fo.SidebarGroupDocument(name=name, paths=paths, expanded=True) for name, paths in ours.items()),
        *(group for group in others if group.name not in ours),
    ]


def _keys(samples: Any) -> list[Key]:
    return list(zip(*samples.values(["scene", "label.label"]), strict=True))


def add_embeddings(dataset: Any, data: Packed, model: Cilp) -> None:
    """CILP's image and LiDAR embeddings of every object, on the slice "rgb", as two brain runs to plot.

    Raises:
        UserError: the packed data hold other objects than the dataset.
    """
    connect()
    import fiftyone.brain as fob

    view = dataset.select_group_slices("rgb")
    row = {
        (scene, CLASSES[label]): number
        for number, (scene, label) in enumerate(zip(data.scene.tolist(), data.label.tolist(), strict=True))
    }
    keys = _keys(view)
    if row.keys() != set(keys):
        raise UserError(f"{PACKED} holds other objects than {SUBSET}; run `dvc repro pack` to write it anew.")
    order = [row[key] for key in keys]
    for name, embeddings in zip(PLOTS, embed_all(data, model), strict=True):
        fob.compute_visualization(
            view, embeddings=embeddings[order], method="pca", svd_solver="full", brain_key=name, progress=False
        )
    dataset.save_workspace("embeddings", workspace(), description="Objects beside CILP's embeddings of them")


def embed_all(data: Packed, model: Cilp) -> tuple[np.ndarray, np.ndarray]:
    """Image and LiDAR embeddings (N, 200) float32 of every pair, in order."""
    device = next(model.parameters()).device
    parts = []
    with ProgressBar("embedding with CILP", len(data.scene), unit="pairs") as bar:
        for start in range(0, len(data.scene), EMBEDDED_AT_A_TIME):
            pairs = load_pairs([(data, slice(start, start + EMBEDDED_AT_A_TIME))], device)
            parts.append([part.cpu().numpy() for part in embed(model, pairs)])
            bar.advance(len(pairs))
    rgb, lidar = (np.concatenate(part) for part in zip(*parts, strict=True))
    return rgb, lidar


def workspace() -> Any:
    """The grid of samples, and beside it the embeddings."""
    fo = connect()
    grid = fo.Panel(type="Samples", pinned=True)
    plot = fo.Panel(type="Embeddings")  # which lists the plots: it does not let one be chosen for it
    halves = [fo.Space(children=[panel], active_child=panel.component_id) for panel in (grid, plot)]
    return fo.Space(children=halves, orientation="horizontal", sizes=[0.6, 0.4])


def listen(address: str, port: int) -> socket.socket:
    """A socket that listens at address and port.

    Raises:
        UserError: they are taken, or not to be had.
    """
    try:
        return socket.create_server((address, port))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{address}:{port} cannot be served ({reason}); choose another one with --port.") from None


def serve(dataset: Any, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Serve the App on ``dataset`` until one of ``SIGNALS``; ``announce`` is called once it can be interrupted.

    It runs in this process, which holds the database; ``fiftyone.launch_app`` starts another one, joins a server that
    it finds at the port, and cannot end it while a page is open.
    """
    fo = connect()
    from fiftyone.core.state import StateDescription, build_color_scheme
    from fiftyone.server.app import app
    from fiftyone.server.events.state import set_state

    fo.config.singleton_cache = False  # as in FiftyOne's own server, whose threads must not share datasets
    config = fo.app_config.copy()
    config.grid_zoom = GRID_ZOOM
    set_state(
        StateDescription(
            dataset=dataset,
            config=config,
            group_slice=dataset.group_slice,
            spaces=workspace() if dataset.has_brain_runs else None,
            color_scheme=build_color_scheme(None, dataset),
        )
    )
    asyncio.run(_serve(app, listener, announce))


async def _serve(app: Any, listener: socket.socket, announce: Callable[[], None]) -> None:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    stop = asyncio.Event()
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "CRITICAL"
    server = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    stopped = asyncio.create_task(stop.wait())
    announce()
    await asyncio.wait({server, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if stop.is_set():
        await asyncio.wait({server}, timeout=SECONDS_TO_STOP)
    if server.done():
        server.result()
    else:  # what is cut off now complains about it
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)


if __name__ == "__main__":
    cli.run(main)
