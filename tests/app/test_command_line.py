"""File names, prompts and settings as people give them, through the real command lines."""

import os
from pathlib import Path

import numpy as np
import pytest

import src.app.entry
from eval.run import main as run_main
from eval.score import main as score_main
from src.common.paths import PACKAGE_ROOT
from src.data.subject import load_subject
from src.media.video import write_frames, write_video
from src.pose.formats import save_poses
from src.pose.keypoints import NUM_KEYPOINTS, PoseSequence
from src.poses import main as poses_main
from src.prepare import main as prepare_main
from src.repair import main as repair_main
from src.runs.run_folder import RunFolder
from src.runs.settings import RunSettings
from src.sample import main as sample_main
from src.train import main as train_main

FILES = (
    *("clip (1).mp4", "päß.mp4", "日本語.mp4", "it's.mp4", "a=b.mp4", "two words.mp4", "a,b.mp4", "[x].mp4", "{x}.mp4"),
    *('say "hi".mp4', "100%.mp4", "a\\b.mp4", "$HOME.mp4", "${seed}.mp4", "#1.mp4", "a:b.mp4", "~x.mp4", "+x.mp4"),
)
FOLDERS = ("true", "1e5", "./null", "two words", "a,b", "[a]", "(b)", "-1", "None", "it's", "x=y")
# Those that a file can be called by as well.
PLAIN_PROMPTS = (
    'a person in a "red" hat, it\'s raining',
    "hair: blond, eyes: blue",
    "a (very) tall [young] person {smiling}",
    "true",
    "12",
    "a\\b 'c'",
    "50% off = yes; #1 ~ $HOME",
)
PROMPTS = (
    *PLAIN_PROMPTS,
    "[red] hair and a [hat]",
    "[red, blond]",
    '"50s" style, a "hat"',
    '"a woman"',
    "'a woman'",
    "${seed}",
    "tag(1)",
    "",
)
NUM_FRAMES = 4


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (NUM_FRAMES, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def poses() -> PoseSequence:
    seen = np.ones((NUM_FRAMES, NUM_KEYPOINTS), bool)
    return PoseSequence(np.random.default_rng(0).random((NUM_FRAMES, NUM_KEYPOINTS, 2)), seen, seen)


@pytest.fixture
def train_settings(call_main, monkeypatch):
    """The settings of each run that a command line of `src.train` would make."""

    def settings(*args: str) -> list[RunSettings]:
        made: list[RunSettings] = []
        monkeypatch.setattr("src.runs.make_run.make_run", lambda settings, run, **options: made.append(settings) or {})
        status, stderr = call_main(train_main, *args)
        assert status == 0, stderr
        return made

    return settings


@pytest.mark.parametrize("name", FILES)
def test_a_video_is_found_under_any_name(name, pictures, poses, call_main, tmp_path):
    """The video, the keypoints beside it, and the folder of the results."""
    write_video(tmp_path / "plain.mp4", pictures, 10)
    (tmp_path / "plain.mp4").rename(tmp_path / name)
    keypoints, root = f"{Path(name).stem}.npz", f"data of {Path(name).stem}"
    save_poses(tmp_path / "plain.npz", poses)
    (tmp_path / "plain.npz").rename(tmp_path / keypoints)
    arguments = ("pose=file", f"pose.path={keypoints}", "data.resolution=32", f"data.root={root}", "name=me")
    assert call_main(prepare_main, f"video={name}", *arguments) == (0, "")
    assert load_subject("me", tmp_path / root).provenance["source"]["name"] == name


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_is_found_under_any_name(name, pictures, poses, call_main, tmp_path):
    write_frames(tmp_path / "plain", pictures)
    (tmp_path / "plain").rename(tmp_path / name)
    save_poses(tmp_path / "poses.npz", poses)
    arguments = ("pose=file", "pose.path=poses.npz", "data.resolution=32", "name=me")
    assert call_main(prepare_main, f"video={name}", *arguments) == (0, "")
    assert load_subject("me", tmp_path / "data").provenance["source"]["name"] == Path(name).name


def test_names_and_prompts_reach_a_run_as_the_shell_passes_them(train_settings, tmp_path):
    for text in (*FILES, *PLAIN_PROMPTS):
        (tmp_path / text).touch()
        [settings] = train_settings(f"subject={text}", f"prompt={text}", f"run_dir=runs of {text}")
        assert (settings.subject, settings.prompt, settings.run_dir) == (text, text, f"runs of {text}")
    for text in PLAIN_PROMPTS:
        (tmp_path / text).unlink()
        [settings] = train_settings("subject=x", f"fine_tune_cache={text}", "run_dir=some")
        assert settings.fine_tune_cache == text
    for text in PROMPTS:
        for multirun in ((), ("-m",)):
            said = (f"prompt={text}", f"target_prompt={text}", f"sampling.negative_prompt={text}")
            [settings] = train_settings(*multirun, "subject=x", *said, "run_dir=null")
            assert (settings.prompt, settings.target_prompt, settings.sampling.negative_prompt) == (text,) * 3
    swept = train_settings("-m", "subject=people_001,people_002", "prompt=a man, red hair", "run_dir=null")
    assert [(s.subject, s.prompt) for s in swept] == [(f"people_00{n}", "a man, red hair") for n in (1, 2)]
    [settings] = train_settings("subject=x", "prompt=null", "run_dir=some")
    assert settings.prompt is None


def test_the_jobs_of_a_sweep_do_not_share_a_run_dir(train_settings, call_main, tmp_path):
    for shared in ("run_dir=x", "run_dir=runs/${hydra:job.num}"):
        status, stderr = call_main(train_main, "-m", "subject=x", "seed=0,1", shared)
        assert status == 2 and stderr.startswith(f"error: {shared}: all jobs of the sweep"), stderr
        assert stderr.count("\n") == 1 and not list(tmp_path.iterdir())
    (tmp_path / "mine/experiment").mkdir(parents=True)
    of_file = ("-m", "--config-dir=mine", "subject=x", "experiment=own")
    for given in ("x", "x/${seed}"):
        text = f"# @package _global_\nrun_dir: {given}\nhydra: {{sweeper: {{params: {{seed: '0,1'}}}}}}\n"
        (tmp_path / "mine/experiment/own.yaml").write_text(text)
        if given == "x":
            status, stderr = call_main(train_main, *of_file)
            assert status == 2 and "error: run_dir=x: all jobs of the sweep" in stderr, stderr
    assert [settings.run_dir for settings in train_settings(*of_file)] == ["x/0", "x/1"]
    # A sweep over experiments, each of which has a folder of its own.
    for name in ("one", "two"):
        (tmp_path / f"mine/experiment/{name}.yaml").write_text(f"# @package _global_\nrun_dir: {name}\n")
    swept = train_settings("-m", "--config-dir=mine", "subject=x", "experiment=one,two")
    assert [settings.run_dir for settings in swept] == ["one", "two"]
    for own in (("run_dir=a,b",), ("seed=0,1", "run_dir=${hydra:sweep.dir}/${hydra:job.num}")):
        assert len({settings.run_dir for settings in train_settings("-m", "subject=x", *own)}) == 2


def test_a_leading_tilde_is_the_home_of_who_calls(train_settings, pictures, call_main, tmp_path, monkeypatch):
    home = tmp_path / "home of, me"
    monkeypatch.setenv("HOME", str(home))
    places = ("run_dir=~/runs/one", "fine_tune_cache=~/cache", "data.root=~/data", "pose=file", "pose.path=~/p.npz")
    [settings] = train_settings("subject=~/clip.mp4", "prompt=~/a person", "model.base=some/model", *places)
    found = (settings.subject, settings.run_dir, settings.fine_tune_cache, settings.data.root, settings.pose.path)
    assert found == tuple(str(home / name) for name in ("clip.mp4", "runs/one", "cache", "data", "p.npz"))
    assert (settings.prompt, settings.model.base) == ("~/a person", "some/model")
    lists = ("model.loras=[{path: '~/l.pt'}]", "model.embeddings=['~/e.pt']")
    nets = "model.controlnets=[{path: '~/net', condition: images, images: '~/edges', detector: '~/d'}]"
    [settings] = train_settings("subject=x", *lists, nets, "run_dir=null")
    model = settings.model
    assert (model.loras[0].path, *model.embeddings) == (str(home / "l.pt"), str(home / "e.pt"))
    net = model.controlnets[0]
    assert (net.path, net.images, net.detector) == tuple(str(home / name) for name in ("net", "edges", "d"))
    [settings] = train_settings("subject=~x.mp4", "run_dir=~")
    assert (settings.subject, settings.run_dir) == ("~x.mp4", "~"), "a name of its own"
    RunFolder(home / "runs, [one]").save_settings(settings)
    [settings] = train_settings("repeat=~/runs, [one]", "run_dir=again")
    assert settings.subject == "~x.mp4"
    write_frames(home / "a,b", pictures)
    assert call_main(score_main, "generated=~/a,b", "real=~/a,b", "metrics=[psnr]", "output=~/o.json")[0] == 0
    assert (home / "o.json").is_file() and not (tmp_path / "~").exists()


def test_a_name_in_another_encoding_is_refused_in_a_line(pictures, call_main, tmp_path):
    name = os.fsdecode(b"lat\xe9.mp4")
    write_video(tmp_path / "plain.mp4", pictures, 10)
    (tmp_path / "plain.mp4").rename(tmp_path / name)
    for main, arguments in ((prepare_main, (f"video={name}",)), (score_main, (name, "real=b"))):
        status, stderr = call_main(main, *arguments)
        assert status == 2 and stderr.count("\n") == 1 and stderr.endswith(": rename it\n"), stderr
        assert stderr.startswith(f"error: {ascii(arguments[0])[1:-1]} is not in UTF-8")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_multirun_sweeps_over_commas(train_settings, tmp_path):
    swept = train_settings("-m", "subject=people_001,people_002", "seed=1,2", "run_dir=null")
    assert [(s.subject, s.seed) for s in swept] == [
        ("people_001", 1), ("people_001", 2), ("people_002", 1), ("people_002", 2),
    ]  # fmt: skip
    swept = train_settings("-m", "subject=a (1).mp4,b's.mp4", "prompt=choice('red, short hair','blond')")
    assert [(s.subject, s.prompt) for s in swept] == [
        ("a (1).mp4", "red, short hair"), ("a (1).mp4", "blond"), ("b's.mp4", "red, short hair"), ("b's.mp4", "blond"),
    ]  # fmt: skip
    (tmp_path / "a,b.mp4").touch()
    [one] = train_settings("-m", "subject=a,b.mp4", "seed=1")
    assert one.subject == "a,b.mp4", "a file of that name is one video"


TRAIN = ("subject=people_001", "model=tiny", "trainer=cpu", "run_dir=run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("seed=-1",), "seed=-1 must be at least 0 and at most 2147483647"),
        (("seed=abc",), "seed=abc: input should be a valid integer"),
        (("seed=1.5",), "seed=1.5: input should be a valid integer"),
        (("seed=null",), "seed=null: input should be a valid integer"),
        (("data.resolution=abc",), "data.resolution=abc: input should be a valid integer"),
        (("data.resolution=0",), "data.resolution=0 must be at least 1"),
        (("data.batch_frames=0",), "data.batch_frames=0 must be at least 1"),
        (("data.num_test_frames=-1",), "data.num_test_frames=-1 must be at least 0"),
        (("data.num_test_frames=0",), "data.num_test_frames=0 holds out no frame to generate: hold out at least one"),
        (("data.fps=0",), "data.fps=0"),
        (("data.crop=tight",), "data.crop=tight is unknown: choose 'person', 'center', 'pad' or 'none'"),
        (("trainer.accelerator=gpu",), "trainer.accelerator=gpu, devices=1, precision=bf16-mixed cannot be had here: "),
        (("trainer.accelerator=tpu",), "trainer.accelerator=tpu is unknown: choose 'auto', 'cpu', 'gpu', 'cuda' or"),
        (("trainer.precision=8",), "trainer.precision=8 is unknown: choose '32-true'"),
        (("trainer.max_steps=1.5",), "trainer.max_steps=1.5: input should be a valid integer"),
        (("trainer.max_time=2h",), "trainer.max_time=2h must be DD:HH:MM:SS"),
        (("trainer.accumulate_grad_batches=2",), "trainer.accumulate_grad_batches=2: a step is one batch"),
        (("trainer.devices=0",), "trainer.devices=0: a person is learnt and filmed on one device: leave it out"),
        (("trainer.devices=2",), "of several by hydra/launcher=gpus, slurm or ray_cluster"),
        (("trainer.devices=auto",), "trainer.devices=auto: a person is learnt and filmed on one device"),
        (("trainer.devices=[0,1]",), "trainer.devices=[0, 1]: a person is learnt"),
        (("trainer.devices=[0]",), "trainer.accelerator=cpu, devices=[0], precision=32-true cannot be had here: "),
        (("trainer.gradient_clip_val=-1",), "trainer.gradient_clip_val=-1.0 must be above 0"),
        (("+trainer.callbacks=[]",), "trainer.callbacks is unknown: there are accelerator, devices"),
        (("preview.num_poses=0",), "preview.num_poses=0 must be at least 1"),
        (("preview.every_n_steps=-1",), "preview.every_n_steps=-1 must be at least 0"),
        (("checkpoint_every_n_steps=0",), "checkpoint_every_n_steps=0 must be at least 1"),
        (("run_dir=",), "run_dir=: an empty name would be the working directory: name a file"),
        (("subject=",), "subject=: an empty name would be the working directory: name a file"),
        (("sample_after_train=maybe",), "sample_after_train=maybe: input should be a valid boolean"),
        (("optimizer.lr=0",), "optimizer.lr=0.0 must be above 0 and at most 1000"),
        (("optimizer.lr=nan",), "optimizer.lr=nan"),
        (("optimizer.betas=[0.9,2]",), "optimizer.betas=2.0 must be at least 0 and at most 0.999999"),
        (("optimizer.name=sgd",), "optimizer.name=sgd is unknown: choose 'adamw'"),
        (("pose.kind=kinect",), "pose.kind=kinect is unknown: choose one of 'dwpose', 'mediapipe', 'file', 'mini'"),
        (("pose.device=gpu",), "pose.device=gpu is unknown: choose 'auto', 'cpu' or 'cuda'"),
        (("method.latent_editing.parts=face",), "method.latent_editing.parts=face: input should be a valid array"),
        (("sampling.frame_chunk=-1",), "sampling.frame_chunk=-1 must be at least 1"),
    ],
)  # fmt: skip
def test_every_setting_has_a_type_and_a_range(arguments, message, call_main, tmp_path):
    status, stderr = call_main(train_main, *TRAIN, *arguments)
    assert status == 2 and message in stderr and stderr.startswith("error: ") and stderr.count("\n") == 1, stderr
    assert not list(tmp_path.iterdir()), "nothing is written"


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (
            poses_main,
            ("show", "poses=people_001", "smooth.min_cutoff=abc"),
            "smooth.min_cutoff=abc: input should be a valid n",
        ),
        (poses_main, ("show", "poses=people_001", "smooth.max_gap=-1"), "smooth.max_gap=-1 must be at least 0"),
        (
            poses_main,
            ("show", "poses=people_001", "smooth=spline"),
            "smooth=spline is unknown (no smooth/spline): choose one",
        ),
        (poses_main, ("show", "poses=people_001", "pose_script.frame=-1"), "pose_script.frame=-1 must be at least 0"),
        (poses_main, ("show", "poses="), "poses=: an empty name would be the working directory"),
        (sample_main, ("run=", "poses=people_001"), "run=: an empty name would be the working directory"),
        (sample_main, ("run=gone", "poses=people_001"), "gone is no run folder"),
        (sample_main, ("run=gone", "poses=people_001", "seed=-3"), "seed=-3 must be at least 0"),
        (repair_main, ("video=gone.mp4", "segments=[[1,2]]"), "gone.mp4"),
        (repair_main, ("video=gone.mp4", "segments=[[1,2]]", "blend_frames=-1"), "blend_frames=-1 must be at least 0"),
        (prepare_main, ("video=gone.mp4", "force=perhaps"), "force=perhaps: input should be a valid boolean"),
        (prepare_main, ("video=",), "video=: an empty name would be the working directory"),
        (prepare_main, (), "nothing to prepare: give video="),
        (
            prepare_main,
            ("video=gone.mp4", "dataset.cache=\t"),
            "dataset.cache is of dataset, of which nothing is chosen: give dataset=NAME",
        ),
        (prepare_main, ("clip.mp4",), "clip.mp4 is no setting: settings are given as key=value; --help lists them"),
        (prepare_main, ("video=a", "subjects=[a"), "subjects=[a cannot be read: close its brackets and quotes; a"),
        (prepare_main, ("video=a", "force=…"), "a value with other signs than a name or a number has goes into quotes"),
        (prepare_main, ("video=a", "trainer=cpu"), "trainer is a group of other commands: --help lists those of this"),
        (sample_main, ("run=gone", "poses=a", "logger=none"), "logger is a group of other commands"),
        (sample_main, ("run=gone", "poses=a", "pose_script=wave_left"), "pose_script is unknown: --help lists"),
        (
            repair_main,
            ("video=gone.mp4", "segments=[[1,2]]", "method=disco"),
            "method=disco is not for this command: python -m eval.run method=disco films by it",
        ),
        (run_main, ("benchmark=people", "method=as_in_run"), "method.kind is missing"),
        (score_main, ("generated=a", "real=b", "protocol.psnr.identical=1e400"), "identical=inf must be a finite"),
    ],
)
def test_the_settings_of_the_other_commands_as_well(main, arguments, message, call_main, tmp_path):
    status, stderr = call_main(main, *arguments)
    assert status == 2 and message in stderr and stderr.startswith("error: "), stderr
    assert stderr.endswith("\n") and stderr[:-1].isprintable(), "one line, with nothing that a terminal obeys"
    assert not list(tmp_path.iterdir()), "nothing is written"


def test_no_message_advises_a_package_that_is_not_published():
    """Our package is installed from its clone: pip install '.[extra]'."""
    roots = [PACKAGE_ROOT / name for name in ("src", "eval", "conf", "experiments")]
    texts = [path for root in roots for path in root.rglob("*") if path.suffix in (".py", ".yaml", ".md", ".j2")]
    texts += [path for path in PACKAGE_ROOT.glob("*") if path.suffix == ".md" or path.name == "Makefile"]
    assert len(texts) > 200 and src.app.entry.CONF_DIR / "train.yaml" in texts
    advice = [path for path in texts if f"pip install {'posecrafter'}" in path.read_text().replace("'", "")]
    assert not advice


def test_null_is_a_value_and_what_is_not_given_is_as_in_the_run(train, call_main, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy = ("model=tiny", "trainer=cpu", "trainer.max_steps=1", "data.num_frames=2", "sample_after_train=false")
    train("subject=people_001", *toy, "sampling.frame_chunk=5", "run_dir=run")
    seen = []
    monkeypatch.setattr("src.runs.film.film_person", lambda settings, method, sampling, trainer: seen.append(sampling))
    status, stderr = call_main(sample_main, "run=run", "poses=people_001", "trainer.devices=2")
    assert status == 2 and "trainer.devices=2: a person is learnt and filmed on one device" in stderr
    status, stderr = call_main(sample_main, "run=run", "poses=people_001", "model.base=other")
    assert status == 2 and "goes with a method that learns no one: a run has its own model" in stderr
    for given in ((), ("sampling.frame_chunk=null",), ("sampling.frame_chunk=3",)):
        assert call_main(sample_main, "run=run", "poses=people_001", *given) == (0, "")
    assert [sampling.frame_chunk for sampling in seen] == [5, None, 3]
