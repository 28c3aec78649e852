#!/usr/bin/env python3
"""Writes the Grafana dashboards beside this file: generate.py [DIRECTORY].

A dashboard is a list of rows, a row a list of panels; ids and places are counted out here, so that a panel moved or added
changes only its own lines. check.py compares the files with what this makes, and asks a Prometheus each question.
"""
import json
import pathlib
import sys

sys.dont_write_bytecode = True

from around import sre, tenant  # noqa: E402
from grafana import RATE, dashboard, panel, quantiles, stat, target, variable  # noqa: E402

# What every daemon tells of the whole bridge is taken once.
LIVE = 'max by (lane, state) (bridge_live_executions{lane=~"$lane"})'
LANE = 'lane=~"$lane"'
LANES = variable("lane", "lane", "bridge_publish_total", "lane")
FIRE = "bridge_accept_to_fire_seconds"


def overview():
    return dashboard(
        "bridge-overview",
        "Bridge: overview",
        "Is what was accepted fired, soon and well?",
        [LANES],
        [
            (
                "Now",
                [
                    stat("accepted", f"sum(rate(bridge_publish_total{{outcome=\"new\",{LANE}}}{RATE}))", unit="ops"),
                    stat("succeeded", f"sum(rate(bridge_evidence_total{{{LANE}}}{RATE}))", unit="ops"),
                    stat(
                        "dead letters, 1 h",
                        f"sum(increase(bridge_dead_letters_total{{{LANE}}}[1h]))",
                        steps=[(1, "orange"), (50, "red")],
                    ),
                    stat(
                        "accept to fire, p95",
                        f"histogram_quantile(0.95, sum by (le) (rate({FIRE}_bucket{{{LANE}}}{RATE})))",
                        unit="s",
                        steps=[(1, "orange"), (5, "red")],
                    ),
                    stat(
                        "oldest due timer",
                        "max(bridge_oldest_due_timer_seconds)",
                        unit="s",
                        steps=[(30, "orange"), (120, "red")],
                        about="Grows when no publisher rings the timers; the consumers tell it too.",
                    ),
                    stat(
                        "error budget spent, 3 d",
                        "bridge:error_ratio:rate3d / 0.0005",
                        unit="percentunit",
                        steps=[(0.5, "orange"), (1, "red")],
                        about="1 is what 99.95 % allows: at this rate a month's budget lasts a month.",
                    ),
                ],
            ),
            (
                "The way of an execution",
                [
                    panel(
                        "accepted",
                        target(f"sum by (lane) (rate(bridge_publish_total{{outcome=\"new\",{LANE}}}{RATE}))", "{{lane}}"),
                        unit="ops",
                        stack=True,
                    ),
                    panel(
                        "ends, by state",
                        target(f"sum by (state) (rate(bridge_execution_seconds_count{{{LANE}}}{RATE}))", "{{state}}"),
                        unit="ops",
                        stack=True,
                    ),
                    panel(
                        "successes, by what is known of them",
                        target(f"sum by (evidence) (rate(bridge_evidence_total{{{LANE}}}{RATE}))", "{{evidence}}"),
                        unit="ops",
                        stack=True,
                        about="started: n8n said that the workflow was started, and nothing more.",
                    ),
                    panel(
                        "from acceptance to the webhook",
                        *quantiles(FIRE, "", LANE),
                        unit="s",
                        steps=[(5, "red")],
                        about="First attempts; of delayed executions from the time asked for.",
                    ),
                    panel(
                        "from acceptance to the end",
                        *quantiles("bridge_execution_seconds", "", LANE),
                        unit="s",
                    ),
                    panel(
                        "dead letters, by reason",
                        target(f"sum by (reason) (increase(bridge_dead_letters_total{{{LANE}}}[15m]))", "{{reason}}"),
                        stack=True,
                        about="Within 15 minutes.",
                    ),
                ],
            ),
            (
                "What waits",
                [
                    panel("live executions, by state", target(f"sum by (state) ({LIVE})", "{{state}}"), stack=True),
                    panel(
                        "oldest that is due and not claimed",
                        target(f"max by (lane) (bridge_oldest_unclaimed_seconds{{{LANE}}})", "{{lane}}"),
                        unit="s",
                    ),
                    panel(
                        "oldest attempt at work",
                        target(f"max by (lane) (bridge_oldest_running_seconds{{{LANE}}})", "{{lane}}"),
                        unit="s",
                    ),
                ],
            ),
            (
                "The objective: 99.95 %",
                [
                    panel(
                        "burn of the error budget",
                        target("bridge:error_ratio:rate5m / 0.0005", "5 m"),
                        target("bridge:error_ratio:rate1h / 0.0005", "1 h"),
                        target("bridge:error_ratio:rate6h / 0.0005", "6 h"),
                        target("bridge:error_ratio:rate3d / 0.0005", "3 d"),
                        steps=[(6, "orange"), (14.4, "red")],
                        about="1 spends a month's budget in a month; 14.4 wakes somebody.",
                        width=12,
                    ),
                    panel(
                        "ends that count against it",
                        target(
                            f"sum by (reason) (increase(workflow_errors_total{{reason!=\"reported_failure\",{LANE}}}[1h]))",
                            "{{reason}}",
                        ),
                        stack=True,
                        width=12,
                        about="Within an hour.",
                    ),
                ],
            ),
        ],
    )


def lane():
    answers = f"sum by (answer) (rate(bridge_webhook_requests_total{{{LANE}}}{RATE}))"
    return dashboard(
        "bridge-lane",
        "Bridge: lane",
        "One lane, from acceptance to n8n's answer: which of its steps takes the time, and which loses.",
        [LANES],
        [
            (
                "Now",
                [
                    stat("live", f"sum({LIVE})"),
                    stat("accepted", f"sum(rate(bridge_publish_total{{outcome=\"new\",{LANE}}}{RATE}))", unit="ops"),
                    stat("fired", f"sum(rate(bridge_webhook_requests_total{{{LANE}}}{RATE}))", unit="ops"),
                    stat(
                        "webhook errors",
                        f"sum(rate(bridge_webhook_requests_total{{answer!=\"2xx\",{LANE}}}{RATE})) / sum(rate(bridge_webhook_requests_total{{{LANE}}}{RATE}))",
                        unit="percentunit",
                        steps=[(0.01, "orange"), (0.1, "red")],
                    ),
                    stat("oldest unclaimed", f"max(bridge_oldest_unclaimed_seconds{{{LANE}}})", unit="s", steps=[(10, "orange"), (60, "red")]),
                    stat("duplicates, 1 h", f"sum(increase(bridge_duplicate_deliveries_total{{{LANE}}}[1h]))"),
                ],
            ),
            (
                "Where the time goes",
                [
                    panel("signed and receipted by the broker", *quantiles("bridge_publish_seconds", "lane", LANE, (0.5, 0.95)), unit="s"),
                    panel("accepted until fired", *quantiles(FIRE, "lane", LANE, (0.5, 0.95)), unit="s", steps=[(5, "red")]),
                    panel("the webhook's answer", *quantiles("bridge_webhook_seconds", "lane", LANE, (0.5, 0.95)), unit="s"),
                    panel(
                        "accepted until fired, all of them",
                        target(f"sum by (le) (rate({FIRE}_bucket{{{LANE}}}{RATE}))", "{{le}}"),
                        kind="heatmap",
                        unit="s",
                        width=12,
                    ),
                    panel("accepted until ended", *quantiles("bridge_execution_seconds", "lane", LANE, (0.5, 0.95)), unit="s", width=12),
                ],
            ),
            (
                "What becomes of it",
                [
                    panel("answers of webhooks", target(answers, "{{answer}}"), unit="ops", stack=True),
                    panel(
                        "attempts, by what they made of the execution",
                        target(f"sum by (state) (rate(bridge_attempts_total{{{LANE}}}{RATE}))", "{{state}}"),
                        unit="ops",
                        stack=True,
                    ),
                    panel(
                        "ends",
                        target(f"sum by (lane, state) (rate(bridge_execution_seconds_count{{{LANE}}}{RATE}))", "{{lane}} {{state}}"),
                        unit="ops",
                        stack=True,
                    ),
                ],
            ),
            (
                "What waits, and what came in vain",
                [
                    panel("live executions", target(LIVE, "{{lane}} {{state}}"), stack=True),
                    panel(
                        "messages published",
                        target(f"sum by (outcome) (rate(bridge_messages_published_total{{{LANE}}}{RATE}))", "{{outcome}}"),
                        unit="ops",
                        stack=True,
                    ),
                    panel(
                        "messages received, and duplicates of them",
                        target(f"sum(rate(bridge_messages_received_total{{{LANE}}}{RATE}))", "received"),
                        target(f"sum(rate(bridge_duplicate_deliveries_total{{{LANE}}}{RATE}))", "duplicates"),
                        unit="ops",
                    ),
                    panel(
                        "canary, round trip",
                        *quantiles("bridge_canary_seconds", "lane", LANE, (0.5, 0.95)),
                        unit="s",
                        width=12,
                        about="Empty while canary.enabled is false.",
                    ),
                    panel(
                        "canary, ends",
                        target(f"sum by (lane, outcome) (increase(bridge_canary_total{{{LANE}}}[15m]))", "{{lane}} {{outcome}}"),
                        width=12,
                        about="Within 15 minutes.",
                    ),
                ],
            ),
        ],
    )


DASHBOARDS = {"overview": overview, "tenant": tenant, "lane": lane, "sre": sre}


def files():
    return {f"{name}.json": json.dumps(make(), indent=1, ensure_ascii=False) + "\n" for name, make in DASHBOARDS.items()}


if __name__ == "__main__":
    directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    directory = directory if directory.is_dir() else directory.parent
    for name, text in files().items():
        (directory / name).write_text(text, encoding="utf-8")
