//! How much of everything fits into a message.

/// Characters of the name of a node, a fleet, an operator, a client.
pub const MAX_NODE_ID: usize = 63;

/// Features that a hello may name.
pub const MAX_FEATURES: usize = 64;

/// Bytes of a name: of a pipeline, an alias, a mode, a tenant, a label.
pub const MAX_NAME: usize = 128;

/// Bytes of a text for people.
pub const MAX_TEXT: usize = 4096;

/// Bytes of what a request brings: a frame has room for it and for the longest prefix of tokens.
pub const MAX_REQUEST_BODY: usize = 640 << 10;

/// Bytes of a value of a parameter, of a public prefix, of an environment variable.
pub const MAX_VALUE: usize = 64 << 10;

/// Parameters, arguments, public prefixes, environment variables, destinations of one invocation.
pub const MAX_PARAMETERS: usize = 64;

/// Models that one invocation may open.
pub const MAX_BINDINGS: usize = 16;

/// Generations of an invocation that can go on elsewhere.
pub const MAX_GENERATIONS: usize = 1024;

/// Emissions in a chunk.
pub const MAX_EMISSIONS: usize = 64;

/// Tokens of an emission. One that has more is sent as several.
pub const MAX_EMISSION_TOKENS: usize = 1024;

/// Bytes of the text or the body in an emission. Two fit into a frame.
pub const MAX_EMISSION_BYTES: usize = 8000;

/// Models on the disk of a node.
pub const MAX_MODELS: usize = 128;

/// Models resident on a node.
pub const MAX_RESIDENTS: usize = 16;

/// Components on the disk of a node.
pub const MAX_COMPONENTS: usize = 256;

/// Operating points that a node offers.
pub const MAX_POINTS: usize = 32;

/// Labels of a node.
pub const MAX_LABELS: usize = 32;

/// Beginnings of one prompt that are named.
pub const MAX_PROMPT_PREFIXES: usize = 8;

/// Beginnings of prompts that one engine is said to hold.
pub const MAX_HELD_PREFIXES: usize = 64;

/// Attempts that a node holds: those that run, and those whose end was not acknowledged.
pub const MAX_ATTEMPTS: usize = 256;

/// Things in one page of a list.
pub const MAX_PAGE: usize = 256;

/// Candidates in an explanation.
pub const MAX_CANDIDATES: usize = 16;

/// Attempts in an explanation.
pub const MAX_DECISIONS: usize = 8;

/// Reasons by which candidates are counted, and faults that are shown of a policy.
pub const MAX_REASONS: usize = 32;

/// Bytes of a policy file, and of cost rows in one message.
pub const MAX_DOCUMENT: usize = 60 << 10;

/// Bytes of a text, and of a set of questions, by which a node judges a model: the tokens of the longest fit into a frame of its
/// engine.
pub const MAX_JUDGED: usize = 3 << 20;

/// Bytes of a certificate, or of the request for one.
pub const MAX_CERTIFICATE: usize = 8 << 10;

/// Certificates of a chain.
pub const MAX_CHAIN: usize = 4;

/// Bytes of a blob in one frame.
pub const MAX_BLOB_CHUNK: usize = 256 << 10;
