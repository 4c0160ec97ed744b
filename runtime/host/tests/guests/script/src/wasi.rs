//! What a guest can find out by WASI.

use std::{
    collections::hash_map::RandomState,
    fmt::Display,
    fs,
    hash::{BuildHasher, Hasher},
    net::{TcpStream, UdpSocket},
    time::{Duration, Instant, SystemTime},
};

pub(crate) fn act(command: &str, rest: &str) -> Option<String> {
    Some(match command {
        "print" => {
            println!("{rest}");
            "ok".into()
        }
        "complain" => {
            eprintln!("{rest}");
            "ok".into()
        }
        "random" => RandomState::new().build_hasher().finish().to_string(),
        "stdin" => std::io::read_to_string(std::io::stdin()).map_or_else(error, |text| format!("{text:?}")),
        "env" => format!("{:?}", std::env::vars().collect::<Vec<_>>()),
        "args" => format!("{:?}", std::env::args().collect::<Vec<_>>()),
        "read" => fs::read_to_string(rest).unwrap_or_else(error),
        "list" => fs::read_dir(rest).map_or_else(error, |_| "a directory".into()),
        "connect" => TcpStream::connect(rest).map_or_else(error, |_| "connected".into()),
        "bind" => UdpSocket::bind(rest).map_or_else(error, |_| "bound".into()),
        "sleep" => {
            let asleep = Instant::now();
            std::thread::sleep(Duration::from_millis(rest.parse().expect("a number")));
            format!("{} ms", asleep.elapsed().as_millis())
        }
        "year" => {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
            (1970 + now.as_secs() / 31_556_952).to_string()
        }
        _ => return None,
    })
}

fn error(error: impl Display) -> String {
    format!("error: {error}")
}
