"""From the settings of a method to the method."""

from src.methods.base import Method, Surroundings
from src.methods.settings import AnyMethodSettings, DisCoFineTunedSettings, DisCoSettings, MagicAnimateSettings
from src.sampling.settings import MethodSettings


def build_method(settings: AnyMethodSettings, around: Surroundings) -> Method:
    """Nothing is loaded yet.

    Raises:
        UserError: its weights are not there.
    """
    match settings:
        case MethodSettings():
            from src.methods.posecrafter import PoseCrafter

            return PoseCrafter(settings, around)
        case MagicAnimateSettings():
            from src.methods.magicanimate import MagicAnimateMethod

            return MagicAnimateMethod(settings, around)
        case DisCoSettings() | DisCoFineTunedSettings():
            from src.methods.disco import DisCoMethod

            return DisCoMethod(settings, around)
