//! Plain SQL through psql, for what a test must see and no crate shows: only `store` speaks to Postgres itself.

use anyhow::{Context, bail};
use std::process::Command;

use crate::parts::output;

#[derive(Clone)]
pub struct Sql {
    url: String,
}

impl Sql {
    pub fn new(url: impl Into<String>) -> Self {
        Self { url: url.into() }
    }

    /// The rows, columns separated by `|`.
    pub async fn rows(&self, statement: &str) -> anyhow::Result<Vec<String>> {
        let mut psql = Command::new("psql");
        psql.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-d", &self.url, "-c", statement]);
        psql.env("PGCONNECT_TIMEOUT", "5");
        let output = output(psql).await.context("psql cannot be run; install postgresql-client")?;
        if !output.status.success() {
            bail!("{statement}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }

    pub async fn one(&self, statement: &str) -> anyhow::Result<String> {
        self.rows(statement).await?.into_iter().next().with_context(|| format!("{statement}: no row"))
    }

    pub async fn count(&self, from_where: &str) -> anyhow::Result<u64> {
        Ok(self.one(&format!("SELECT count(*) FROM {from_where}")).await?.parse()?)
    }

    /// A new database on the same server; its URL.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<String> {
        self.rows(&format!("CREATE DATABASE \"{name}\"")).await?;
        let mut url = url::Url::parse(&self.url)?;
        url.set_path(name);
        Ok(url.into())
    }
}
