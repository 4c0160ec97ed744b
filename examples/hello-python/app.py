"""Says in one sentence what a text is about, as the model finds the words."""

from wit_world import exports
from wit_world.exports.handler import Request, Response
from wit_world.imports import contexts, job, models
from wit_world.imports.contexts import Event_Text, Options
from wit_world.imports.types import Message, Role

from prompt import prompt

MAX_TOKENS = 64
BATCH = 64


class Handler(exports.Handler):
    def run(self, request: Request) -> Response:
        model = models.open(alias(request))
        with contexts.Context.create(model) as context:
            message = Message(Role.USER, prompt(request.body.decode(errors="replace")), [], None)
            context.append_messages([message], [], True)
            answer = "".join(stream(context))
        return Response("text/plain; charset=utf-8", answer.encode())


def alias(request: Request) -> str:
    """The model that the caller names, or else the first that is granted."""
    first = next((info.alias for info in models.available()), "none")
    return dict(request.params).get("model", first)


def stream(context: contexts.Context):
    """The pieces of the answer; each goes to the caller when it comes."""
    options = Options(MAX_TOKENS, sampling=None, stop=[], top_logprobs=None, deadline_ms=None)
    with context.generate(options, None) as generation:
        while events := generation.next(BATCH):
            for event in events:
                if isinstance(event, Event_Text):
                    job.emit(job.Chunk_Text(event.value))
                    yield event.value
