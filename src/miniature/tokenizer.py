"""A small tokenizer in CLIP's own format, learnt from the prompts of rendered people."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import cast

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from src.common.errors import UserError

START, END = "<|startoftext|>", "<|endoftext|>"
MOST_TOKENS = 4096


def build_tokenizer(prompts: Iterable[str], *, length: int) -> CLIPTokenizer:
    """Byte-pair merges until every word of the prompts is one token; other words fall apart into bytes.

    The same prompts give the same tokenizer. Words are ended by `</w>`, as CLIP's are.

    Args:
        prompts: sentences to learn from.
        length: T, tokens to a prompt, start and end included.
    """
    words = sorted({word for prompt in prompts for word in prompt.lower().split()})
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = CLIPTokenizer().backend_tokenizer.pre_tokenizer
    learner.decoder = decoders.ByteLevel()
    learner.train_from_iterator(
        words,
        trainers.BpeTrainer(
            vocab_size=MOST_TOKENS,
            min_frequency=1,
            initial_alphabet=alphabet,
            end_of_word_suffix="</w>",
            show_progress=False,
        ),
    )
    merges = json.loads(learner.to_str())["model"]["merges"]
    pieces = [*alphabet, *(f"{symbol}</w>" for symbol in alphabet), *dict.fromkeys("".join(pair) for pair in merges)]
    pieces = list(dict.fromkeys([*pieces, START, END]))
    return CLIPTokenizer(
        vocab={piece: number for number, piece in enumerate(pieces)},
        merges=cast("list[str]", [tuple(pair) for pair in merges]),  # pairs, whatever it is annotated with
        model_max_length=length,
    )


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the tokenizer as older and newer versions of transformers read it."""
    tokenizer.save_pretrained(folder)
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    pairs = (pair if isinstance(pair, str) else " ".join(pair) for pair in model["merges"])
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *pairs]) + "\n")


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """The tokenizer of an earlier model.

    Raises:
        UserError: there is none.
    """
    if not (folder / "vocab.json").is_file():
        raise UserError(f"part.module.start_from: {folder} holds no tokenizer")
    return CLIPTokenizer.from_pretrained(folder)
