//! `dunlin pipelines`.

use clap_complete::engine::ArgValueCandidates;
use dunlin_plugins::{Fallback, Parameter, Plugin};
use serde_json::{Value, json};

use crate::{
    completion, pipelines,
    terminal::{
        self, style,
        table::{Align, Cell, Table},
    },
};

/// List the pipelines that are part of this command, and what they take
#[derive(Debug, clap::Args)]
pub(crate) struct Pipelines {
    /// Say what this one takes
    #[arg(add = ArgValueCandidates::new(completion::pipelines))]
    pipeline: Option<String>,
    /// A JSON list, with all parameters
    #[arg(long)]
    json: bool,
}

impl Pipelines {
    /// # Errors
    /// If there is no pipeline of that name.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let plugins: Vec<&Plugin> = match &self.pipeline {
            Some(name) => vec![dunlin_plugins::find(name).ok_or_else(|| pipelines::unknown(name))?],
            None => dunlin_plugins::all().iter().collect(),
        };
        if self.json {
            return terminal::print_json(&plugins.into_iter().map(described).collect::<Vec<_>>());
        }
        match plugins[..] {
            [plugin] if self.pipeline.is_some() => show(plugin),
            _ => list(&plugins),
        }
    }
}

fn list(plugins: &[&Plugin]) -> anyhow::Result<()> {
    let mut table = Table::new([("NAME", Align::Left), ("", Align::Left)]);
    for plugin in plugins {
        table.row([Cell::styled(plugin.name, style::NAME), plugin.summary.into()]);
    }
    terminal::print(table)?;
    terminal::tell("`dunlin pipelines NAME` says what one takes, `dunlin run NAME` runs it");
    Ok(())
}

fn show(plugin: &Plugin) -> anyhow::Result<()> {
    let name = style::NAME;
    terminal::print(format_args!("{name}{}{name:#}: {}\n", plugin.name, plugin.summary))?;
    let columns = [("PARAMETER", Align::Left), ("DEFAULT", Align::Left), ("", Align::Left)];
    let mut table = Table::new(columns);
    for Parameter { name, fallback, help } in plugin.parameters {
        let fallback = match fallback {
            Fallback::Required => Cell::styled("(required)", style::NOTE),
            Fallback::Nothing => "".into(),
            Fallback::Value(value) => Cell::from(*value),
        };
        table.row([Cell::styled(*name, style::NAME), fallback, Cell::from(*help)]);
    }
    terminal::print(table)?;
    terminal::tell(format_args!("\nas in: dunlin run {} --param NAME=VALUE ...", plugin.name));
    Ok(())
}

fn described(plugin: &Plugin) -> Value {
    let parameters: Vec<Value> = plugin.parameters.iter().map(parameter).collect();
    json!({ "name": plugin.name, "summary": plugin.summary, "parameters": parameters })
}

fn parameter(Parameter { name, fallback, help }: &Parameter) -> Value {
    let default = match fallback {
        Fallback::Value(value) => Some(value),
        Fallback::Required | Fallback::Nothing => None,
    };
    json!({ "name": name, "required": *fallback == Fallback::Required, "default": default, "help": help })
}
