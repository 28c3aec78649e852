//! Why a verb failed, and the exit code that scripts act on.

use std::fmt;
use std::io::Write;
use std::process::ExitCode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Unauthorized = 4,
    Unavailable = 5,
    Conflict = 6,
    // How an execution ended that was waited for.
    NotEnded = 10,
    EndedFailed = 11,
    EndedDeadLettered = 12,
    EndedCancelled = 13,
    EndedExpired = 14,
}

/// What `bridgectl help exit-codes` says.
pub const EXIT_CODES: &str = "\
Every verb ends with one of these codes:

   0  done; of `execution wait`: the execution succeeded
   1  failed; of `doctor`: there are findings
   2  wrong usage, or a configuration that cannot be used
   3  not found
   4  unauthorized: no credential, a wrong one, or one without the scope that is needed
   5  unavailable: the bridge or the broker did not answer or asks for patience; try again
   6  conflict: what is asked for cannot be done in the present state

`execution wait` says with its code how the execution ended:

  10  it has not ended within --timeout, or nobody waits any more
  11  failed
  12  dead_lettered
  13  cancelled
  14  expired

An interrupted `execution tail` is done: 0. A reader that leaves a pipe early, as `| head` does, is no failure.";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

pub fn exit_codes_json() -> String {
    let lines = EXIT_CODES.lines().filter_map(|line| {
        let (code, meaning) = line.trim().split_once("  ")?;
        Some(serde_json::json!({ "code": code.parse::<u8>().ok()?, "meaning": meaning }))
    });
    serde_json::Value::from_iter(lines).to_string()
}

#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    /// An error of a library with all its causes.
    pub fn because(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self::new(exit, format!("{:#}", error.into()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// `println!` panics when the reader of a pipe has left, as `| head` does.
pub fn print(text: &str) -> ExitCode {
    if text.is_empty() {
        return ExitCode::SUCCESS;
    }
    match writeln!(std::io::stdout(), "{}", crate::human::plain(text.trim_end())) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("bridgectl: cannot write the answer: {error}");
            Exit::Failed.into()
        }
        _ => ExitCode::SUCCESS,
    }
}
