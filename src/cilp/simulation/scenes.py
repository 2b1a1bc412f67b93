"""What is drawn at random: where the object of a scene stands, how it is turned, its colour and its light.

Scene i is a function of (seed, i) alone. It spends the same random numbers in the same order whatever the params, so a
changed param moves nothing but what it governs.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from cilp.errors import UserError
from cilp.sensors import LIDAR_SIZE, MAX_RANGE, lidar_angles
from cilp.simulation.camera import IMAGE_SIZE, Camera, decode_srgb
from cilp.simulation.raycast import Cube, Sphere, range_image

Uniform = TypeVar("Uniform", float, np.ndarray)
PLACES = 256
"""Places that are drawn for a scene; it takes the first at which both of its shapes are wholly in view."""


@dataclass(frozen=True)
class SimulateParams:
    """Section ``data.simulate`` of the params; see there for the units and for how the defaults were set."""

    seed: int
    cube_edge: tuple[float, float]
    sphere_radius: tuple[float, float]
    distance: tuple[float, float]
    lateral: float
    camera_fov: float
    light_intensity: float
    ambient: float
    colour: tuple[float, float]
    antialiasing: int

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more; got {self.seed}.")
        for name in ("cube_edge", "sphere_radius", "distance"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise ValueError(f"{name} must be [low, high] with 0 < low <= high; got [{low}, {high}].")
        if not 0 <= self.lateral < math.inf:
            raise ValueError(f"lateral must be 0 or more; got {self.lateral}.")
        farthest = math.hypot(self.distance[1], self.lateral, self.lateral) + self.largest_reach
        if not farthest < MAX_RANGE:
            raise ValueError(
                f"distance must keep every object nearer than the LiDAR's {MAX_RANGE:g} m; with this size and lateral "
                f"the farthest one reaches to {farthest:.1f} m."
            )
        if not 1 <= self.camera_fov <= 170:
            raise ValueError(f"camera_fov must be between 1 and 170 degrees; got {self.camera_fov}.")
        for name in ("light_intensity", "ambient"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}.")
        if not 0 <= self.colour[0] <= self.colour[1] <= 1:
            raise ValueError(f"colour must be [low, high] with 0 <= low <= high <= 1; got {list(self.colour)}.")
        if not 1 <= self.antialiasing <= 16:
            raise ValueError(f"antialiasing must be between 1 and 16; got {self.antialiasing}.")

    @property
    def largest_reach(self) -> float:
        """How far, in metres, an object can extend from its centre: to a cube's corner or a sphere's surface."""
        return max(self.cube_edge[1] * math.sqrt(3) / 2, self.sphere_radius[1])

    @cached_property
    def camera(self) -> Camera:
        """The camera that these params describe."""
        return Camera(self.camera_fov, self.antialiasing, self.light_intensity, self.ambient)

    @cached_property
    def view_planes(self) -> np.ndarray:
        """Outward unit normals (4, 3) of the pyramid of view, whose apex is at the sensors.

        An object inside it leaves the outermost rays of the LiDAR and the outermost pixels of the camera without a hit.
        """
        angles = lidar_angles().astype(np.float64)
        inner_pixels = math.tan(math.radians(self.camera_fov) / 2) * (1 - 2 / IMAGE_SIZE)
        half = min(-angles[0], angles[LIDAR_SIZE - 1], math.atan(inner_pixels))
        cos, sin = math.cos(half), math.sin(half)
        return np.array([[cos, -sin, 0.0], [-cos, -sin, 0.0], [0.0, -sin, cos], [0.0, -sin, -cos]])


@dataclass(frozen=True)
class Scene:
    """A cube and a sphere that share a centre, a colour and a light, of which each is seen alone.

    ``light`` is the unit vector towards the light, ``albedo`` the linear RGB reflectance; both (3,) float64.
    """

    cube: Cube
    sphere: Sphere
    light: np.ndarray
    albedo: np.ndarray

    def shape(self, label: str) -> Cube | Sphere:
        """The object of class ``label``: ``cube`` or ``sphere``."""
        return {"cube": self.cube, "sphere": self.sphere}[label]


def draw(params: SimulateParams, index: int, matched_twins: bool = False) -> Scene:
    """Draw scene ``index``. With ``matched_twins`` the sphere is as far up its range of sizes as the cube.

    It is then of another size, and if it would no longer be in view, both are at another place; all else is the same.

    Raises:
        UserError: none of the places drawn keeps the object in view, because distance and lateral lie too far outside.
    """
    rng = np.random.default_rng([params.seed, index])
    size, other_size, *rest = rng.random(10).tolist()
    rotation, light, colour = _rotation(*rest[:3]), _direction(*rest[3:5]), np.array(rest[5:])
    places = rng.random((PLACES, 3))

    edge = _between(params.cube_edge, size)
    radius = _between(params.sphere_radius, size if matched_twins else other_size)
    albedo = decode_srgb(_between(params.colour, colour))
    low = np.array([-params.lateral, params.distance[0], -params.lateral])
    high = np.array([params.lateral, params.distance[1], params.lateral])
    centre = _first_in_view(low + places * (high - low), params.view_planes, edge, radius, rotation)
    if centre is None:
        raise UserError(
            f"scene {index} finds no place in view; raise data.simulate.distance, or lower data.simulate.lateral, "
            "cube_edge or sphere_radius."
        )
    return Scene(Cube(centre, edge, rotation), Sphere(centre, radius), light, albedo)


def render(
    params: SimulateParams, index: int, matched_twins: bool = False
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Both objects of scene ``index``: class, picture (64, 64, 4) uint8 and range image (64, 64) float32 in metres.

    Raises:
        UserError: as ``draw``.
    """
    scene = draw(params, index, matched_twins)
    for label in ("cube", "sphere"):
        shape = scene.shape(label)
        yield label, params.camera.picture(shape, scene.light, scene.albedo), range_image(shape)


def _between(limits: tuple[float, float], u: Uniform) -> Uniform:
    """Uniform between ``limits`` for u uniform in [0, 1)."""
    return limits[0] + u * (limits[1] - limits[0])


def _direction(u: float, v: float) -> np.ndarray:
    """Unit vector (3,), uniform over the sphere for u, v uniform in [0, 1)."""
    z, turn = 2 * u - 1, 2 * math.pi * v
    ring = math.sqrt(1 - z * z)
    return np.array([ring * math.cos(turn), ring * math.sin(turn), z])


def _rotation(u: float, v: float, w: float) -> np.ndarray:
    """Rotation matrix (3, 3), uniform over all orientations for u, v, w uniform in [0, 1) (Shoemake's quaternion)."""
    r, s, t = math.sqrt(1 - u), math.sqrt(u), 2 * math.pi
    a, b, c, d = s * math.cos(t * w), r * math.sin(t * v), r * math.cos(t * v), s * math.sin(t * w)
    return np.array(
        [
            [1 - 2 * (c * c + d * d), 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), 1 - 2 * (b * b + d * d), 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), 1 - 2 * (b * b + c * c)],
        ]
    )


def _first_in_view(
    places: np.ndarray, planes: np.ndarray, edge: float, radius: float, rotation: np.ndarray
) -> np.ndarray | None:
    """The first of ``places`` (n, 3) at which cube and sphere lie behind all view planes (4, 3); None without one."""
    along_edges = np.abs((planes[:, :, None] * rotation).sum(axis=1))  # (4, 3)
    reach = np.maximum(edge / 2 * along_edges.sum(axis=1), radius)  # (4,) of the object, towards each plane
    offset = (places[:, None, :] * planes).sum(axis=2)  # (n, 4)
    inside = (offset + reach <= 0).all(axis=1)
    return places[inside.argmax()] if inside.any() else None
