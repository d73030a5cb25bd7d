"""What the presets of sampling cost and change: `python -m tests.sampling.measure_presets STUDY OUTPUT.jsonl RUN…`.

Runs are finished ones of rendered people, one a subject. Of their held-out poses every third is generated, by the exact
sampler and in each variant, at each guidance scale, from the same frame and adapter; a line of JSON for each of them.
Seconds are CPU seconds of this process, of inversion and sampling without decoding. Each subject and scale begins with
another variant, after one sampling that is not counted. What of OUTPUT is whole for a subject and scale is kept and not
made again.
"""

import json
import math
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from eval.metrics.psnr import PSNR
from eval.metrics.region_psnr import RegionPSNR
from src.common.atomic import atomic_path
from src.data.subject_split import split_subject
from src.runs.make_run import find_subject, held_out_job
from src.runs.person import Person
from src.runs.run_folder import RunFolder
from src.sampling.jobs import GenerationJob
from src.sampling.sampler import Sampler
from src.sampling.settings import ApproximationSettings, SamplingSettings

# The miniature's of then and Stable Diffusion's; of the study of steps, its own of now.
GUIDANCE_SCALES = {"tricks": (1.5, 12.0), "presets": (1.5, 12.0), "steps": (1.0,)}
EXACT = "exact"


def _kept(features: int, guidance: int, guided: tuple[int, int] = (0, 1000)) -> dict[str, Any]:
    approximation = ApproximationSettings(features_every=features, guidance_every=guidance, guided_timesteps=guided)
    return {"approximation": approximation}


def _inverted(num_steps: int, iterations: int) -> dict[str, Any]:
    return {"num_steps": num_steps, "inversion_iterations": iterations}


# What each changes of a run's own sampling: single tricks and numbers of steps against 20 steps, and what the presets
# were chosen from against the 50 of the paper.
STUDIES: dict[str, dict[str, dict[str, Any]]] = {
    "tricks": {
        EXACT: {"num_steps": 20},
        "features 2": _kept(2, 1),
        "guidance 2": _kept(1, 2),
        "features 2, guidance 2": _kept(2, 2),
        "features 3, guidance 3": _kept(3, 3),
        "features 4, guidance 4": _kept(4, 4),
        "guided 0 to 700": _kept(1, 1, (0, 700)),
        "guided 300 to 1000": _kept(1, 1, (300, 1000)),
        "10 steps": {"num_steps": 10},
    },
    "presets": {
        EXACT: {"num_steps": 50},
        "20 steps, features 3, guidance 3, guided 0 to 700": {"num_steps": 20} | _kept(3, 3, (0, 700)),
        "10 steps, 2 predictions": _inverted(10, 2),
        "10 steps, 2 predictions, features 2, guidance 2": _inverted(10, 2) | _kept(2, 2),
        "10 steps, 2 predictions, features 2, guidance 2, guided 0 to 720": _inverted(10, 2) | _kept(2, 2, (0, 720)),
        "fast": _inverted(10, 2) | _kept(2, 2, (0, 700)),
        "8 steps, 2 predictions, features 2, guidance 2, guided 0 to 700": _inverted(8, 2) | _kept(2, 2, (0, 700)),
        "draft": _inverted(6, 2) | _kept(2, 2),
        "6 steps, 3 predictions, features 2, guidance 2": _inverted(6, 3) | _kept(2, 2),
    },
    "steps": {
        EXACT: {"num_steps": 30},
        "10 steps": {"num_steps": 10},
        "10 steps, 2 predictions": _inverted(10, 2),
        "10 steps, 3 predictions": _inverted(10, 3),
        "10 steps, 2 predictions, features 2": _inverted(10, 2) | _kept(2, 1),
        "10 steps, 2 predictions, features 3": _inverted(10, 2) | _kept(3, 1),
        "15 steps, 2 predictions, features 2": _inverted(15, 2) | _kept(2, 1),
        "20 steps, 2 predictions, features 2": _inverted(20, 2) | _kept(2, 1),
        "20 steps, 2 predictions, features 3": _inverted(20, 2) | _kept(3, 1),
        "30 steps, 2 predictions": _inverted(30, 2),
    },
}
EVERY = 3

Records = dict[tuple[str, float], list[dict[str, Any]]]


def scores(frames_FHWC: np.ndarray, truth_FHWC: np.ndarray, job: GenerationJob) -> dict[str, float | None]:
    """PSNR in dB over the frame, in faces and in hands; None where there is none to compare."""
    frames, truth = (torch.from_numpy(array).permute(0, 3, 1, 2) for array in (frames_FHWC, truth_FHWC))
    whole = PSNR(arithmetic="float64", identical="exclude")
    whole.update(frames, truth)
    found = {"frame": float(whole.compute())}
    for name in ("face", "hands"):
        region = RegionPSNR(name)
        region.update(frames, truth, job.target_poses)
        found[name] = float(region.compute())
    return {name: round(value, 4) if math.isfinite(value) else None for name, value in found.items()}


def read(path: Path, study: str) -> Records:
    """The records of an earlier call, by subject and guidance scale, without those that are not whole."""
    found: Records = {}
    for line in path.read_text().splitlines() if path.is_file() else ():
        record = json.loads(line)
        found.setdefault((record["subject"], record["guidance"]), []).append(record)
    return {
        pair: records for pair, records in found.items() if {r["variant"] for r in records} == STUDIES[study].keys()
    }


def measure(run: RunFolder, subject: str, study: str, records: Records, output: Path) -> None:
    """Add what is missing of a run to the records, and write them after each guidance scale."""
    missing = [scale for scale in GUIDANCE_SCALES[study] if (subject, scale) not in records]
    if not missing:
        return
    person = Person.load(run)
    split = split_subject(find_subject(run.settings()), person.settings.data)
    chosen = slice(None, None, EVERY)
    job = held_out_job(person, split).part(chosen)
    truth_FHWC = split.test_frames[chosen]
    person.models[1].eval()
    _sampled(person, replace(job.part(slice(1)), sampling=replace(job.sampling, num_steps=2)))
    for scale in missing:
        variants = STUDIES[study]
        first = len(records) % len(variants)
        names = list(variants)[first:] + list(variants)[:first]
        made = {name: _sampled(person, replace(job, sampling=_sampling(job, scale, variants[name]))) for name in names}
        exact_FHWC = made[EXACT][0]
        records[subject, scale] = [
            {
                "subject": subject,
                "guidance": scale,
                "variant": name,
                "steps": _sampling(job, scale, variants[name]).num_steps,
                "frames": len(frames_FHWC),
                "cpu_seconds": round(seconds, 3),
                "truth": scores(frames_FHWC, truth_FHWC, job),
                "exact": None if name == EXACT else scores(frames_FHWC, exact_FHWC, job),
            }
            for name, (frames_FHWC, seconds) in made.items()
        ]
        with atomic_path(output) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for group in records.values() for r in group))
        print(f"{subject}, guidance {scale}: {sum(seconds for _, seconds in made.values()):.0f} CPU s", flush=True)


def _sampling(job: GenerationJob, scale: float, changes: dict[str, Any]) -> SamplingSettings:
    return replace(job.sampling, guidance_scale=scale, **changes)


def _sampled(person: Person, job: GenerationJob) -> tuple[np.ndarray, float]:
    """Frames (F, H, W, 3) and the CPU seconds of their latents."""
    started = time.process_time()
    image_model, backbone = person.models
    latents_FChw, _ = Sampler(image_model, backbone, [job]).sample_latents(job)
    seconds = time.process_time() - started
    return np.concatenate([image_model.decode_latents(part) for part in latents_FChw.split(1)]), seconds


def main() -> None:
    """Write the records; an interrupted measurement goes on from the last scale of a subject."""
    torch.set_num_threads(1)
    study, output = sys.argv[1], Path(sys.argv[2])
    records = read(output, study)
    for folder in sys.argv[3:]:
        run = RunFolder(folder)
        summary = run.summary()
        if summary is None:
            sys.exit(f"{folder} is no finished run")
        measure(run, summary["subject"], study, records, output)


if __name__ == "__main__":
    main()
