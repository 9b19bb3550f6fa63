rng = np.random.default_rng(0)
x = rng.normal(size=(200, 16))
y = x[:, 3] - x[:, 14] + 0.3 * rng.normal(size=200) > 0
train, test = np.arange(150), np.arange(150, 200)
