// Says in one sentence what a text is about, as the model finds the words.
import { Context } from 'dunlin:llm/contexts@0.1.0';
import { emit } from 'dunlin:llm/job@0.1.0';
import { available, open } from 'dunlin:llm/models@0.1.0';

import { prompt } from './prompt.js';

const MAX_TOKENS = 64;
const BATCH = 64;

export const handler = {
    run(request) {
        const model = open(alias(request));
        const context = Context.create(model);
        const content = prompt(new TextDecoder().decode(request.body));
        context.appendMessages([{ role: 'user', content, toolCalls: [], toolCallId: undefined }], [], true);
        const answer = stream(context);
        return { contentType: 'text/plain; charset=utf-8', body: new TextEncoder().encode(answer) };
    },
};

/** The model that the caller names, or else the first that is granted. */
function alias(request) {
    const [first] = available();
    return new Map(request.params).get('model') ?? first?.alias ?? 'none';
}

/** Gives each piece of the answer to the caller when it comes, and returns them all. */
function stream(context) {
    const generation = context.generate({ maxTokens: MAX_TOKENS, stop: [] }, undefined);
    let answer = '';
    for (let events = generation.next(BATCH); events.length > 0; events = generation.next(BATCH)) {
        for (const event of events) {
            if (event.tag === 'text') {
                emit({ tag: 'text', val: event.val });
                answer += event.val;
            }
        }
    }
    return answer;
}
