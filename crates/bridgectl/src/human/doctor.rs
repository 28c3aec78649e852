//! What was looked at, and how to mend what was found.

use crate::verbs::doctor::{Grade, Report};

pub fn text(report: &Report) -> String {
    let mut lines = Vec::new();
    for check in &report.0 {
        let mark = match check.grade {
            Grade::Ok => "ok     ",
            Grade::Note => "note   ",
            Grade::Finding => "FINDING",
        };
        let mut what = check.what.lines();
        lines.push(format!("{mark}  {:13}{}", check.check, what.next().unwrap_or_default()));
        lines.extend(what.map(|line| format!("{:22}{line}", "")));
        lines.extend(check.mend.iter().map(|mend| format!("{:9}mend it:     {mend}", "")));
    }
    lines.push(match report.findings() {
        0 => "all is well".to_owned(),
        1 => "1 finding; how to mend it stands below it".to_owned(),
        count => format!("{count} findings; how to mend them stands below each"),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::doctor::Check;

    #[test]
    fn each_finding_says_how_to_mend_it() {
        let check = |check, grade, what: &str, mend: Option<&str>| Check {
            check,
            grade,
            what: what.to_owned(),
            mend: mend.map(str::to_owned),
        };
        let report = Report(vec![
            check("config", Grade::Ok, "usable, for the daemons too", None),
            check(
                "postgres",
                Grade::Note,
                "no synchronous standby:\na failover may lose the last commits",
                None,
            ),
            check(
                "clock",
                Grade::Finding,
                "9.2 s behind Postgres's",
                Some("run a time service (NTP) on both machines"),
            ),
        ]);
        insta::assert_snapshot!(text(&report), @"
        ok       config       usable, for the daemons too
        note     postgres     no synchronous standby:
                              a failover may lose the last commits
        FINDING  clock        9.2 s behind Postgres's
                 mend it:     run a time service (NTP) on both machines
        1 finding; how to mend it stands below it
        ");
        assert_eq!(text(&Report::default()), "all is well");
    }
}
