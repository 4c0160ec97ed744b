//! `dunlin model ls`.

use std::{collections::BTreeSet, path::PathBuf};

use dunlin_gguf::{Bytes, Gguf, Grouped};
use serde::Serialize;

use crate::{
    folders::Folders,
    store::{
        Catalog, Entry, Owner,
        alias::{Name, Variant},
    },
    terminal::{
        self, style,
        table::{Align, Cell, Table},
    },
};

/// List the models that have a name
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// A JSON list
    #[arg(long)]
    json: bool,
}

/// One variant, as far as its file says.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// Its alias alone means this one.
    default: bool,
    owner: &'static str,
    file: PathBuf,
    sha256: Option<String>,
    bytes: Option<u64>,
    parameters: Option<u64>,
    quantization: Option<String>,
    context_length: Option<u32>,
    /// Why it cannot be used.
    problem: Option<String>,
}

impl List {
    /// # Errors
    /// If the reader of the output went away.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let catalog = Catalog::open(&Folders::find()?);
        let rows = rows(catalog.entries());
        if self.json {
            return terminal::print_json(&rows);
        }
        if rows.is_empty() {
            terminal::tell("there are no models yet; `dunlin model add FILE|URL` adds one");
            return Ok(());
        }
        let columns = [
            ("NAME", Align::Left),
            ("SIZE", Align::Right),
            ("PARAMETERS", Align::Right),
            ("TYPE", Align::Left),
            ("CONTEXT", Align::Right),
            ("", Align::Left),
        ];
        let mut table = Table::new(columns);
        for row in &rows {
            table.row(row.cells());
        }
        terminal::print(table)?;
        Ok(())
    }
}

fn rows(entries: Vec<Entry>) -> Vec<Row> {
    let mut aliases = BTreeSet::new();
    let mut rows = Vec::new();
    for Entry { owner, folder, alias } in entries {
        let first_of_its_name = aliases.insert(alias.alias.clone());
        for (index, variant) in alias.variants.iter().enumerate() {
            let file = folder.join(&variant.file);
            rows.push(Row::new(owner, &alias.alias, variant, file, first_of_its_name && index == 0));
        }
    }
    rows.sort_by(|a, b| a.name.split(':').next().cmp(&b.name.split(':').next()));
    rows
}

impl Row {
    fn new(owner: Owner, alias: &Name, variant: &Variant, file: PathBuf, default: bool) -> Self {
        let opened = Gguf::open(&file);
        let (gguf, problem) = match &opened {
            Ok(gguf) => (Some(gguf), None),
            Err(error) => (None, Some(error.refusal.to_string())),
        };
        let model = gguf.map(Gguf::model);
        Self {
            name: format!("{alias}:{}", variant.name),
            default,
            owner: match owner {
                Owner::You => "you",
                Owner::Dunlin => "dunlin",
            },
            file,
            sha256: variant.sha256.clone(),
            bytes: gguf.map(|gguf| gguf.parts().iter().map(|part| part.length).sum()),
            parameters: model.map(|model| model.parameters),
            quantization: model.map(|model| model.quantization.to_string()),
            context_length: model.map(|model| model.context_length),
            problem,
        }
    }

    fn cells(&self) -> [Cell; 6] {
        let note = match (&self.problem, self.default, self.owner) {
            (Some(problem), ..) => Cell::styled(problem.clone(), style::BAD),
            (None, true, "dunlin") => "default; came with Dunlin".into(),
            (None, false, "dunlin") => "came with Dunlin".into(),
            (None, true, _) => "default".into(),
            (None, false, _) => "".into(),
        };
        let count = |number: Option<u64>| number.map_or(String::new(), |number| Grouped(number).to_string());
        [
            Cell::styled(self.name.clone(), style::NAME),
            self.bytes.map_or(String::new(), |bytes| Bytes(bytes).to_string()).into(),
            count(self.parameters).into(),
            self.quantization.clone().unwrap_or_default().into(),
            count(self.context_length.map(u64::from)).into(),
            note,
        ]
    }
}
