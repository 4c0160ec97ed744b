//! One answer, shown as it comes.

use dunlin_host::Chunk;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::terminal::{output::Output, progress::Bar, style};

/// Shows what the pipeline `chat` says, in the form of its parameter `json`: pieces of reasoning, pieces of content.
///
/// # Errors
/// If the reader of the output went away.
pub(super) async fn show(chunks: &mut mpsc::Receiver<Chunk>, waiting: Bar) -> std::io::Result<String> {
    let mut output = Output::stdout();
    let mut said = String::new();
    let mut waiting = Some(waiting);
    let mut reasons = false;
    while let Some(chunk) = next(chunks, waiting.as_ref()).await {
        let Chunk::Json(json) = chunk else { continue };
        let Ok(delta) = serde_json::from_str::<Value>(&json) else { continue };
        waiting = None;
        if let (Some(text), true) = (delta["reasoning"].as_str(), output.is_terminal()) {
            if !reasons {
                output.styled(style::FAINT)?;
            }
            reasons = true;
            output.text(text)?;
        }
        if let Some(text) = delta["content"].as_str() {
            if std::mem::take(&mut reasons) {
                output.unstyled(style::FAINT)?;
                output.end_line()?;
            }
            said += text;
            output.text(text)?;
        }
    }
    if reasons {
        output.unstyled(style::FAINT)?;
    }
    output.end_line()?;
    Ok(said)
}

/// The next chunk; whoever waits for the first sees that something is going on.
async fn next(chunks: &mut mpsc::Receiver<Chunk>, waiting: Option<&Bar>) -> Option<Chunk> {
    let Some(waiting) = waiting else { return chunks.recv().await };
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tokio::select! {
            biased;
            chunk = chunks.recv() => return chunk,
            _ = ticks.tick() => waiting.tick(),
        }
    }
}
