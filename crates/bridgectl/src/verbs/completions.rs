//! `bridgectl completions`: what a shell needs to complete verbs and flags.

use clap_complete::Shell;
use serde_json::json;

use crate::{Exit, Failure};

#[derive(clap::Args)]
pub struct Args {
    /// E.g. bridgectl completions bash > /etc/bash_completion.d/bridgectl
    #[arg(value_enum)]
    shell: Kind,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    Bash,
    Zsh,
    Fish,
}

pub fn run(mut command: clap::Command, args: &Args, json: bool) -> Result<String, Failure> {
    let shell = match args.shell {
        Kind::Bash => Shell::Bash,
        Kind::Zsh => Shell::Zsh,
        Kind::Fish => Shell::Fish,
    };
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "bridgectl", &mut script);
    let script = String::from_utf8(script).map_err(|error| Failure::because(Exit::Failed, error))?;
    Ok(if json { json!({ "shell": shell.to_string(), "script": script }).to_string() } else { script })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn each_shell_completes_the_verbs() {
        for shell in [Kind::Bash, Kind::Zsh, Kind::Fish] {
            let script = run(crate::Cli::command(), &Args { shell }, false).unwrap();
            for verb in ["execution", "dlq", "doctor", "completions"] {
                assert!(script.contains(verb), "{verb} for {shell:?}");
            }
        }
    }
}
