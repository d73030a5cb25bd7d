"""Which numbers of DDIM steps a schedule of 1,000 timesteps can give."""

from src.common.errors import UserError

NUM_TRAIN_TIMESTEPS = 1000
# Of the noisiest timesteps, how many a schedule may leave out before sampling no longer starts from noise.
MAX_UNREACHED = NUM_TRAIN_TIMESTEPS // 20


def check_num_steps(num_steps: int, *, option: str = "sampling.num_steps") -> None:
    """Refuse a number of steps with which DDIM's even spacing would not start from noise, or not start at all.

    The timesteps are 1, 1 + s, 1 + 2s, … with s = T // num_steps: 400 steps would end at 799, 1000 beyond T.

    Raises:
        UserError: names the nearest numbers that work.
    """
    if not isinstance(num_steps, int) or isinstance(num_steps, bool) or not 1 <= num_steps < NUM_TRAIN_TIMESTEPS:
        raise UserError(f"{option}={num_steps} is not in 1 to {NUM_TRAIN_TIMESTEPS - 1}")
    if _reached(num_steps):
        return
    below = next(n for n in range(num_steps, 0, -1) if _reached(n))
    above = next(n for n in range(num_steps, NUM_TRAIN_TIMESTEPS) if _reached(n))
    first = 1 + (num_steps - 1) * (NUM_TRAIN_TIMESTEPS // num_steps)
    raise UserError(
        f"{option}={num_steps} cannot be spaced evenly over {NUM_TRAIN_TIMESTEPS} timesteps: sampling would start at "
        f"t = {first} instead of from noise; give {below} or {above}"
    )


def _reached(num_steps: int) -> bool:
    return NUM_TRAIN_TIMESTEPS - num_steps * (NUM_TRAIN_TIMESTEPS // num_steps) <= MAX_UNREACHED
