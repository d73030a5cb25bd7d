"""Identities of rendered people: everything that stays the same over a clip, and its prompt."""

from dataclasses import dataclass

import numpy as np

Colour = tuple[int, int, int]

SKIN_TONES: tuple[Colour, ...] = (
    (255, 219, 191), (244, 196, 160), (226, 170, 128), (198, 137, 96), (154, 100, 68), (108, 68, 48),
)  # fmt: skip
HAIR_COLOURS: dict[str, Colour] = {
    "black": (38, 34, 42), "brown": (112, 66, 40), "blond": (238, 196, 96), "red": (196, 72, 34),
    "white": (232, 230, 228), "pink": (232, 112, 160),
}  # fmt: skip
HAIR_STYLES = ("short", "long", "curly", "bun", "ponytail", "bald")
CLOTH_COLOURS: dict[str, Colour] = {
    "red": (212, 56, 56), "orange": (240, 140, 48), "yellow": (246, 206, 72), "green": (56, 152, 92),
    "blue": (52, 104, 206), "purple": (132, 84, 184), "white": (240, 240, 236), "black": (52, 54, 66),
}  # fmt: skip
PATTERNS = ("plain", "striped", "dotted", "two-tone")
BACKGROUND_COLOURS: dict[str, Colour] = {
    "teal": (116, 188, 184), "beige": (236, 220, 190), "gray": (178, 182, 192), "navy": (58, 72, 116),
    "pink": (246, 198, 204), "mint": (186, 224, 190),
}  # fmt: skip
EYE_COLOURS: tuple[Colour, ...] = ((112, 70, 40), (60, 116, 172), (74, 132, 84), (84, 62, 56))
FRINGES = ("none", "bangs", "swept", "parted")
OBJECTS = ("picture", "shelf", "plant", "window", "lamp")


@dataclass(frozen=True)
class Identity:
    """One person and their background.

    Colours are names of the vocabularies above or RGB in [0, 255]. `proportions` are factors around 1 on the
    lengths of the body and face model: they move the keypoints.
    """

    skin: Colour
    hair_style: str
    hair_colour: str
    fringe: str
    hair_side: int
    eye_colour: Colour
    brow_thickness: float
    lip: float
    glasses: str
    beard: bool
    hat_colour: str
    shirt_colour: str
    shirt_pattern: str
    second_colour: str
    long_sleeves: bool
    collar: str
    legwear: str
    leg_colour: str
    shoe_colour: str
    background: str
    objects: tuple[tuple[str, float, int], ...]
    floor: Colour
    head: float
    face_width: float
    jaw: float
    eye_spacing: float
    eye_size: float
    nose: float
    mouth: float
    shoulders: float
    arms: float
    torso: float
    legs: float
    build: float


def sample_identity(seed: int) -> Identity:
    """Draw the identity of `seed`; the same seed always gives the same person."""
    rng = np.random.default_rng([seed, 7001])

    def pick(options):
        return options[int(rng.integers(len(options)))]

    def factor(spread: float) -> float:
        return float(1 + spread * rng.uniform(-1, 1))

    background = pick(tuple(BACKGROUND_COLOURS))
    # A shirt of nearly the wall's colour would make the outline of the body unreadable.
    clash = {"teal": (), "beige": ("white",), "gray": ("white",), "navy": ("black",), "pink": (), "mint": ()}
    shirt = pick([c for c in CLOTH_COLOURS if c not in clash[background]])
    style = HAIR_STYLES[int(rng.choice(len(HAIR_STYLES), p=(0.27, 0.25, 0.14, 0.14, 0.14, 0.06)))]
    hat = pick([c for c in CLOTH_COLOURS if c != shirt]) if rng.random() < 0.14 and style in ("short", "long") else ""
    dark = rng.random() < 0.5
    second = pick([c for c in CLOTH_COLOURS if c != shirt]) if dark else ("black" if shirt == "white" else "white")
    slots = rng.permutation(len(OBJECTS))[: int(rng.integers(1, 3))]
    sides = rng.permutation(2)
    return Identity(
        skin=pick(SKIN_TONES),
        hair_style=style,
        hair_colour=pick(tuple(HAIR_COLOURS)),
        fringe=pick(FRINGES),
        hair_side=int(rng.choice((-1, 1))),
        eye_colour=pick(EYE_COLOURS),
        brow_thickness=factor(0.35),
        lip=float(rng.uniform(0, 1)),
        glasses=("round", "square")[int(rng.integers(2))] if rng.random() < 0.28 else "",
        beard=bool(rng.random() < (0.25 if style in ("short", "curly", "bald") else 0)),
        hat_colour=hat,
        shirt_colour=shirt,
        shirt_pattern=PATTERNS[int(rng.choice(4, p=(0.4, 0.25, 0.15, 0.2)))],
        second_colour=second,
        long_sleeves=bool(rng.random() < 0.6),
        collar=pick(("round", "v", "collar")),
        legwear="skirt" if rng.random() < 0.3 else "trousers",
        leg_colour=pick([c for c in CLOTH_COLOURS if c not in (shirt, *clash[background])]),
        shoe_colour=pick(("red", "white", "black")),
        background=background,
        objects=tuple((OBJECTS[int(o)], float(rng.uniform(0, 1)), int(s)) for o, s in zip(slots, sides, strict=False)),
        floor=pick(((190, 146, 108), (150, 128, 118), (206, 186, 160), (120, 124, 140))),
        head=factor(0.07),
        face_width=factor(0.1),
        jaw=factor(0.16),
        eye_spacing=factor(0.1),
        eye_size=factor(0.13),
        nose=factor(0.18),
        mouth=factor(0.15),
        shoulders=factor(0.15),
        arms=factor(0.09),
        torso=factor(0.09),
        legs=factor(0.1),
        build=factor(0.18),
    )


def describe(identity: Identity) -> str:
    """The prompt of an identity, from a small closed vocabulary."""
    if identity.hair_style == "bald":
        looks = "a bald head"
    elif identity.hair_style in ("bun", "ponytail"):
        looks = f"{identity.hair_colour} hair in a {identity.hair_style}"
    else:
        looks = f"{identity.hair_style} {identity.hair_colour} hair"
    looks = [looks, *(["glasses"] if identity.glasses else []), *(["a beard"] if identity.beard else [])]
    clothes = f"a {identity.shirt_pattern} {identity.shirt_colour} shirt"
    if identity.hat_colour:
        clothes += f" and {'an' if identity.hat_colour == 'orange' else 'a'} {identity.hat_colour} hat"
    return f"a person with {' and '.join(looks)} wearing {clothes}, {identity.background} background"
