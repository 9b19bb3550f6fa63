pairs = ji.tasks.ontology(tokenizer, 2, key=key, subtask=5, shots=0)
tasks = {"5 induction": pairs}
heads = ji.chains.task_heads(model, tasks, method="attribution")
writers = ji.chains.answer_writers(model, tasks)
questions = ji.tasks.ontology(tokenizer, 8, key=key, subtask=0, shots=0)
entities = ji.chains.entity_pairs(questions, key=key)
settings = ji.probes.TrainSettings(epochs=2, batch_size=32)
probes = ji.chains.mixing_probes(model, questions, entities, key=key, settings=settings)
