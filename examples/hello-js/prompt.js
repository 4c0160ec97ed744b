/** What the model is told: apart from the rest, so that it can be tested without a model. */
export function prompt(text) {
    return `Summarize in one sentence:\n${text.trim()}`;
}
