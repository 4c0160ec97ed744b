"""What the model is told: apart from the rest, so that it can be tested without a model."""


def prompt(text: str) -> str:
    return f"Summarize in one sentence:\n{text.strip()}"
