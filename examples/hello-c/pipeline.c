// Says in one sentence what a text is about, as the model finds the words.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "pipeline.h"

#define INSTRUCTION "Summarize in one sentence:\n"
#define MAX_TOKENS 64
#define BATCH 64

typedef exports_dunlin_llm_handler_request_t request_t;
typedef exports_dunlin_llm_handler_response_t response_t;
typedef dunlin_llm_types_error_t error_t;

// Every call gives true, or false and an error; errors go to the caller as they are.

// The model that the caller names, or else the first that is granted.
static bool open_model(const request_t *request, dunlin_llm_models_own_model_t *model, error_t *error) {
    for (size_t i = 0; i < request->params.len; i++) {
        pipeline_string_t name = request->params.ptr[i].f0;
        if (name.len == strlen("model") && memcmp(name.ptr, "model", name.len) == 0)
            return dunlin_llm_models_open(&request->params.ptr[i].f1, model, error);
    }
    dunlin_llm_models_list_info_t granted;
    dunlin_llm_models_available(&granted);
    pipeline_string_t none;
    pipeline_string_set(&none, "(none is granted)");
    bool opened = dunlin_llm_models_open(granted.len > 0 ? &granted.ptr[0].alias : &none, model, error);
    dunlin_llm_models_list_info_free(&granted);
    return opened;
}

// A conversation of one message: the instruction, and the text.
static bool ask(dunlin_llm_contexts_borrow_context_t context, const pipeline_list_u8_t *text, error_t *error) {
    size_t before = strlen(INSTRUCTION), length = text->len;
    while (length > 0 && isspace(text->ptr[length - 1])) length--;
    uint8_t *prompt = malloc(before + length);
    memcpy(prompt, INSTRUCTION, before);
    memcpy(prompt + before, text->ptr, length);
    dunlin_llm_contexts_message_t message = {
        .role = DUNLIN_LLM_TYPES_ROLE_USER,
        .content = {prompt, before + length},
    };
    dunlin_llm_contexts_list_message_t messages = {&message, 1};
    dunlin_llm_contexts_list_tool_def_t no_tools = {0};
    uint32_t tokens;
    bool heard = dunlin_llm_contexts_method_context_append_messages(context, &messages, &no_tools, true, &tokens, error);
    free(prompt);
    return heard;
}

// Gives a piece to the caller, and adds it to the answer.
static bool say(pipeline_string_t *piece, pipeline_list_u8_t *answer, error_t *error) {
    dunlin_llm_job_chunk_t chunk = {.tag = DUNLIN_LLM_JOB_CHUNK_TEXT, .val = {.text = *piece}};
    if (!dunlin_llm_job_emit(&chunk, error)) return false;
    answer->ptr = realloc(answer->ptr, answer->len + piece->len);
    memcpy(answer->ptr + answer->len, piece->ptr, piece->len);
    answer->len += piece->len;
    return true;
}

// Event by event, until there are no more.
static bool stream(dunlin_llm_contexts_borrow_generation_t generation, pipeline_list_u8_t *answer, error_t *error) {
    for (bool has_ended = false; !has_ended;) {
        dunlin_llm_contexts_list_event_t events;
        if (!dunlin_llm_contexts_method_generation_next(generation, BATCH, &events, error)) return false;
        has_ended = events.len == 0;
        bool said = true;
        for (size_t i = 0; i < events.len && said; i++)
            if (events.ptr[i].tag == DUNLIN_LLM_CONTEXTS_EVENT_TEXT) said = say(&events.ptr[i].val.text, answer, error);
        dunlin_llm_contexts_list_event_free(&events);
        if (!said) return false;
    }
    return true;
}

bool exports_dunlin_llm_handler_run(request_t *request, response_t *response, error_t *error) {
    dunlin_llm_models_own_model_t model;
    if (!open_model(request, &model, error)) return false;
    dunlin_llm_contexts_own_context_t context;
    if (!dunlin_llm_contexts_static_context_create(dunlin_llm_models_borrow_model(model), &context, error)) return false;
    dunlin_llm_contexts_borrow_context_t conversation = dunlin_llm_contexts_borrow_context(context);
    if (!ask(conversation, &request->body, error)) return false;
    dunlin_llm_contexts_options_t options = {.max_tokens = MAX_TOKENS};
    dunlin_llm_contexts_own_generation_t generation;
    if (!dunlin_llm_contexts_method_context_generate(conversation, &options, NULL, &generation, error)) return false;
    pipeline_list_u8_t answer = {NULL, 0};
    if (!stream(dunlin_llm_contexts_borrow_generation(generation), &answer, error)) return false;
    // What this run holds beyond here is freed with its instance: each request has one of its own.
    pipeline_string_dup(&response->content_type, "text/plain; charset=utf-8");
    response->body = answer;
    return true;
}
