"""A judge that is a language model of this library: it continues, and its probabilities are its answers."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from ...core import generate, run
from ...typing import ModelLike, TokenizerLike
from ._interpret_settings import Judges
from ._windows import Shown

CHATML = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
LEVELS = 11  # 0 to 10, as Bills et al. 2023 have them
ANSWER_ROWS = 14  # prompts of a program, as many as `detect` has texts; shorter batches are filled up


@dataclasses.dataclass(frozen=True, eq=False)
class ModelJudge:
    r"""$\log \frac{p(\text{yes} \mid e, t)}{p(\text{no} \mid e, t)} - \log \frac{p(\text{yes} \mid e_0, t)}{p(\text{no} \mid e_0, t)}$: a language model that explains features and tests explanations.

    It runs here, with no service. Answers are compared by their probabilities, because a small model rarely
    writes an answer that can be parsed. Some texts make "yes" likely for every explanation. So the log odds for the
    explanation `neutral` are subtracted. `judges()` gives the functions for `interpret` and `explanation_scores`.

    **Arguments:**

    - `model`, `tokenizer`: a model that follows instructions, such as `ji.load("smollm2-135m")`.
    - `chat`: the format of a conversation, with `{}` for the question. Default: that of ChatML (SmolLM2, Qwen).
    - `explains`: the question before the examples, `{examples}`, and before the explanation.
    - `begins`: how the answer begins. The explanation is what follows, up to the end of the line.
    - `asks`: the question about one text, with `{explanation}` and `{text}`.
    - `answers`: two words of one token each, for yes and for no.
    - `neutral`: an explanation that says nothing.
    - `steps`: the most tokens of an explanation. Default 16.
    - `simulates`: the question about levels of tokens, with `{explanation}`.
    - `marks`: the text between each token and its level, and the text in place of the level.

    `known` holds the answers for `neutral` by text, so that each text is asked once.

    ```python
    judge = ji.sae.ModelJudge(*ji.load("smollm2-135m"))
    found = ji.sae.interpret(sae, model, tokenizer, corpus, site=site, judges=judge.judges(), key=jax.random.key(0))
    ```

    Laws: `detect` and `simulate` are computed from `ji.run` of each prompt alone; `detect` gives 0 to the explanation
    `neutral`.
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
    simulates: str = (
        "The level of a token is a number from 0 to 10. It is high where the token belongs to {explanation}, and 0 "
        "where it does not. Give the level of each token."
    )
    marks: tuple[str, str] = ("\t", "unknown\n")
    known: dict[str, float] = dataclasses.field(default_factory=dict, init=False, repr=False)

    def judges(self, *, simulate: bool = False) -> Judges:
        """The functions `explain` and `detect`, for `interpret` and `explanation_scores`.

        **Arguments:**

        - `simulate`: whether the function `simulate` is included. It reads 60 prompts for each explanation. Default
          False.
        """
        return Judges(self.explain, simulate=self.simulate if simulate else None, detect=self.detect)

    def explain(self, shown: Shown) -> str:
        """The model's explanation of the texts of the top interval: its answer to `explains`, one line."""
        texts = ["".join(window.tokens) for window in shown.examples if window.kind == "top"]
        examples = "\n".join(f"- {_line(text)}" for text in dict.fromkeys(texts))
        prompt = self.chat.format(self.explains.format(examples=examples)) + self.begins
        ids = self.tokenizer(prompt)
        added = np.asarray(generate(self.model, ids, self.steps))[len(ids) :]
        text = "".join(self.tokenizer.tokens(added))
        line = next((each for each in text.split("<|")[0].splitlines() if each.strip()), "")
        return line.strip().rstrip(".") or self.neutral

    def detect(self, explanation: str, texts: list[list[str]]) -> np.ndarray:
        """The log odds of yes for each text minus those for `neutral`, in nats, `(text,)`."""
        lines = [_line("".join(words)) for words in texts]
        found = self.log_odds([self._question(explanation, line) for line in lines])
        if new := [line for line in dict.fromkeys(lines) if line not in self.known]:
            odds = self.log_odds([self._question(self.neutral, line) for line in new])
            self.known.update(zip(new, odds.tolist(), strict=True))
        return found - np.asarray([self.known[line] for line in lines])

    def simulate(self, explanation: str, tokens: list[str]) -> np.ndarray:
        r"""$P(v \mid e, t_1 \ldots t_i)$, the probability of each level v from 0 to 10 at each token, `(pos, 11)`.

        The prompt lists the tokens, each with a mark for a level that is not known, and one run reads the
        distribution over digits before every mark, as Bills et al. 2023 do
        (https://openaipublic.blob.core.windows.net/neuron-explainer/paper/index.html). `interpret` takes the expected
        level of it. Where the tokenizer has no token for 10, its probability is 0.
        """
        ids = np.asarray(
            self.tokenizer(self.chat.format(self.simulates.format(explanation=explanation)))
        ).tolist()
        places = []
        for token in tokens:
            for piece in (token, self.marks[0]):
                ids += np.asarray(self.tokenizer(piece)).tolist() if piece else []
            places.append(len(ids) - 1)
            ids += np.asarray(self.tokenizer(self.marks[1])).tolist()
        width = -(-len(ids) // 16) * 16  # windows of nearly one length share a program
        row, mask = np.zeros((1, width), np.int32), np.arange(width)[None] < len(ids)
        row[0, : len(ids)] = ids
        logits, _ = run(self.model, row, mask=mask)
        digits = {v: each for v in range(LEVELS) if (each := self._digit(v)) is not None}
        found = np.asarray(logits[0, np.asarray(places)][:, np.asarray(list(digits.values()))], np.float64)
        shares = np.exp(found - found.max(1, keepdims=True))
        levels = np.zeros((len(tokens), LEVELS))
        levels[:, list(digits)] = shares / shares.sum(1, keepdims=True)
        return levels

    def _digit(self, level: int) -> int | None:
        try:
            return int(self.tokenizer.token_id(str(level)))
        except ValueError:
            return None

    def log_odds(self, prompts: list[str]) -> np.ndarray:
        r"""$\log p(\text{yes}) - \log p(\text{no})$ after each prompt, `(prompt,)`."""
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
