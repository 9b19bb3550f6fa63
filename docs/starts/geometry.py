from pathlib import Path

rng = np.random.default_rng(0)
x = rng.normal(size=(490, 16)).astype(np.float32)
y = x + rng.normal(size=x.shape).astype(np.float32)
day, month = np.arange(490) % 7, np.arange(490) // 7 % 7
subjects = [x[:10], y[:10], x[:10] + y[:10]]
nats, lengths = np.abs(x[:, 0]), np.arange(490.0) % 5 + 1
times = 200 + 20 * nats + 5 * lengths + y[:, 1]
probe = ji.geometry.circular_probe(rng.normal(size=(70, model.config.d)), 2 * np.pi * np.arange(70) / 7)
names = ("North", "East", "South", "West")
numbers = [f"{a}{b}" for a in ("", " ") for b in ("One", "Two", "Three", "Four", "after", "is", *names)]
pairs = ji.tasks.calendar(
    ji.tasks.Words(numbers), 16, key=key, names=names, template="{COUNT} after {START} is"
)
scores = "word1,word2,score\nman,woman,8.3\nking,queen,8.6\nking,house,1.2\nqueen,river,0.9\nman,house,2.1\n"
Path("wordsim353.csv").write_text(scores)
Path("SimLex-999.txt").write_text(scores.replace(",", "\t").replace("score", "SimLex999"))
