"""`python -m tests.baselines.image_to_video disco|magicanimate FOLDER`: does a toy learn to film people from a picture?

Trains the toy of `toy_training.py` on rendered people and films others, whom it has never seen, before and after. All
of these have the build of one driver and are filmed in the driver's DensePose or skeleton, so that nothing but the
picture says who it is. FOLDER gets the losses and figures as `figures.json`, and the pictures as `sheet.png`.

Who a frame shows is asked of its pixels: of all the people, whose true frame in the same pose is nearest, in mean
absolute difference over the pixels that are person in all true frames? The background has no say.
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from src.media.contact_sheet import Row, contact_sheet
from tests.baselines.rendered import People, render_lookalikes, render_people
from tests.baselines.toy_training import TOYS, Toy, held_out_loss, train

TRAINING_SEED, HELD_OUT_SEED, DRIVER = 1000, 500, 77
RESAMPLES = 2000


def likeness(filmed: np.ndarray, people: People) -> dict[str, Any]:
    """How often, of P people, the right one is the nearest.

    Args:
        filmed: (P, F, S, S, 3) uint8, each person as it was filmed.
        people: in the same poses, all in the driver's.

    Returns:
        `right`: the share of frames; `chance`; `rank`: the mean share of other people who are nearer, 0 at best and 0.5
        by chance; `interval` and `rank_interval`: 95 % bootstrap intervals of both over people.
    """
    shared = people.persons.all(0)
    num_people, num_frames = filmed.shape[:2]
    distances = np.empty((num_people, num_frames, num_people))
    for frame in range(num_frames):
        seen = shared[frame]
        true, ours = (images[:, frame][:, seen].astype(np.float32) for images in (people.frames, filmed))
        distances[:, frame] = np.abs(ours[:, None] - true[None]).mean((-2, -1))
    own = distances[np.arange(num_people), :, np.arange(num_people)]
    nearer_PF = (distances < own[..., None]).sum(-1)
    right_P, rank_P = (nearer_PF == 0).mean(1), nearer_PF.mean(1) / (num_people - 1)
    drawn = np.random.default_rng(0).integers(num_people, size=(RESAMPLES, num_people))
    ends = [0.025, 0.975]
    intervals = [np.quantile(values[drawn].mean(1), ends).round(3).tolist() for values in (right_P, rank_P)]
    return {
        "right": round(float(right_P.mean()), 3),
        "interval": intervals[0],
        "chance": round(1 / num_people, 3),
        "rank": round(float(rank_P.mean()), 3),
        "rank_interval": intervals[1],
    }


def film_all(toy: Toy, people: People, *, num_steps: int, batch: int) -> np.ndarray:
    """(P, F, S, S, 3): everyone, a few at a time, each lot from the same noise."""
    parts = np.array_split(np.arange(len(people)), -(-len(people) // batch))
    return np.concatenate([toy.film(people, part, num_steps=num_steps, seed=1) for part in parts])


def measure(toy: Toy, people: People, args: argparse.Namespace) -> tuple[dict[str, Any], np.ndarray]:
    """Loss and likeness of the held-out people, and what was filmed."""
    filmed = film_all(toy, people, num_steps=args.sampling_steps, batch=args.batch)
    return {"loss": round(held_out_loss(toy, people, batch=args.batch, seed=2), 4), **likeness(filmed, people)}, filmed


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train, film, measure."""
    torch.manual_seed(0)
    toy = TOYS[args.system]()
    people = render_lookalikes(
        list(range(HELD_OUT_SEED, HELD_OUT_SEED + args.held_out)), args.poses, args.size, driver=DRIVER
    )
    known = render_people(list(range(TRAINING_SEED, TRAINING_SEED + args.people)), args.poses, args.size)
    before, first = measure(toy, people, args)
    started = time.process_time()
    losses = train(toy, known, num_steps=args.steps, batch=args.batch, learning_rate=args.rate, seed=0)
    minutes = (time.process_time() - started) / 60
    after, last = measure(toy, people, args)
    tenth = max(1, len(losses) // 10)
    figures = {"system": args.system, "steps": args.steps, "frames_a_step": args.batch * args.poses}
    figures |= {"people": args.people, "held_out": args.held_out, "size": args.size, "cpu_minutes": round(minutes, 1)}
    figures |= {"trained_parameters": sum(p.numel() for p in toy.trained), "before": before, "after": after}
    figures["training_loss"] = [round(float(np.mean(part)), 4) for part in (losses[:tenth], losses[-tenth:])]
    shown = [Row("picture", people.references), Row("truth", people.frames[:, 0]), Row("pose", people.drawings[:, 0])]
    shown += [Row("before", first[:, 0]), Row("after", last[:, 0])]
    args.folder.mkdir(parents=True, exist_ok=True)
    contact_sheet(shown, args.folder / "sheet.png", columns=12)
    (args.folder / "figures.json").write_text(json.dumps({**figures, "losses": losses}, indent=2) + "\n")
    return figures


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system", choices=sorted(TOYS))
    parser.add_argument("folder", type=Path)
    for name, default, said in (
        ("steps", 500, "of training"),
        ("people", 300, "to train on"),
        ("held-out", 20, "people to film"),
        ("poses", 2, "of each person"),
        ("batch", 4, "people a step"),
        ("size", 64, "side in pixels"),
        ("sampling-steps", 10, "of DDIM"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=said)
    parser.add_argument("--rate", type=float, default=5e-4, help="learning rate")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    sys.stdout.write(json.dumps(run(parser.parse_args(arguments))) + "\n")


if __name__ == "__main__":
    main()
