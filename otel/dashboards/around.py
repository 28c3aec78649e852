"""The dashboards that look beyond the bridge: a tenant at the broker, and the bridge, Pulsar and n8n on one page."""
from grafana import RATE, dashboard, light, panel, quantiles, stat, target, variable

# Partitions are one queue to a reader.
QUEUE = (
    'label_replace({0}, "queue", "$1", "topic", "persistent://[^/]+/[^/]+/(.*?)(?:-partition-[0-9]+)?")'
)
PULSAR = 'subscription="bridge-consumer",namespace=~"$tenant/.*"'
TENANTS = variable("tenant", "tenant", "pulsar_topics_count", "namespace", "/^(?!pulsar\\/|public\\/)([^\\/]+)\\//")


def tenant():
    def by_queue(expr):
        return "sum by (namespace, queue) (" + QUEUE.format(expr) + ")"

    return dashboard(
        "bridge-tenant",
        "Bridge: tenant",
        "What one tenant publishes, and what waits for it at the broker. Only the busiest tenants have a figure of their "
        "own in the bridge (telemetry.tenants_named); the broker has one for each.",
        [TENANTS],
        [
            (
                "In the bridge",
                [
                    panel(
                        "accepted, the busiest tenants and the rest",
                        target(f'sum by (tenant) (rate(bridge_tenant_executions_total{{tenant=~"$tenant|other"}}{RATE}))', "{{tenant}}"),
                        unit="ops",
                        stack=True,
                        width=12,
                    ),
                    panel(
                        "accepted within a day",
                        target('sort_desc(sum by (tenant) (increase(bridge_tenant_executions_total{tenant=~"$tenant|other"}[1d])))'),
                        kind="table",
                        width=12,
                    ),
                ],
            ),
            (
                "At the broker",
                [
                    panel(
                        "messages that wait",
                        target(by_queue(f"pulsar_subscription_back_log{{{PULSAR}}}"), "{{namespace}} {{queue}}"),
                        width=12,
                    ),
                    panel(
                        "messages in hand",
                        target(by_queue(f"pulsar_subscription_unacked_messages{{{PULSAR}}}"), "{{namespace}} {{queue}}"),
                        width=12,
                        about="Given to a consumer, not acknowledged yet: waiting for a slot, or being fired.",
                    ),
                    panel(
                        "published",
                        target(by_queue('pulsar_rate_in{namespace=~"$tenant/.*",topic!~".*/__.*"}'), "{{namespace}} {{queue}}"),
                        unit="ops",
                    ),
                    panel(
                        "delivered",
                        target(by_queue(f"pulsar_subscription_msg_rate_out{{{PULSAR}}}"), "{{namespace}} {{queue}}"),
                        unit="ops",
                    ),
                    panel(
                        "redelivered",
                        target(by_queue(f"pulsar_subscription_msg_rate_redeliver{{{PULSAR}}}"), "{{namespace}} {{queue}}"),
                        unit="ops",
                    ),
                    panel(
                        "consumers of the subscription",
                        target(by_queue(f"pulsar_subscription_consumers_count{{{PULSAR}}}"), "{{namespace}} {{queue}}"),
                        about="0: nobody receives from this topic.",
                    ),
                    panel(
                        "age of the oldest message that waits",
                        target(
                            'max by (namespace) (pulsar_storage_backlog_age_seconds{namespace=~"$tenant/.*",topic!~".*/__.*"})',
                            "{{namespace}}",
                        ),
                        unit="s",
                        minimum=None,
                        about="-1: none waits, or the broker has not looked yet.",
                    ),
                    panel(
                        "dead-letter topics",
                        target(
                            by_queue('pulsar_in_messages_total{namespace=~"$tenant/.*",topic=~".*deadletter.*"}'),
                            "{{namespace}} {{queue}}",
                        ),
                        about="Notices ever published, since the broker's start.",
                    ),
                ],
            ),
        ],
    )


def sre():
    watched = {
        "publishers": "bridge-publisher",
        "consumers": "bridge-consumer",
        "Pulsar": "pulsar",
        "n8n": "n8n",
        "collector": "otel-collector",
    }
    lights = [light(name, f'min(up{{job="{job}"}})') for name, job in watched.items()]
    return dashboard(
        "bridge-sre",
        "Bridge: SRE (bridge, Pulsar, n8n)",
        "All three on one page, in the order of the way: callers, publishers, Postgres, Pulsar, consumers, n8n.",
        [TENANTS],
        [
            ("Who is there", [*lights, stat("alerts firing", 'count(ALERTS{alertstate="firing"}) or vector(0)', steps=[(1, "red")])]),
            (
                "Callers and publishers",
                [
                    panel(
                        "requests, by status",
                        target(f'sum by (status) (rate(bridge_http_requests_total{{route!~"/metrics|/health/.*"}}{RATE}))', "{{status}}"),
                        unit="reqps",
                        stack=True,
                    ),
                    panel(
                        "POST /pulsar/publish",
                        *quantiles("bridge_http_request_seconds", "", 'route="/pulsar/publish"'),
                        unit="s",
                    ),
                    panel(
                        "refused, by reason",
                        target(f"sum by (reason) (rate(bridge_publish_refused_total{RATE}))", "{{reason}}"),
                        unit="ops",
                        stack=True,
                    ),
                    panel(
                        "at work, of what may be",
                        target("max by (instance) (bridge_inflight_requests / bridge_inflight_requests_max)", "{{instance}} requests"),
                        target("max by (instance) (bridge_inflight_bytes / bridge_inflight_bytes_max)", "{{instance}} bytes"),
                        unit="percentunit",
                        about="Beyond 100 % requests are answered 503.",
                    ),
                    panel(
                        "timers rung, by decision",
                        target(f"sum by (decision) (rate(bridge_relay_timers_total{RATE}))", "{{decision}}"),
                        unit="ops",
                        stack=True,
                    ),
                    panel("oldest due timer", target("max by (job) (bridge_oldest_due_timer_seconds)", "{{job}}"), unit="s", steps=[(120, "red")]),
                    panel(
                        "daemons with a fresh heartbeat",
                        target("max by (daemon) (bridge_members)", "{{daemon}}"),
                        target('count by (job) (up{job=~"bridge-.*"})', "expected {{job}}"),
                    ),
                ],
            ),
            (
                "Postgres, as the bridge feels it",
                [
                    panel("a batch and its commit", *quantiles("bridge_store_batch_seconds", "statement", "", (0.95,)), unit="s"),
                    panel("rows in a batch", *quantiles("bridge_store_batch_rows", "statement", "", (0.5,))),
                    panel(
                        "connections",
                        target("sum by (job, pool, state) (bridge_store_pool_connections)", "{{job}} {{pool}} {{state}}"),
                    ),
                    panel(
                        "pools: used, of what they may have",
                        target(
                            'max by (job, pool) (bridge_store_pool_connections{state="used"}'
                            " / on (job, instance, pool) bridge_store_pool_connections_max)",
                            "{{job}} {{pool}}",
                        ),
                        unit="percentunit",
                    ),
                    panel("waiting for a connection", *quantiles("bridge_store_pool_wait_seconds", "pool", "", (0.95,)), unit="s"),
                ],
            ),
            (
                "Pulsar",
                [
                    panel(
                        "messages that wait for the bridge",
                        target(f"sum by (namespace) (pulsar_subscription_back_log{{{PULSAR}}})", "{{namespace}}"),
                    ),
                    panel(
                        "in, and out to the bridge",
                        target('sum(pulsar_rate_in{namespace=~"$tenant/.*"})', "in"),
                        target(f"sum(pulsar_subscription_msg_rate_out{{{PULSAR}}})", "out"),
                        target(f"sum(pulsar_subscription_msg_rate_redeliver{{{PULSAR}}})", "again"),
                        unit="ops",
                    ),
                    panel("published until receipted", *quantiles("bridge_bus_publish_seconds", "", ""), unit="s"),
                    panel(
                        "memory of the broker",
                        target('sum(jvm_memory_bytes_used{job="pulsar"})', "heap and not heap"),
                        target('sum(jvm_memory_direct_bytes_used{job="pulsar"})', "direct"),
                        unit="bytes",
                    ),
                    panel(
                        "topics, producers, consumers",
                        target("sum(pulsar_broker_topics_count)", "topics"),
                        target("sum(pulsar_broker_producers_count)", "producers"),
                        target("sum(pulsar_broker_consumers_count)", "consumers"),
                    ),
                    panel(
                        "connections lost and refused, 15 min",
                        target("sum(increase(bridge_bus_client_rebuilds_total[15m]))", "built anew"),
                        target("sum(increase(bridge_bus_connect_failures_total[15m]))", "failed"),
                        target("sum(increase(bridge_bus_consumers_lost_total[15m]))", "subscriptions lost"),
                        target("sum(increase(bridge_consumer_heals_total[15m]))", "subscriptions healed"),
                    ),
                ],
            ),
            (
                "Consumers",
                [
                    panel(
                        "slots for webhooks",
                        target("sum by (job) (bridge_global_slots)", "{{job}} limit"),
                        target("sum by (job) (bridge_global_slots_free)", "{{job}} free"),
                        target("sum by (job) (bridge_webhooks_in_flight)", "{{job}} in flight"),
                    ),
                    panel(
                        "from receipt to acknowledgement",
                        *quantiles("bridge_process_seconds", "lane", "", (0.5, 0.95)),
                        unit="s",
                        about="With the wait for a slot and the webhook's answer.",
                    ),
                    panel(
                        "parked, by what they waited for",
                        target(f"sum by (reason) (rate(bridge_parks_total{RATE}))", "{{reason}}"),
                        unit="ops",
                        stack=True,
                    ),
                    panel(
                        "open breakers",
                        target("sum by (job) (bridge_breakers_open)", "{{job}}"),
                        steps=[(1, "red")],
                    ),
                    panel(
                        "forged and stale messages, 15 min",
                        target("sum by (reason) (increase(bridge_messages_forged_total[15m]))", "forged: {{reason}}"),
                        target("sum by (reason) (increase(bridge_messages_stale_total[15m]))", "stale: {{reason}}"),
                    ),
                    panel(
                        "claims that were refused",
                        target(f'sum by (answer) (rate(bridge_claims_total{{answer!="claimed"}}{RATE}))', "{{answer}}"),
                        unit="ops",
                    ),
                    panel(
                        "credentials: time left, and age of the signing key",
                        target("min by (job, kind) (bridge_credential_expires_seconds)", "{{job}} {{kind}} left"),
                        target("max(bridge_signing_key_age_seconds)", "signing key's age"),
                        unit="s",
                    ),
                ],
            ),
            (
                "n8n",
                [
                    panel(
                        "requests to it, by answer",
                        target(f"sum by (status) (rate(n8n_requests_total{RATE}))", "{{status}}"),
                        unit="reqps",
                        stack=True,
                    ),
                    panel("its answers", *quantiles("n8n_request_duration_seconds", "", ""), unit="s"),
                    panel(
                        "waiting for it, and with it",
                        target("sum by (lane) (max by (lane) (n8n_queue_size))", "waiting: {{lane}}"),
                        target("sum by (lane) (max by (lane) (workflow_active))", "with n8n: {{lane}}"),
                    ),
                    panel(
                        "event loop",
                        target('max by (instance) (n8n_nodejs_eventloop_lag_p99_seconds{job="n8n"})', "{{instance}} p99"),
                        target('max by (instance) (n8n_nodejs_eventloop_lag_p50_seconds{job="n8n"})', "{{instance}} p50"),
                        unit="s",
                        about="n8n answers nothing while its event loop is busy.",
                    ),
                    panel(
                        "memory",
                        target('max by (instance) (n8n_process_resident_memory_bytes{job="n8n"})', "{{instance}}"),
                        target('max by (instance) (n8n_nodejs_heap_size_used_bytes{job="n8n"})', "{{instance}} heap"),
                        unit="bytes",
                    ),
                    panel(
                        "processor",
                        target(f'max by (instance) (rate(n8n_process_cpu_seconds_total{{job="n8n"}}{RATE}))', "{{instance}}"),
                        unit="percentunit",
                    ),
                ],
            ),
            (
                "Traces",
                [
                    panel(
                        "spans, by service",
                        target(f"sum by (service_name) (rate(traces_span_metrics_calls_total{RATE}))", "{{service_name}}"),
                        unit="ops",
                        stack=True,
                        width=12,
                    ),
                    panel(
                        "spans handed over and lost",
                        target(f"sum by (job, outcome) (rate(bridge_spans_total{RATE}))", "{{job}} {{outcome}}"),
                        unit="ops",
                        width=12,
                    ),
                ],
            ),
        ],
    )
