"""Writes torch_all.pt and torch_all.npz beside this file: needs torch, the tests do not.

python tests/hub/golden/make.py
"""

from pathlib import Path

import numpy as np
import torch  # noqa: TID251

HERE = Path(__file__).parent
DTYPES = [
    "float64",
    "float32",
    "float16",
    "bfloat16",
    "int64",
    "int32",
    "int16",
    "int8",
    "uint8",
    "bool",
    "complex64",
    "uint16",
    "uint32",
    "float8_e4m3fn",
    "float8_e5m2",
]


def main() -> None:
    torch.manual_seed(0)
    state = {name: torch.randint(0, 2, (3, 5)).to(getattr(torch, name)) for name in DTYPES}
    tagged = torch.nn.Parameter(torch.ones(3))
    tagged.tag = "kept apart"
    state |= {
        "transposed": torch.randn(4, 5).T,
        "slice": torch.randn(10)[3:7],
        "expanded": torch.full((1,), 2.0).expand(5),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(torch.randn(3)),
        "tagged": tagged,
    }
    expected = {
        name: (x.float() if x.is_floating_point() else x).detach().numpy() for name, x in state.items()
    }
    others = {
        "size": torch.Size([2, 3]),
        "dtype": torch.bfloat16,
        "device": torch.device("cpu"),
        "nested": {"list": [1, 2.0, "x", None, (1, 2)], 3: torch.nn.Linear(2, 2).state_dict()},
    }
    torch.save(state | others, HERE / "torch_all.pt")
    np.savez_compressed(HERE / "torch_all.npz", **expected)


if __name__ == "__main__":
    main()
