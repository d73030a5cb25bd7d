"""What the presets of sampling cost and change: `python -m tests.sampling.measure_presets OUTPUT.json RUN…`.

Runs are finished fine-tunes of rendered people. Of their held-out poses every third is generated, by the exact sampler
and with each approximation, at each guidance scale, from the same latent; a line of JSON for each of them. Seconds are
CPU seconds of this process, of sampling alone, and so independent of what else the machine does.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from eval.metrics.psnr import PSNR
from eval.metrics.region_psnr import RegionPSNR
from src.data.subject_split import split_subject
from src.runs.make_run import find_subject, held_out_job
from src.runs.person import Person
from src.runs.run_folder import RunFolder
from src.sampling.jobs import GenerationJob
from src.sampling.sampler import Sampler
from src.sampling.settings import ApproximationSettings

GUIDANCE_SCALES = (1.5, 12.0)
VARIANTS = {
    "exact": ApproximationSettings(),
    "features 2": ApproximationSettings(features_every=2),
    "guidance 2": ApproximationSettings(guidance_every=2),
    "features 2, guidance 2": ApproximationSettings(features_every=2, guidance_every=2),
    "features 3, guidance 3": ApproximationSettings(features_every=3, guidance_every=3),
    "features 4, guidance 4": ApproximationSettings(features_every=4, guidance_every=4),
    "features 2, guidance 4": ApproximationSettings(features_every=2, guidance_every=4),
}
EVERY = 3


def scores(frames_FHWC: np.ndarray, truth_FHWC: np.ndarray, job: GenerationJob) -> dict[str, float]:
    """PSNR in dB over the frame, in faces and in hands."""
    pair = [torch.from_numpy(frames).permute(0, 3, 1, 2) for frames in (frames_FHWC, truth_FHWC)]
    found = {}
    for name, metric in (("frame", PSNR(arithmetic="float64", identical="exclude")), *_regions()):
        metric.update(*pair, *([] if name == "frame" else [job.target_poses]))
        found[name] = round(float(metric.compute()), 3)
    return found


def _regions() -> list[tuple[str, RegionPSNR]]:
    return [(name, RegionPSNR(name)) for name in ("face", "hands")]


def measure(run: RunFolder) -> list[dict]:
    """One record for each guidance scale and approximation."""
    person = Person.load(run)
    split = split_subject(find_subject(person.settings), person.settings.data)
    whole, chosen = held_out_job(person.settings, split), slice(None, None, EVERY)
    job = replace(whole, target_poses=whole.target_poses[chosen])
    person.backbone.eval()
    records = []
    for guidance_scale in GUIDANCE_SCALES:
        exact_FHWC = None
        for name, approximation in VARIANTS.items():
            sampling = replace(job.sampling, guidance_scale=guidance_scale, approximation=approximation)
            varied = replace(job, sampling=sampling)
            started = time.process_time()
            latents_FChw, _ = Sampler(person.image_model, person.backbone, [varied]).sample_latents(varied)
            seconds = time.process_time() - started
            frames_FHWC = np.concatenate([person.image_model.decode_latents(part) for part in latents_FChw.split(1)])
            exact_FHWC = frames_FHWC if exact_FHWC is None else exact_FHWC
            record = {"subject": split.name, "guidance": guidance_scale, "variant": name}
            record |= {"steps": sampling.num_steps, "frames": len(frames_FHWC), "cpu_seconds": round(seconds, 3)}
            record["truth"] = scores(frames_FHWC, split.test_frames[chosen], varied)
            if name != "exact":
                record["exact"] = scores(frames_FHWC, exact_FHWC, varied)
            records.append(record)
    return records


def main() -> None:
    """Write the records; an interrupted measurement keeps those of whole runs."""
    torch.set_num_threads(1)
    output, records = Path(sys.argv[1]), []
    for folder in sys.argv[2:]:
        records += measure(RunFolder(folder))
        output.write_text("".join(json.dumps(record) + "\n" for record in records))


if __name__ == "__main__":
    main()
