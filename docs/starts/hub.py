import pickle
import shutil
import zipfile
from pathlib import Path

import flax

weight = np.zeros((2, 3))
theirs = ji.hub.to_penzai(model)
gpt2 = ji.models.GPT2.init(ji.models.GPT2Config(vocab=50, ctx=16, d=24, layers=2, heads=2), key=key)

# the files that examples read
ji.hub.export("my-model", model, tokenizer=tokenizer)
shutil.copy(ji.hub.find_ports() / "gpt_neox.toml", "my_port.toml")
tensors = ji.hub.open_safetensors("my-model/model.safetensors")
arrays = {name: tensor.read() for name, tensor in tensors.items()}
ji.hub.write_torch("ckpt.pt", {"config": ji.hub.read_json("my-model/config.json"), "model": arrays})
ji.hub.write_torch("ae.pt", {"encoder.weight": weight})
with zipfile.ZipFile("whole_model.pt", "w") as archive:
    archive.writestr("whole_model/data.pkl", pickle.dumps(print))
