//! Says in one sentence what a text is about, as the model finds the words.

use dunlin_guest::{Ctx, Error, Request, Response, emit};

dunlin_guest::pipeline!(run);

const MAX_TOKENS: u32 = 64;

fn run(request: Request) -> Result<Response, Error> {
    let prompt = prompt(request.text()?);
    let answer = Ctx::of(&request)?.user(prompt).max_tokens(MAX_TOKENS).stream(emit)?;
    Ok(Response::text(answer))
}

fn prompt(text: &str) -> String {
    format!("Summarize in one sentence:\n{}", text.trim())
}

#[cfg(test)]
mod tests {
    use dunlin_guest::fake::Model;

    use super::*;

    #[test]
    fn the_answer_is_streamed() {
        let model = Model::answering(|messages| {
            assert_eq!(messages[0].content, "Summarize in one sentence:\ndisk sda failed");
            "A disk failed.".into()
        });
        let response = run(Request::from_text(" disk sda failed\n")).unwrap();
        assert_eq!(response.body, b"A disk failed.");
        assert_eq!(model.emitted(), "A disk failed.");
    }
}
