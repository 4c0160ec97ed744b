//! `dunlin console`.

use std::{fs, time::Duration};

use dunlin_protocol::{Allowance, Answer, Ask, NewKey};
use serde_json::json;

use super::{http, key::UNENCRYPTED, with_client};
use crate::{
    failure::Failure,
    fleet::member::{Address, Member, PORT},
    folders::Folders,
    terminal,
};

/// The name of the key that links carry: each link takes the place of the one before.
const KEY: &str = "console";

/// How long a link is good for.
const VALID: Duration = Duration::from_hours(12);

const HELP: &str = "\
The page is part of the scheduler: `dunlin up --http` and `dunlin scheduler --http` serve it under /console/. The link logs in \
whoever opens it, for 12 hours: it may do what an operator's API key may do, so keep it to yourself. A new link ends the one before.";

/// Print a link that opens the fleet's page in a browser, logged in
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct Console {
    /// Where the scheduler speaks HTTP [default: as one on this machine wrote down, else port 4749 of the scheduler]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[arg(long)]
    json: bool,
}

impl Console {
    /// # Errors
    /// If whoever is logged in may not make keys, or the address is none.
    pub(crate) fn execute(&self) -> anyhow::Result<()> {
        let url = self.url()?;
        let key = NewKey {
            name: KEY.to_owned(),
            allowance: Allowance { sees_all: true, ..Allowance::default() },
            valid_for_s: Some(VALID.as_secs()),
        };
        let Answer::Key { text, unencrypted } =
            with_client(async |client| client.ask(Ask::NewKey(key)).await)?
        else {
            anyhow::bail!("the scheduler answered with something else")
        };
        if unencrypted && url.starts_with("http://") {
            terminal::tell(UNENCRYPTED);
        }
        // Behind the # it is sent to nobody, and stands in no log.
        let link = format!("{url}/console/#/enter/{text}");
        if self.json {
            return terminal::print_json(&json!({ "url": link, "valid_for_s": VALID.as_secs() }));
        }
        terminal::print(link)
    }

    fn url(&self) -> anyhow::Result<String> {
        if let Some(url) = &self.url {
            if url.starts_with("http://") || url.starts_with("https://") {
                return Ok(url.trim_end_matches('/').to_owned());
            }
            return Err(Failure::usage(format!("{url:?} is no address of HTTP"))
                .hint("write it as http://HOST:PORT or https://HOST:PORT")
                .into());
        }
        let folder = Member::login(&Folders::find()?);
        if let Ok(written) = fs::read_to_string(folder.join(http::WRITTEN)) {
            return Ok(written.trim().to_owned());
        }
        let scheduler = Member::open(&folder)?.scheduler().unwrap_or_else(|| Address::local(PORT));
        let mut address = scheduler.resolve()?;
        address.set_port(http::PORT);
        Ok(format!("http://{address}"))
    }
}
