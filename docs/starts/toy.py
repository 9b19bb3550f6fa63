rng = np.random.default_rng(0)
system = ji.toy.dynamics("lorenz")
z = system.simulate(steps=500, dt=0.002)
noise = 0.01 * rng.normal(size=z.shape)
