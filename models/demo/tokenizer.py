"""The tokenizer: byte-level BPE trained on our own corpus, and the chat template.

Text is first cut as finely as possible: runs of letters, runs of up to three digits, every other character alone. No
merge crosses such a cut, so a word, a number or an address has the same tokens in a line as in the JSON made of it,
which is what lets a small model copy values it has never seen. llama.cpp's pre-tokenizer `deepseek-v3` cuts no letter
run and makes the same digit groups, so it yields the same ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from corpus.chats import Chat, ChatMaker

PRE_TOKENIZER = "deepseek-v3"
CUTS = Regex(r"\p{N}{1,3}|\p{L}+|[^\p{N}\p{L}]")
SPECIALS = ("<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|pad|>")
BEGIN, END, SYSTEM, USER, ASSISTANT, PAD = range(len(SPECIALS))
VOCABULARY = 2304
TRAINING_CHATS = 20_000
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ '<|system|>' }}"
    "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' }}"
    "{% else %}{{ '<|user|>' }}{% endif %}"
    "{{ message['content'] }}{{ '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def train(seed: str = "tokenizer") -> Tokenizer:
    """Train merges on letters, then add the merges that make every number of up to three digits one token."""
    digits = _digit_merges()
    letters = _train_letters(seed, VOCABULARY - len(digits))
    state = _merges(letters)
    vocabulary = {token: at for at, token in enumerate(SPECIALS)}
    for token in [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in state + digits)]:
        vocabulary.setdefault(token, len(vocabulary))
    return _finished(models.BPE(vocab=vocabulary, merges=state + digits))


def assemble(tokens: list[str], merges: list[tuple[str, str]]) -> Tokenizer:
    """The tokenizer of a vocabulary in the order of its ids and merges in the order of their ranks."""
    return _finished(models.BPE(vocab={token: at for at, token in enumerate(tokens)}, merges=merges))


def load(path: Path) -> Tokenizer:
    return Tokenizer.from_file(str(path))


def pieces(tokenizer: Tokenizer) -> tuple[str, ...]:
    """The letter runs of the vocabulary, of which training makes names (see `corpus.values`)."""
    return tuple(sorted(token for token in tokenizer.get_vocab() if token.isascii() and token.isalpha()))


def encode_chats(tokenizer: Tokenizer, chats: list[Chat]) -> list[tuple[list[int], list[float]]]:
    """Token ids of each chat, and how much each counts in training.

    Only answers with their end marker count. The tokens of an answer weigh one over the square root of its length: an
    answer of one word would otherwise hardly be heard beside the JSON ones.
    """
    texts = [text for chat in chats for text in _texts(chat)]
    encoded = iter([encoding.ids for encoding in tokenizer.encode_batch(texts, add_special_tokens=False)])
    return [_joined(chat, encoded) for chat in chats]


def _texts(chat: Chat) -> Iterable[str]:
    if chat.system is not None:
        yield chat.system
    for turn in chat.turns:
        yield turn.user
        yield turn.assistant


def _joined(chat: Chat, encoded) -> tuple[list[int], list[float]]:
    ids, weights = [BEGIN], [0.0]

    def add(role: int, text: list[int]) -> None:
        ids.extend((role, *text, END))
        weight = (len(text) + 1) ** -0.5 if role == ASSISTANT else 0.0
        weights.extend((0.0, *[weight] * (len(text) + 1)))

    if chat.system is not None:
        add(SYSTEM, next(encoded))
    for _ in chat.turns:
        add(USER, next(encoded))
        add(ASSISTANT, next(encoded))
    return ids, weights


def _train_letters(seed: str, vocabulary: int) -> Tokenizer:
    tokenizer = _finished(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    maker = ChatMaker(seed)
    chats = (maker.chat() for _ in range(TRAINING_CHATS))
    texts = ("".join(letter for letter in text if not letter.isdigit()) for chat in chats for text in _texts(chat))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _digit_merges() -> list[tuple[str, str]]:
    """Merges for all numbers of two and three digits; the order of the pairs decides how a triple is reached."""
    pairs = [f"{number:02d}" for number in range(100)]
    merges = [(pair[0], pair[1]) for pair in pairs]
    for triple in (f"{number:03d}" for number in range(1000)):
        left_first = triple[:2] <= triple[1:]
        merges.append((triple[:2], triple[2]) if left_first else (triple[0], triple[1:]))
    return merges


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(tokenizer.to_str())["model"]["merges"]]


def _finished(model: models.BPE) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(CUTS, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIALS))
    return tokenizer
