//! Commands of the operator: run on this machine by no shell, for so long at most, and heard out where they fail.

use std::{process::Stdio, time::Duration};

use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::timeout,
};

/// How long a command may take.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

/// Bytes of what a command says that are kept: the first ones.
const MAX_SAID: u64 = 2048;

/// For what a command has said just before its end.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Bytes of these that are shown.
const MAX_SHOWN: usize = 240;

/// Why a command did not do what it is for.
#[derive(Debug, Error)]
pub(crate) enum ErrandError {
    #[error("{program} cannot be run: {error}")]
    Start { program: String, error: std::io::Error },
    #[error("{program} was ended, as it took more than {} s{said}", PATIENCE.as_secs())]
    Late { program: String, said: String },
    #[error("{program} failed ({status}){said}")]
    Failed { program: String, status: std::process::ExitStatus, said: String },
}

/// Runs a command to its end.
///
/// # Errors
/// If it cannot be run, fails, or takes too long; then it is ended.
pub(super) async fn run(command: Vec<String>, patience: Duration) -> Result<(), ErrandError> {
    let program = command.first().cloned().unwrap_or_default();
    let failed = |error| ErrandError::Start { program: program.clone(), error };
    let mut child = Command::new(&program)
        .args(command.iter().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let status = {
        let ends = timeout(patience, child.wait());
        let hearing = async { tokio::join!(hear(out, &mut said), hear(err, &mut complained)) };
        tokio::pin!(ends, hearing);
        // What it leaves running may hold its output open: only its own end is waited for, and its last words for a moment.
        tokio::select! {
            status = &mut ends => {
                drop(timeout(LAST_WORDS, hearing).await);
                status
            }
            _ = &mut hearing => ends.await,
        }
    };
    let said = shown(if complained.is_empty() { &said } else { &complained });
    match status {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(ErrandError::Failed { program, status, said }),
        Ok(Err(error)) => Err(ErrandError::Start { program, error }),
        Err(_) => Err(ErrandError::Late { program, said }),
    }
}

/// Keeps the beginning, and reads on: a command that nobody listens to would stop.
async fn hear(from: Option<impl AsyncRead + Unpin>, said: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    // What cannot be read is not said.
    drop((&mut from).take(MAX_SAID).read_to_end(said).await);
    drop(tokio::io::copy(&mut from, &mut tokio::io::sink()).await);
}

/// In one line, to be put behind something else.
fn shown(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = &line[..line.floor_char_boundary(MAX_SHOWN)];
    if line.is_empty() { String::new() } else { format!(": {line}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(script: &str, patience: Duration, expected: Result<(), &str>) {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        let done = run(command, patience).await.map_err(|error| error.to_string());
        assert_eq!(done, expected.map_err(str::to_owned), "{script}");
    }

    #[tokio::test]
    async fn commands_are_heard_out() {
        check("true", PATIENCE, Ok(())).await;
        check(
            "echo going; echo no such plug >&2; exit 3",
            PATIENCE,
            Err("sh failed (exit status: 3): no such plug"),
        )
        .await;
        check("echo only this; exit 1", PATIENCE, Err("sh failed (exit status: 1): only this")).await;
        // More than is kept, and more than a pipe holds.
        check("head -c 300000 /dev/zero; true", PATIENCE, Ok(())).await;
        // One that goes on in the background is not waited for.
        check("sleep 3 & exit 0", PATIENCE, Ok(())).await;
    }

    #[tokio::test]
    async fn commands_that_hang_or_are_not_there() {
        let short = Duration::from_millis(100);
        let command = ["sh", "-c", "echo dialing; sleep 60"].map(str::to_owned).to_vec();
        let error = run(command, short).await.unwrap_err().to_string();
        assert!(error.starts_with("sh was ended, as it took more than"), "{error}");
        let error = run(vec!["no-such-program".to_owned()], short).await.unwrap_err().to_string();
        assert!(error.starts_with("no-such-program cannot be run: No such file"), "{error}");
    }
}
