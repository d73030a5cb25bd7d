import typing

import pytest

from src.common.errors import UserError
from src.common.trainer import Precision
from src.models.settings import PRECISIONS, ModelSettings, check_precision

DTYPES = set(typing.get_args(typing.get_type_hints(ModelSettings)["dtype"])) - {"auto"}


@pytest.mark.parametrize("precision", [*typing.get_args(Precision), "32"])
@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_weights_and_operations_go_together_or_the_line_says_what_would(dtype, precision):
    """Half-precision weights in operations of their format alone; never a run that rounds what is trained."""
    wanted = {
        "float32": {"32-true", "32", "16-mixed", "bf16-mixed"},
        "bfloat16": {"bf16-mixed"},
        "float16": {"16-mixed"},
    }[dtype]
    if precision in wanted:
        check_precision(dtype, precision)
        return
    with pytest.raises(UserError, match=f"model.dtype={dtype} cannot go with trainer.precision={precision}") as refused:
        check_precision(dtype, precision)
    assert all(name in str(refused.value) for name in PRECISIONS[dtype])
