"""A judge that is a language model of this library: it continues, and its probabilities are its answers."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from ...core import generate, run
from ...typing import ModelLike, TokenizerLike
from ._interpret_settings import Judges
from ._windows import Shown

CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
ANSWER_ROWS = 14  # prompts of a program, as many as `detect` has texts; shorter batches are filled up


@dataclasses.dataclass(frozen=True, eq=False)
class ModelJudge:
    r"""$\log \frac{p(\text{yes} \mid e, t)}{p(\text{no} \mid e, t)} - \log \frac{p(\text{yes} \mid e_0, t)}{p(\text{no} \mid e_0, t)}$: a language model that explains features and tests explanations.

    It runs here, with no service. Answers are compared by their probabilities, because a small model rarely
    writes an answer that can be parsed. What a text makes likely by itself is taken off: its answer for the
    explanation `neutral`. `judges` are its functions for `interpret` and `explanation_scores`.

    **Arguments:**

    - `model`, `tokenizer`: a model that follows instructions, as `ji.load("smollm2-135m")`.
    - `chat`: the format of a conversation, with `{}` for the question. Default: that of ChatML (SmolLM2, Qwen).
    - `explains`: the question before the examples, `{examples}`, and before the explanation.
    - `begins`: how the answer begins. The explanation is what follows, up to the end of the line.
    - `asks`: the question about one text, with `{explanation}` and `{text}`.
    - `answers`: two words of one token each, yes and no.
    - `neutral`: an explanation that says nothing.
    - `steps`: the most tokens of an explanation. Default 16.

    `known` holds its answers for `neutral`, text by text, so that each is asked once.

    ```python
    judge = ji.sae.ModelJudge(*ji.load("smollm2-135m"))
    found = ji.sae.interpret(sae, model, tokenizer, corpus, site=site, judges=judge.judges(), key=jax.random.key(0))
    ```

    Laws: `detect` is what `ji.run` says of each prompt alone; an explanation as good as `neutral` scores 0.
    """

    model: ModelLike
    tokenizer: TokenizerLike
    chat: str = CHATML
    explains: str = "Pieces of text:\n{examples}\nWhat do these pieces have in common? Answer in a few words."
    begins: str = "They all contain"
    asks: str = 'Text: "{text}"\nDoes this text contain {explanation}? Answer yes or no.'
    answers: tuple[str, str] = ("Yes", "No")
    neutral: str = "something"
    steps: int = 16
    known: dict[str, float] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def judges(self) -> Judges:
        """The functions `explain` and `detect`, for `interpret` and `explanation_scores`."""
        return Judges(explain=self.explain, detect=self.detect)

    def explain(self, shown: Shown) -> str:
        """What the model says that the texts of the top interval have in common, one line."""
        texts = ["".join(window.tokens) for window in shown.examples if window.kind == "top"]
        examples = "\n".join(f"- {_line(text)}" for text in dict.fromkeys(texts))
        prompt = self.chat.format(self.explains.format(examples=examples)) + self.begins
        ids = self.tokenizer(prompt)
        added = np.asarray(generate(self.model, ids, self.steps))[len(ids) :]
        text = "".join(self.tokenizer.tokens(added))
        line = next((each for each in text.split("<|")[0].splitlines() if each.strip()), "")
        return line.strip().rstrip(".") or self.neutral

    def detect(self, explanation: str, texts: list[list[str]]) -> np.ndarray:
        """By how much the model says yes of each text, in nats, more than for `neutral`: `(text,)`."""
        lines = [_line("".join(words)) for words in texts]
        found = self.log_odds([self._question(explanation, line) for line in lines])
        if new := [line for line in dict.fromkeys(lines) if line not in self.known]:
            odds = self.log_odds([self._question(self.neutral, line) for line in new])
            self.known.update(zip(new, odds.tolist(), strict=True))
        return found - np.asarray([self.known[line] for line in lines])

    def log_odds(self, prompts: list[str]) -> np.ndarray:
        r"""$\log p(\text{yes}) - \log p(\text{no})$ behind each prompt, `(prompt,)`."""
        yes, no = (self.tokenizer.token_id(answer) for answer in self.answers)
        rows = [np.asarray(self.tokenizer(prompt)) for prompt in prompts]
        # Whole blocks of rows and of tokens: prompts of nearly one length share a program.
        width = -(-max(map(len, rows)) // 16) * 16
        found = []
        for first in range(0, len(rows), ANSWER_ROWS):
            here = rows[first : first + ANSWER_ROWS]
            ids = np.zeros((ANSWER_ROWS, width), np.int32)
            mask = np.zeros((ANSWER_ROWS, width), bool)
            mask[:, 0] = True
            for i, row in enumerate(here):
                ids[i, : len(row)], mask[i, : len(row)] = row, True
            logits, _ = run(self.model, ids, mask=mask, logits=-1)
            odds = logits[..., yes].astype(jnp.float32) - logits[..., no].astype(jnp.float32)
            found.append(np.asarray(odds).reshape(-1)[: len(here)])
        return np.concatenate(found)

    def _question(self, explanation: str, text: str) -> str:
        return self.chat.format(self.asks.format(explanation=explanation, text=text))


def _line(text: str) -> str:
    """A text on one line, without what opens or closes a turn of a conversation."""
    return " ".join(text.replace("<|", " ").replace("|>", " ").split())
