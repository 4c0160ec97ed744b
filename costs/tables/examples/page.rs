//! Writes the page of the shipped rows to standard output.

use dunlin_costs::Work;
use dunlin_tables::{page, reference};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let work = Work { prompt_tokens: 512, cached_tokens: 0, output_tokens: 128 };
    print!("{}", page("Reference rows", reference()?.rows(), work));
    Ok(())
}
