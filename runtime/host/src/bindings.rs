//! Generated from `wit/`. Functions that may wait are async; the others answer without leaving the guest's
//! stack.

/// `wasi:nn`, as its package says it.
pub(crate) mod nn {
    use crate::calls::{nn, wasi_nn};

    wasmtime::component::bindgen!({
        path: "../../wit/deps/nn",
        world: "ml",
        imports: {
            "wasi:nn/graph.load": async | trappable,
            "wasi:nn/graph.load-by-name": async | trappable,
            "wasi:nn/inference.[method]graph-execution-context.compute": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:nn/tensor.tensor": wasi_nn::Tensor,
            "wasi:nn/graph.graph": nn::Graph,
            "wasi:nn/inference.graph-execution-context": nn::Execution,
            "wasi:nn/errors.error": wasi_nn::NnError,
        },
    });
}

use crate::{
    calls::{constraints, contexts, generations, models},
    invoke::failure::Failure,
};

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "pipeline",
    imports: {
        "dunlin:llm/models.available": async | trappable,
        "dunlin:llm/models.open": async | trappable,
        "dunlin:llm/models.[method]model.tokenize": async | trappable,
        "dunlin:llm/models.[method]model.detokenize": async | trappable,
        "dunlin:llm/models.[method]model.render": async | trappable,
        "dunlin:llm/constraints.[static]constraint.compile": async | trappable,
        "dunlin:llm/contexts.[method]context.append": async | trappable,
        "dunlin:llm/contexts.[method]context.append-messages": async | trappable,
        "dunlin:llm/contexts.[method]context.score": async | trappable,
        "dunlin:llm/contexts.[method]generation.next": async | trappable,
        "dunlin:llm/embeddings.embed": async | trappable,
        "dunlin:llm/job.emit": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    trappable_error_type: { "dunlin:llm/types.error" => Failure },
    with: {
        "wasi:io/poll": wasmtime_wasi::p2::bindings::io::poll,
        "dunlin:llm/models.model": models::Model,
        "dunlin:llm/constraints.constraint": constraints::Constraint,
        "dunlin:llm/contexts.context": contexts::Context,
        "dunlin:llm/contexts.generation": generations::Generation,
    },
});
