import rich

groups = np.arange(200) // 4
tokens = np.arange(200) % 40
probe = ji.probes.fit(x, y, support=[3, 14])
lorenz = ji.toy.dynamics("lorenz")
z = lorenz.simulate(steps=1000, dt=0.002)
theta, terms = ji.toy.polynomials(z, degree=2)
velocity = lorenz.velocity(z)
v, held_theta, held_v = velocity[:800, 0], theta[800:], velocity[800:, 0]
theta, velocity = theta[:800], velocity[:800]
path = ji.probes.best_subsets(theta, v, range(1, 4), "squared", intercept=False)
labels = {name: corpus.labels == name for name in dict.fromkeys(corpus.labels)}
settings = ji.probes.StudySettings(methods=["single", "adaptive"], ks=[1, 2], layers=[2])
records = ji.probes.study(model, corpus, key=key, settings=settings, out="study.jsonl")

# the same study of a model of another size
larger = [{**record, "model": "larger", "parameters": 2 * record["parameters"]} for record in records]
ji.probes.write_records("70m.jsonl", records)
ji.probes.write_records("160m.jsonl", larger)
