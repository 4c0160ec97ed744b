//! Writes the shipped reference rows anew from what was published.

use std::{error::Error, fs, path::Path};

use dunlin_tables::{FILES, document, make};

fn main() -> Result<(), Box<dyn Error>> {
    let table = make()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("reference");
    for (class, _) in FILES {
        let path = folder.join(format!("{class}.toml"));
        fs::write(&path, document(&table, class)?)?;
        println!("{}", path.display());
    }
    Ok(())
}
