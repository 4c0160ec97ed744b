//! What answers are judged by, as it comes with an order to measure.

use dunlin_profiler::Choice;
use dunlin_protocol::{Failure, FailureCode, HowToProfile, JudgedFile, limits::MAX_JUDGED};
use dunlin_worker_handle::Extras;

use crate::node::Node;

impl Node {
    /// Fetched anew each time: nothing of it stays on the disk.
    ///
    /// # Errors
    /// If it cannot be had, or is not what it should be; and of an emulated board, which computes nothing.
    pub(super) async fn material(&self, how: &HowToProfile) -> Result<Extras, Failure> {
        if how.has_extras() && self.options.emulation.is_some() {
            let text = format!(
                "{} is emulated and computes nothing: it has no answers to judge and no operators to time",
                self.name
            );
            return Err(Failure::new(FailureCode::Unsupported, text));
        }
        let text = self.judged(how.text.as_ref()).await?;
        let questions = self.judged(how.questions.as_ref()).await?;
        if let Some((name, lines)) = &questions {
            // Here already, so that nothing is measured for a set that is none.
            Choice::parse(lines).map_err(|error| invalid(name, &error.to_string()))?;
        }
        Ok(Extras { text, questions, operators: how.operators })
    }

    async fn judged(&self, file: Option<&JudgedFile>) -> Result<Option<(String, String)>, Failure> {
        let Some(JudgedFile { name, blob, .. }) = file else { return Ok(None) };
        let bytes = self.fetch_once(*blob, MAX_JUDGED).await?;
        let text = String::from_utf8(bytes).map_err(|error| invalid(name, &error.to_string()))?;
        if text.trim().is_empty() {
            return Err(invalid(name, "it is empty"));
        }
        Ok(Some((name.clone(), text)))
    }
}

fn invalid(name: &str, reason: &str) -> Failure {
    Failure::new(FailureCode::Invalid, format!("{name}: {reason}"))
}
