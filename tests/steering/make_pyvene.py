"""Writes `pyvene.npz`: logits of one rotated-space interchange by pyvene 0.1.8, on a tiny random GPT-2.

    python tests/steering/make_pyvene.py        # needs torch==2.13.0, pyvene==0.1.8 and the transformers that it brings

The weights, prompts, basis and logits are stored, so that the test needs none of these.
"""

from pathlib import Path

import numpy as np
import pyvene
import torch
import transformers

HERE = Path(__file__).resolve().parent
LAYER, POS, DIM = 1, 3, 3


def main() -> None:
    torch.manual_seed(0)
    sizes = dict(vocab_size=20, n_positions=12, n_embd=16, n_layer=2, n_head=2)
    quiet = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **quiet)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(0.4 * torch.randn_like(weight))
    place = pyvene.RepresentationConfig(LAYER, "block_output", "pos", 1, low_rank_dimension=DIM)
    config = pyvene.IntervenableConfig([place], pyvene.LowRankRotatedSpaceIntervention)
    intervenable = pyvene.IntervenableModel(config, model)
    (intervention,) = intervenable.interventions.values()
    intervention = intervention[0] if isinstance(intervention, list | tuple) else intervention
    basis = torch.linalg.qr(torch.randn(16, DIM))[0]
    with torch.no_grad():
        intervention.rotate_layer.weight = basis
    base, source = torch.randint(20, (4, 6)), torch.randint(20, (4, 6))
    with torch.no_grad():
        _, after = intervenable({"input_ids": base}, [{"input_ids": source}], {"sources->base": POS})
        plain = model(base).logits
    arrays = {f"state.{name}": value.numpy() for name, value in model.state_dict().items()}
    arrays |= dict(
        base=base.numpy(), source=source.numpy(), basis=intervention.rotate_layer.weight.detach().numpy().T
    )
    arrays |= dict(logits=after.logits.numpy(), plain=plain.numpy())
    np.savez_compressed(HERE / "pyvene.npz", **arrays)
    print(f"moved by {np.abs(arrays['logits'] - arrays['plain']).max():.3f}")


if __name__ == "__main__":
    main()
