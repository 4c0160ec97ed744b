//! How much of everything a client may ask for. All of it is bounded before any work is done.

use std::time::Duration;

/// Bytes of a request's body: what an invocation can carry, and the JSON around it.
pub const MAX_BODY: usize = 1 << 20;

/// How long a body may take at least, and how many bytes more it has to bring for each second more.
pub const BODY_GRACE: Duration = Duration::from_secs(5);
pub const BODY_RATE: f64 = 32e3;

/// Bodies that are on their way at once, and their bytes all together: the oldest of them makes way.
pub const MAX_BODIES: usize = 4096;
pub const MAX_BODIES_BYTES: usize = 256 << 20;

/// How long a connection may say nothing at first, and how long the head of a request may take.
pub const FIRST_BYTE_TIME: Duration = Duration::from_secs(5);
pub const HEAD_TIME: Duration = Duration::from_secs(10);

/// Bytes of the head of a request.
pub const MAX_HEAD: usize = 32 << 10;

/// Connections at once; and of those, connections that have not sent a whole head yet: the oldest of them makes way.
pub const MAX_CONNECTIONS: usize = 8192;
pub const MAX_UNPROVEN: usize = 4096;

/// Connections that wait to be taken. Beyond it, the kernel lets a client try again only after a second.
pub const MAX_KNOCKING: u32 = 4096;

/// Requests at once on one connection of HTTP/2.
pub const MAX_STREAMS: u32 = 256;

/// Requests at once: whose bodies are on their way, and as many that are being answered.
pub const MAX_REQUESTS: usize = 2 * MAX_BODIES;

/// A client that takes nothing of its answer for so long is gone.
pub const STALLED: Duration = Duration::from_secs(30);

/// Pieces of an answer that wait for a slow reader.
pub const MAX_PIECES: usize = 16;

/// A stream that has nothing to say says so this often.
pub const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long the head of a streamed answer is held back, so that what fails at once fails by its status.
pub const HEAD_HELD: Duration = Duration::from_secs(2);

/// Between two messages to one page.
pub const EVENT_INTERVAL: Duration = Duration::from_millis(100);

/// Pages that are open at once, and messages that wait for one of them.
pub const MAX_PAGES: usize = 64;
pub const MAX_EVENTS: usize = 32;

/// Invocations that a page sees.
pub const SHOWN_INVOCATIONS: usize = 200;

/// Answers to one request.
pub const MAX_CHOICES: usize = 16;

/// Tokens of an answer where the client does not say.
pub const DEFAULT_MAX_TOKENS: i64 = 4096;
pub const MAX_TOKENS: i64 = 1_000_000;

/// Messages, tools, texts that end an answer and bytes of one, texts to embed.
pub const MAX_MESSAGES: usize = 2048;
pub const MAX_TOOLS: usize = 128;
pub const MAX_STOPS: usize = 16;
pub const MAX_STOP: usize = 256;
pub const MAX_TEXTS: usize = 512;

/// A JSON schema: bytes, nesting, and characters of all its patterns.
pub const MAX_SCHEMA: usize = 60 << 10;
pub const MAX_SCHEMA_DEPTH: usize = 24;
pub const MAX_PATTERN: usize = 512;
pub const MAX_PATTERNS: usize = 4096;
