//! Tables for other programs, and for pages.

use dunlin_costs::{Row, Table, Work};
use serde::Serialize;

use crate::{Economy, Sheet};

/// The form of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Json,
    Csv,
    Markdown,
    Toml,
}

#[derive(Serialize)]
struct TableFile<'a> {
    row: Vec<&'a Row>,
}

/// All of a table; Markdown shows what `work` comes to.
///
/// # Errors
/// Never for rows that were checked.
pub fn export(table: &Table, form: Form, work: Work) -> Result<String, String> {
    match form {
        Form::Json => {
            let file = TableFile { row: table.rows().collect() };
            serde_json::to_string_pretty(&file).map(|text| text + "\n").map_err(|error| error.to_string())
        }
        Form::Csv => Ok(Sheet::write(table)),
        Form::Toml => table.to_toml().map_err(|error| error.to_string()),
        Form::Markdown => Ok(markdown(table, work)),
    }
}

fn markdown(table: &Table, work: Work) -> String {
    let mut text = format!(
        "Prompts of {} tokens, answers of {}. Joules at the board's input, idle draw included; `~` where they, or the times, \
         rest on what is assumed.\n\n\
         | model | class | mode | threads | TTFT ms | TPOT ms | J/token in | J/token out | row | source |\n\
         |---|---|---|---|---:|---:|---:|---:|---|---|\n",
        work.prompt_tokens, work.output_tokens
    );
    for row in table.rows() {
        text += &line(row, work);
    }
    text
}

fn line(row: &Row, work: Work) -> String {
    let (key, economy) = (&row.key, Economy::of(row, work));
    let shown = |range: crate::Range, places: usize| {
        let about = if range.is_wide() { "~" } else { "" };
        format!("{about}{:.places$}", range.nominal)
    };
    let ms = |range: crate::Range| shown(range.map(|seconds| seconds * 1e3), 1);
    let joules = economy.joules.map_or(("-".to_owned(), "-".to_owned()), |of| {
        (shown(of.per_input_token, 3), shown(of.per_output_token, 3))
    });
    let clean = |text: &str| text.replace('|', "\\|").replace('\n', " ");
    format!(
        "| {} {} | {} | {} | {}/{} | {} | {} | {} | {} | {} | {} |\n",
        clean(&row.name),
        clean(key.quantisation.as_str()),
        key.class,
        clean(key.mode.as_str()),
        key.prefill_threads,
        key.decode_threads,
        ms(economy.ttft),
        ms(economy.tpot),
        joules.0,
        joules.1,
        row.provenance.origin,
        clean(&row.provenance.source),
    )
}
