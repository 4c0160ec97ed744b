// Run by `node --test`. DUNLIN names the command, if it is not in the PATH; DUNLIN_MODEL says on which model.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';

import { prompt } from './prompt.js';

const dunlin = (...args) => execFileSync(process.env.DUNLIN ?? 'dunlin', args, { encoding: 'utf8' });

test('the prompt is the text with what is asked', () => {
    assert.equal(prompt(' disk sda failed\n'), 'Summarize in one sentence:\ndisk sda failed');
});

test('it is built, fits and answers', () => {
    dunlin('build', '--quiet');
    dunlin('check');
    const said = dunlin('run', './hello-js.wasm', '--json-lines', '--quiet', '--text', 'sshd: Accepted key for ana');
    const chunks = said.trim().split('\n').map((line) => JSON.parse(line));
    const end = chunks.pop();
    const streamed = chunks.map((chunk) => chunk.text).join('');
    assert.ok(streamed.length > 0);
    assert.equal(end.result, streamed);
});
