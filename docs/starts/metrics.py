logits, _ = ji.run(model, clean)
right, wrong = tokenizer.token_id(" Mary"), tokenizer.token_id(" John")
heat = ji.patching.sweep(model, clean, corrupt, metric, over=("layer",))
