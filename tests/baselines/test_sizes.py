"""Parameters at full size, from the shipped configs alone."""

from src.baselines.sizes import describe_disco, describe_magicanimate
from src.models.shipped import shipped_configs

UNET, CONTROLNET = 859_520_964, 361_279_120


def test_magicanimate():
    found = describe_magicanimate(shipped_configs("sd15"))
    assert found["parameters"] == {
        "unet": UNET,
        "motion_modules": 417_137_600,
        "controlnet": CONTROLNET,
        "appearance_encoder": 857_066_560,
    }
    assert found["trainable_parameters"] == 0, "nothing is learnt of a subject"


def test_disco():
    found = describe_disco(shipped_configs("sd15"))
    assert {"vae", "image_encoder"} < found["parameters"].keys()
    assert [
        found["parameters"][part] for part in ("unet", "pose_controlnet", "background_controlnet", "projection")
    ] == [
        UNET,
        CONTROLNET,
        360_204_480,
        786_432,
    ]
    trained = {"cross_attention": 43_962_560, "background_controlnet": 360_204_480, "projection": 786_432}
    assert found["trainable"] == trained
    assert found["trainable_parameters"] == sum(trained.values())
