# The recipes; `just` lists them.

_list:
    @just --list --unsorted

# Set up and start everything on this machine; --n8n with an n8n
up *ARGS:
    ./scripts/up {{ ARGS }}

# Stop it; --purge removes its state
down *ARGS:
    ./scripts/down {{ ARGS }}

status:
    ./scripts/status

logs *ARGS:
    ./scripts/logs {{ ARGS }}

# Everything that has to pass: what CI runs (there with --n8n)
test *ARGS:
    ./scripts/test {{ ARGS }}

build:
    cargo build --release --locked

fmt:
    cargo fmt --all

lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --locked -- -D warnings
    if command -v cargo-deny >/dev/null; then cargo deny --all-features check bans licenses sources; fi

# Measure; prints one table
bench *ARGS:
    ./bench/run.sh {{ ARGS }}

# After a change of a query or a migration
sqlx-prepare *ARGS:
    ./scripts/sqlx-prepare {{ ARGS }}

# What tenants need at the broker; --tenant T also its record and its credential for n8n
topics *ARGS:
    ./scripts/setup-pulsar-topics.sh {{ ARGS }}

# Who may do what at the broker
roles *ARGS:
    ./scripts/setup-pulsar-auth.sh {{ ARGS }}
