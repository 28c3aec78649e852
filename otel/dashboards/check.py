#!/usr/bin/env python3
"""Do the dashboards and rules ask for what is there?

  check.py --lint            the generated files are those that generate.py makes; every name, label and label value stands in
                             the bridge's catalogue or below; every alert has its page and its two tests
  check.py PROMETHEUS_URL    each question is put to that Prometheus: none may fail, and none may be answered with nothing

The second is for a stack that has seen traffic on every lane, a retry and a dead letter. What may be empty nevertheless is
named in MAY_BE_EMPTY with its reason, which does not hold where --with names the part: canary, collector, n8n.
"""
import json
import math
import pathlib
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

# These files are read by git and by Grafana too: no compiled ones beside them.
sys.dont_write_bytecode = True

import generate  # noqa: E402
from questions import Question, dashboards, labels_of, names_in, rules, selectors_in  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
CATALOGUE = REPO / "crates/service/src/catalogue/table.rs"

# What others export, as their /metrics had it when this was written.
FOREIGN = {
    "Prometheus": {"up", "ALERTS"},
    "Pulsar 4.0.8": {
        "jvm_memory_bytes_used", "jvm_memory_direct_bytes_used",
        "pulsar_broker_consumers_count", "pulsar_broker_producers_count", "pulsar_broker_topics_count",
        "pulsar_in_messages_total", "pulsar_rate_in", "pulsar_storage_backlog_age_seconds",
        "pulsar_subscription_back_log", "pulsar_subscription_consumers_count", "pulsar_subscription_msg_rate_out",
        "pulsar_subscription_msg_rate_redeliver", "pulsar_subscription_unacked_messages", "pulsar_topics_count",
    },
    "n8n 2.41.1, N8N_METRICS=true": {
        "n8n_nodejs_eventloop_lag_p50_seconds", "n8n_nodejs_eventloop_lag_p99_seconds", "n8n_nodejs_heap_size_used_bytes",
        "n8n_process_cpu_seconds_total", "n8n_process_resident_memory_bytes",
    },
    "collector, otel/collector.yaml": {"traces_span_metrics_calls_total"},
}
# Labels that Prometheus and the collector add.
ANYWHERE = {"job", "instance", "le", "service_name"}

# A part of a question -> why it may have no answer, and the part of the stack with which it has one.
MAY_BE_EMPTY = {
    "ALERTS{": ("nothing fires", None),
    "bridge_credential_expires_seconds": ("tokens and certificates of a private stack do not expire, or not within sight", None),
    "bridge_canary_last_success_seconds": ("the canary is off unless canary.enabled", "canary"),
    "bridge_canary_seconds": ("the canary is off unless canary.enabled", "canary"),
    'up{job="n8n"}': ("a stack may be without n8n", "n8n"),
    "n8n_nodejs_": ("a stack may be without n8n", "n8n"),
    "n8n_process_": ("a stack may be without n8n", "n8n"),
    'up{job="otel-collector"}': ("a stack may be without the collector", "collector"),
    "traces_span_metrics_": ("a stack may be without the collector", "collector"),
}
PARTS = {part for _, part in MAY_BE_EMPTY.values() if part}


def lint():
    faults = []
    for name, text in generate.files().items():
        path = HERE / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            faults.append(f"{path.name} is not what generate.py makes; run otel/dashboards/generate.py")
    for path in HERE.glob("*.json"):
        if path.name not in generate.files():
            faults.append(f"{path.name} is made by nothing; add it to generate.py or delete it")

    asked = dashboards(HERE) + rules(REPO)
    known = catalogue()
    foreign = set().union(*FOREIGN.values())
    recorded = {question.record for question in asked if question.record}
    for question in asked:
        for name in sorted(names_in(question.expr)):
            if ":" in name:
                if name not in recorded:
                    faults.append(f"{question.place}: no rule records {name}")
            elif name not in foreign and base(name, known) is None:
                faults.append(f"{question.place}: {name} stands neither in {CATALOGUE.name} nor in FOREIGN of check.py")
        for name, matchers in selectors_in(question.expr):
            found = base(name, known)
            if found is not None:
                faults += [f"{question.place}: {fault}" for fault in wrong_labels(name, matchers, known[found])]
    used = set().union(*(names_in(question.expr) for question in asked))
    faults += [f"check.py: {name} of FOREIGN is asked for by nothing" for name in sorted(foreign - used)]
    return faults + runbooks(asked)


def catalogue():
    """Name -> (kind of metric, its labels -> their values; None where they are not a closed set)."""
    text = CATALOGUE.read_text(encoding="utf-8")
    shared = {name: labels_of(body) for name, body in re.findall(r"const (\w+): Label = (\(.*?\n?\)\)?);", text, re.S)}
    lists = dict(re.findall(r"const (\w+): &\[&str\] = &\[(.*?)\];", text, re.S))
    known = {}
    for kind, name, rest in re.findall(r'\b(counter|gauge|histogram)\(\w+, "(\w+)", (&\[.*)', text):
        for constant, body in lists.items():
            rest = rest.replace(f"Closed({constant})", f"Closed(&[{body}])")
        labels = labels_of(rest)
        for constant, theirs in shared.items():
            if re.search(rf"\b{constant}\b", rest):
                labels.update({} if f"{constant}.1" in rest else theirs)
        for label, constant in re.findall(r'\("(\w+)", (\w+)\.1\)', rest):
            labels[label] = next(iter(shared[constant].values()))
        known[name] = kind, labels
    return known


def base(name, known):
    """The catalogue's name of a series."""
    if name in known and known[name][0] != "histogram":
        return name
    stem = re.sub(r"_(bucket|sum|count)$", "", name)
    return stem if stem != name and known.get(stem, [""])[0] == "histogram" else None


def wrong_labels(name, matchers, metric):
    for label, operator, value in matchers:
        if label in ANYWHERE:
            continue
        if label not in metric[1]:
            yield f"{name} has no label {label}"
            continue
        values = metric[1][label]
        literal = operator in ("=", "!=") or re.fullmatch(r"[\w|]+", value)
        for one in value.split("|") if literal else []:
            if values is not None and one not in values:
                yield f"{name}: {label} is never {one!r}; it is one of {', '.join(sorted(values))}"


def runbooks(asked):
    faults = []
    alerts = {question.alert: question.runbook for question in asked if question.alert}
    pages = REPO / "docs/runbooks"
    index = (pages / "README.md").read_text(encoding="utf-8") if (pages / "README.md").exists() else ""
    tests = "".join(path.read_text(encoding="utf-8") for path in sorted((REPO / "otel/tests").glob("*.yml")))
    for alert, runbook in alerts.items():
        path = REPO / runbook
        if not path.is_file():
            faults.append(f"{alert}: its runbook {runbook!r} is not there")
        elif alert not in path.read_text(encoding="utf-8").splitlines()[0]:
            faults.append(f"{runbook}: the first line does not name {alert}")
        if f"({path.name})" not in index:
            faults.append(f"docs/runbooks/README.md does not link {path.name}")
        if not re.search(rf"alertname: {alert}\n\s+exp_alerts:\n", tests):
            faults.append(f"{alert}: no test in otel/tests in which it fires")
        if not re.search(rf"alertname: {alert}, exp_alerts: \[\]", tests):
            faults.append(f"{alert}: no test in otel/tests in which it is silent")
    linked = {REPO / runbook for runbook in alerts.values()}
    for page in pages.glob("*.md"):
        if page.name != "README.md" and page not in linked:
            faults.append(f"docs/runbooks/{page.name}: no alert leads there")
    return faults


def ask(prometheus, expr):
    """The values, or why there are none."""
    data = urllib.parse.urlencode({"query": expr}).encode()
    try:
        try:
            with urllib.request.urlopen(f"{prometheus}/api/v1/query", data, timeout=30) as answer:
                result = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            return None, json.load(error)["error"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        sys.exit(f"{prometheus} does not answer as a Prometheus does: {error}")
    return [float(sample["value"][1]) for sample in result["result"]], None


def live(prometheus, window, there):
    excuses = {what: why for what, (why, part) in MAY_BE_EMPTY.items() if part not in there}
    faults, excused, asked = [], {}, 0
    for question in dashboards(HERE) + rules(REPO):
        expr = question.filled(window)
        # An alert is meant to be empty: what it looks at is not.
        parts = [f"count({part})" for part in question.parts(window)] if question.alert else [expr]
        if question.alert:
            _, error = ask(prometheus, expr)
            if error:
                faults.append(f"{question.place}: {error}\n    {expr}")
        for part in parts:
            asked += 1
            values, error = ask(prometheus, part)
            if error:
                faults.append(f"{question.place}: {error}\n    {part}")
                continue
            if values and not all(math.isnan(value) for value in values):
                continue
            reason = next((why for what, why in excuses.items() if what in part), None)
            if reason:
                excused[part] = reason
            else:
                faults.append(f"{question.place}: {'only NaN' if values else 'no data'}\n    {part}")
    print(f"{asked} questions; {len(excused)} empty with a reason")
    for part, reason in sorted(excused.items()):
        print(f"  {reason}: {part}")
    return faults


def main(arguments):
    options = {"--range": "5m", "--with": ""}
    for option in options:
        if option in arguments[:-1]:
            at = arguments.index(option)
            options[option] = arguments[at + 1]
            del arguments[at : at + 2]
    there = set(filter(None, options["--with"].split(",")))
    if len(arguments) != 1 or arguments[0] in ("-h", "--help") or not there <= PARTS:
        print(f"{__doc__}\n  --range 5m    instead of Grafana's $__rate_interval", file=sys.stderr)
        return 64
    faults = lint() if arguments == ["--lint"] else live(arguments[0].rstrip("/"), options["--range"], there)
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    print("no fault" if not faults else f"{len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
