"""Weights & Biases as a mirror of each training run: nothing reads back from it, and training goes on without it.

Online only with a key or ``WANDB_MODE=online``, else offline below ``wandb/``,
from where ``wandb sync wandb/offline-run-*`` uploads it later.
"""

import netrc
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from torch import Tensor, nn

from cilp import params
from cilp.classifiers.course import CourseValidation
from cilp.contrastive.pretraining import Validation
from cilp.contrastive.projection import ProjectorEpoch
from cilp.errors import UserError
from cilp.models.layers.blocks import count_parameters
from cilp.raw.layout import CLASSES
from cilp.training.classifier import Epoch
from cilp.training.distributed import world
from cilp.training.inputs import Split
from cilp.training.loop import Trained

MODES = ("auto", "online", "offline", "disabled")
SECONDS_TO_REACH = 15.0
"""How long a run that may as well be offline tries to be online, unless WANDB_INIT_TIMEOUT says; by default, 90."""
_unreachable: list[str] = []
"""Why it could not be: the further runs of this process do not try again."""
_gone: list[str] = []
"""Why W&B died in the middle of a run: the further ones of this process go on without it."""
OLD_HOST = "api.wandb.ai"
"""What W&B's own servers were called: a key that a login stored for them then holds for their newer name, too."""
TABLE_ROWS = 16
"""Test samples shown in the table of predictions: the first of each class."""


class MirroredRun:
    """One run; without W&B (not installed, disabled, or gone in the middle) it swallows what it is told."""

    def __init__(self, wandb_run: Any = None):
        self.wandb_run = wandb_run

    def log_epoch(self, epoch: Epoch | ProjectorEpoch) -> None:
        """Log one epoch's losses, accuracy or cosine, and learning rate, and the memory in use."""
        self._log(asdict(epoch), epoch.epoch)

    def log_step(self, validation: Validation | CourseValidation) -> None:
        """Log the figures after a number of steps, and the memory in use."""
        self._log(asdict(validation), validation.step)

    def _log(self, figures: dict[str, float | None], step: int) -> None:
        if torch.cuda.is_available():
            figures["gpu_memory_mb"] = torch.cuda.memory_allocated() / 1e6
        known = {key: value for key, value in figures.items() if value is not None}
        self._tell(lambda run: run.log(known, step=step))

    def finish_classifier(self, trained: Trained, metrics: dict[str, float], test: Split, logits: Tensor) -> None:
        """Summarise a run: figures of the checkpoint kept, cost, parameters, a table of predictions with pictures.

        Lowest validation loss and highest accuracy of all stand in the summary already, from ``log_epoch``.
        """
        unit = "step" if isinstance(trained.best, CourseValidation) else "epoch"
        best = {f"best_{unit}": getattr(trained.best, unit)}
        self._summarise(trained.model, metrics, trained.cost, **best)
        self._picture("predictions", lambda: _prediction_table(test, logits))

    def finish_cilp(self, trained: Trained, metrics: dict[str, float], similarity: Tensor) -> None:
        """Summarise a run of CILP, with the picture of ``similarity``: cosines of the first validation batch."""
        self._summarise(trained.model, metrics, trained.cost, best_step=trained.best.step)
        self._picture("similarity_matrix", lambda: _similarity_picture(similarity))

    def finish_projector(self, trained: Trained, metrics: dict[str, float]) -> None:
        """Summarise a run of the projector."""
        self._summarise(trained.model, metrics, trained.cost, best_epoch=trained.best.epoch)

    def _summarise(self, model: nn.Module, metrics: dict[str, float], cost: dict[str, float], **best: int) -> None:
        checkpoint = {f"checkpoint/{key}": value for key, value in metrics.items()}
        self._tell(lambda run: run.config.update({"parameters": count_parameters(model)}))
        self._tell(lambda run: run.summary.update({**checkpoint, **cost, **best}))

    def _picture(self, name: str, draw: Callable[[], Any]) -> None:
        def show(run: Any) -> None:
            try:
                picture = draw()
            except ImportError as error:
                print(f"no {name} in Weights & Biases: {error.name} is not installed")
                return
            run.log({name: picture})

        self._tell(show)  # drawing, too: W&B writes pictures into TMPDIR, which may be full

    def _tell(self, what: Callable[[Any], None]) -> None:
        """Have W&B do something; once it fails, its process killed or its disk full, training goes on without it."""
        if self.wandb_run is None:
            return
        try:
            what(self.wandb_run)
        except Exception as error:
            _dies(error)
            self.wandb_run = None

    def __enter__(self) -> "MirroredRun":
        return self

    def __exit__(self, failure: Any, *_: object) -> None:
        self._tell(lambda run: run.finish(exit_code=0 if failure is None else 1))


def start_run(settings: dict[str, Any], group: str, name: str, config: dict[str, Any]) -> MirroredRun:
    """Start the W&B run ``name`` within ``group``; ``settings`` is the content of ``params.yaml``.

    Raises:
        UserError: the mode is none of the legal ones, it is ``online`` and W&B cannot be reached, or W&B is set up
            with a value that it refuses.
    """
    mode = os.environ.get("WANDB_MODE") or params.choice(settings, "tracking.mode", MODES)
    if mode not in MODES:
        raise UserError(f"WANDB_MODE is {mode!r}; legal values: {', '.join(MODES)}.")
    if mode == "disabled" or not world().leads or _gone:
        return MirroredRun()
    try:
        import wandb
    except ImportError:
        return MirroredRun()
    asked_online = mode == "online"
    folder = _folder()
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "data"))  # pictures of a table; elsewhere by default

    patience = {}
    if not asked_online and "WANDB_INIT_TIMEOUT" not in os.environ:
        patience["init_timeout"] = SECONDS_TO_REACH

    def init(mode: str) -> Any:
        return wandb.init(
            project=params.lookup(settings, "tracking.project"),
            entity=params.lookup(settings, "tracking.entity"),
            group=group,
            name=name,
            config=config,
            mode=mode,
            dir=str(folder.parent),
            reinit="finish_previous",
            settings=wandb.Settings(
                silent=True,
                console="off",
                x_disable_stats=mode == "offline",
                x_save_requirements=False,  # requirements.txt has them; to list them takes most of a second
                **patience,
            ),
        )

    try:
        folder.mkdir(parents=True, exist_ok=True)
        if mode == "auto":
            mode = "online" if not _unreachable and _has_key() else "offline"
        run = init(mode)
    except wandb.errors.Error as error:
        reason = type(error).__name__  # its text may quote the key
        if asked_online:
            raise UserError(
                f"Weights & Biases cannot be reached ({reason}); run `wandb login`, or set WANDB_MODE=offline."
            ) from None
        print(f"Weights & Biases cannot be reached ({reason}); this run and the next ones are recorded offline")
        _unreachable.append(reason)
        try:
            run = init("offline")
        except Exception as error:
            _dies(error)
            return MirroredRun()
    except ValueError as error:  # pydantic's, whose text quotes the value: an address may hold a token
        names = ["WANDB_" + str(detail["loc"][0]).upper() for detail in getattr(error, "errors", list)()]
        raise UserError(
            f"Weights & Biases refuses the value of {' and '.join(names) or 'a setting'}; mend or unset it, or set "
            "WANDB_MODE=disabled."
        ) from None
    except Exception as error:
        if asked_online:
            raise
        _dies(error)
        return MirroredRun()
    started = MirroredRun(run)
    started._tell(lambda run: run.define_metric("valid_loss", summary="min"))
    for name in ("valid_accuracy", "valid_cosine", "valid_twin_accuracy", "valid_recall_at_1"):
        started._tell(lambda run, name=name: run.define_metric(name, summary="max"))
    return started


def _dies(error: Exception) -> None:
    """W&B raises whatever a client raises that has lost its other half."""
    print(f"Weights & Biases is gone ({type(error).__name__}); this run and the next ones go on without it")
    _gone.append(type(error).__name__)


def _folder() -> Path:
    """``wandb/`` of ``WANDB_DIR``, by default of the project.

    An experiment that DVC runs in a copy below ``.dvc`` leaves nothing there.
    """
    here = Path.cwd()
    project = next((folder.parent for folder in here.parents if folder.name == ".dvc"), here)
    return project / Path(os.environ.get("WANDB_DIR", "")).expanduser() / "wandb"


def _has_key() -> bool:
    """Whether W&B has something to log in with, from the environment or by ``wandb login``.

    The latter leaves a key in ``.netrc`` and, for a server of one's own (``--host``), its address in W&B's settings.
    """
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    import wandb

    settings = wandb.setup().settings  # kept for the run, so read once
    hosts = {urlsplit(settings.base_url).netloc}
    if settings.base_url == wandb.Settings.model_fields["base_url"].default:
        hosts.add(OLD_HOST)
    # its path is given, else Python asks for rights of the file that W&B does not ask for
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        keys = netrc.netrc(path)
    except FileNotFoundError:
        return False
    except (OSError, ValueError, netrc.NetrcParseError) as error:
        print(f"no key for Weights & Biases: {path} cannot be read ({type(error).__name__})")
        return False
    return any((entry := keys.authenticators(host)) and entry[2] for host in hosts)


def _prediction_table(split: Split, logits: Tensor) -> Any:
    import wandb

    table = wandb.Table(columns=["scene", "rgb", "lidar", "label", "prediction", "probability"])
    for row in range(min(TABLE_ROWS, len(split))):
        probability = torch.sigmoid(logits[row]).item()
        prediction = probability > 0.5
        table.add_data(
            int(split.scene[row]),
            wandb.Image(split.rgb[row].cpu().numpy()),
            wandb.Image(_coloured_by_height(split, row)),
            CLASSES[int(split.label[row])],
            CLASSES[prediction],
            probability if prediction else 1 - probability,
        )
    return table


def _similarity_picture(similarity: Tensor) -> Any:
    """Cosines, image rows by LiDAR columns, from 0 (black) to 1."""
    import wandb
    from matplotlib import colormaps

    picture = colormaps["magma"](similarity.clamp(0, 1).cpu().numpy())[..., :3]
    return wandb.Image((picture.repeat(12, axis=0).repeat(12, axis=1) * 255).astype(np.uint8))


def _coloured_by_height(split: Split, row: int) -> np.ndarray:
    """A range image as the camera would see it, (64, 64, 3) uint8: returns coloured by z, everything else black."""
    from matplotlib import colormaps

    from cilp.report.contact_sheet import as_the_camera_sees_it

    _, points = split.inputs(slice(row, row + 1))
    z, hit = points[0, 2].cpu().numpy(), points[0, 3].cpu().numpy() > 0
    picture = np.zeros((*z.shape, 3), dtype=np.uint8)
    if hit.any():
        low, high = z[hit].min(), z[hit].max()
        picture[hit] = (colormaps["viridis"]((z[hit] - low) / max(high - low, 1e-6))[:, :3] * 255).astype(np.uint8)
    return as_the_camera_sees_it(picture)
