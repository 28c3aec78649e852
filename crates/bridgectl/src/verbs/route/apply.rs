//! `bridgectl route apply`: the routes of a tenant from a file, in one step; as often as you like.

use std::path::PathBuf;

use super::difference::{self, Difference};
use super::{all, file};
use crate::answers::routes::Applied;
use crate::client::Client;
use crate::human::tenants::in_force;
use crate::verbs::of::Of;
use crate::{Exit, Failure};

#[derive(clap::Args)]
pub struct Args {
    /// The routes: `{tenant?, default?: ROUTE, types?: {TYPE: ROUTE}, workflows?: {ID: ROUTE}}`
    #[arg(short, long)]
    file: PathBuf,
    /// Only show what would be changed
    #[arg(long)]
    dry_run: bool,
    /// Delete the routes that are not in the file
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    of: Of,
}

pub async fn run(client: &Client, args: Args, json: bool) -> Result<String, Failure> {
    let usage = |what: String| Failure::new(Exit::Usage, what);
    let name = args.file.display();
    let text = std::fs::read_to_string(&args.file)
        .map_err(|error| usage(format!("{name} cannot be read: {error}")))?;
    let file = file::parse(&text).map_err(|faults| usage(format!("{name} is not usable:\n  {faults}")))?;
    let of = match (args.of.tenant, &file.tenant) {
        (Some(flag), Some(named)) if flag != *named => {
            return Err(usage(format!("{name} is for tenant {named}, not for {flag}; nothing was changed")));
        }
        (flag, named) => Of { tenant: flag.or_else(|| named.clone()) },
    };
    if file.routes.is_empty() && args.prune && !args.dry_run {
        let fix =
            "has no routes, and --prune would delete all; bridgectl route delete takes them away one by one";
        return Err(usage(format!("{name} {fix}")));
    }
    let (there, _) = all(client, &of).await?;
    let kept = there.len();
    let differences = difference::between(&there, &file.routes, args.prune);
    let body = file.body(args.prune, args.dry_run).to_string();
    let answer = client.put::<Applied>("/pulsar/workflows", &of.query(), body).await?;
    if json {
        let mut answer: serde_json::Value =
            serde_json::from_str(&answer.text).map_err(|error| Failure::because(Exit::Failed, error))?;
        answer["differences"] = serde_json::json!(differences);
        return Ok(answer.to_string());
    }
    let only_there = kept.saturating_sub(answer.read.changed.len() + answer.read.unchanged.len());
    Ok(told(&differences, &answer.read, only_there, args.prune, args.dry_run))
}

fn told(
    differences: &[Difference],
    applied: &Applied,
    only_there: usize,
    prune: bool,
    dry_run: bool,
) -> String {
    let mut lines = difference::text(differences);
    let Applied { created, changed, deleted, unchanged, in_effect } = applied;
    if only_there > 0 && !prune {
        lines.push(format!("{only_there} more are not in the file and stay (--prune deletes them)"));
    }
    let unchanged = unchanged.len();
    lines.push(match (created.len(), changed.len(), deleted.len()) {
        (0, 0, 0) => format!("nothing to change, {unchanged} are as in the file"),
        (new, other, gone) => {
            let counts = format!("{new} created, {other} changed, {gone} deleted, {unchanged} unchanged");
            match dry_run {
                true => format!("would be: {counts}; nothing was changed"),
                false => format!("{counts}; {}", in_force(*in_effect)),
            }
        }
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let names = |count: usize| vec!["workflows.w".to_owned(); count];
        let applied = Applied {
            created: names(1),
            changed: names(2),
            unchanged: names(3),
            in_effect: true,
            ..Applied::default()
        };
        insta::assert_snapshot!(told(&[], &applied, 4, false, false), @"
        4 more are not in the file and stay (--prune deletes them)
        1 created, 2 changed, 0 deleted, 3 unchanged; in force on every daemon
        ");
        insta::assert_snapshot!(told(&[], &applied, 4, true, true), @"would be: 1 created, 2 changed, 0 deleted, 3 unchanged; nothing was changed");
        let same = Applied { unchanged: names(3), ..Applied::default() };
        assert_eq!(told(&[], &same, 0, false, false), "nothing to change, 3 are as in the file");
    }
}
