"""The tokenizer of the embedded model: byte-level BPE, `<|endoftext|>` at id 0, common first names as single tokens.

`train` learns the merges from samples of the corpora. First names must be single tokens for prompts of the kind
"When John and Mary went to the store": each name is shown to the trainer often enough that its merges come first.
"""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END = "<|endoftext|>"
_NAMES = """John Mary James Tom Anna Alice Bob Jack Peter Paul Mark Luke David Daniel Sarah Emma Lucy Jane Kate Laura
George Henry Charles William Robert Richard Thomas Edward Michael Simon Martin Adam Alex Ben Sam Max Fred Frank Arthur
Walter Joe Tim Dan Scott Kevin Ryan Jason Andrew Stephen Matthew Victoria Elizabeth Margaret Susan Rachel Rose Amy Ann
Julia Clara Helen Ruth Grace Lisa Maria Sophie Marie Louise Charlotte Jennifer Jessica Michelle Amanda"""
NAMES = tuple(_NAMES.split())


def train(texts, *, vocab: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = list(texts)
    # A merge enters the vocabulary by its count, so a name's share of the text must exceed the least frequent merge's.
    repeats = max(1, sum(map(len, texts)) // 4000)
    texts.append("".join(f" {name}" * repeats for name in NAMES))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
