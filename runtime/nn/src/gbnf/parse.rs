//! Reads GBNF.

use super::{GbnfError, MAX_DEPTH, MAX_REPETITIONS, Node, Rules};

pub(super) fn parse(grammar: &str) -> Result<Rules, GbnfError> {
    let mut reader = Reader { rest: grammar, line: 1 };
    let mut rules = Rules::new();
    let mut named = Vec::new();
    reader.skip(Lines::Cross);
    while !reader.rest.is_empty() {
        let name = reader.name()?;
        reader.skip(Lines::Stay);
        if !reader.takes("::=") {
            return Err(reader.expected("::="));
        }
        reader.skip(Lines::Cross);
        let node = reader.choice(0, &mut named)?;
        if rules.insert(name.clone(), node).is_some() {
            return Err(reader.syntax(format!("the rule {name:?} is there twice")));
        }
        reader.skip(Lines::Cross);
    }
    match named.into_iter().find(|name| !rules.contains_key(name)) {
        Some(missing) => Err(GbnfError::NoRule(missing)),
        None => Ok(rules),
    }
}

/// What white space may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lines {
    Stay,
    Cross,
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    /// Alternatives, to the end of the rule or to a closing parenthesis.
    fn choice(&mut self, depth: usize, named: &mut Vec<String>) -> Result<Node, GbnfError> {
        if depth > MAX_DEPTH {
            return Err(GbnfError::TooLarge("48 nested parentheses"));
        }
        let mut alternatives = vec![self.sequence(depth, named)?];
        while self.continues_with_choice(depth) {
            self.skip(Lines::Cross);
            alternatives.push(self.sequence(depth, named)?);
        }
        Ok(Node::choice(alternatives))
    }

    /// Outside of parentheses, a bar may also begin the next line.
    fn continues_with_choice(&mut self, depth: usize) -> bool {
        if self.takes("|") {
            return true;
        }
        if depth > 0 {
            return false;
        }
        let (rest, line) = (self.rest, self.line);
        self.skip(Lines::Cross);
        let continues = self.takes("|");
        if !continues {
            (self.rest, self.line) = (rest, line);
        }
        continues
    }

    fn sequence(&mut self, depth: usize, named: &mut Vec<String>) -> Result<Node, GbnfError> {
        let lines = if depth == 0 { Lines::Stay } else { Lines::Cross };
        let mut nodes = Vec::new();
        while let Some(next) = self.rest.chars().next() {
            let node = match next {
                '"' => self.literal()?,
                '[' => self.class()?,
                '.' => {
                    self.bump();
                    Node::Class(r"[\x{0}-\x{10FFFF}]".into())
                }
                '(' => {
                    self.bump();
                    self.skip(Lines::Cross);
                    let inner = self.choice(depth + 1, named)?;
                    if !self.takes(")") {
                        return Err(self.expected(")"));
                    }
                    inner
                }
                c if is_name(c) => {
                    let name = self.name()?;
                    named.push(name.clone());
                    Node::Rule(name)
                }
                '<' | '!' => return Err(self.syntax("tokens of a vocabulary are not known here")),
                _ => break,
            };
            self.skip(lines);
            nodes.push(self.repeated(node)?);
            self.skip(lines);
        }
        Ok(Node::sequence(nodes))
    }

    fn repeated(&mut self, mut node: Node) -> Result<Node, GbnfError> {
        loop {
            let (least, most) = match self.rest.chars().next() {
                Some('*') => (0, None),
                Some('+') => (1, None),
                Some('?') => (0, Some(1)),
                Some('{') => {
                    self.bump();
                    let (least, most) = self.counts()?;
                    node = Node::repeat(node, least, most);
                    continue;
                }
                _ => return Ok(node),
            };
            self.bump();
            node = Node::repeat(node, least, most);
        }
    }

    /// `3}`, `3,}`, `3,5}` or `,5}`.
    fn counts(&mut self) -> Result<(u32, Option<u32>), GbnfError> {
        let least = self.count()?;
        let counts =
            if self.takes(",") { (least.unwrap_or(0), self.count()?) } else { (least.unwrap_or(0), least) };
        if !self.takes("}") || (least.is_none() && counts.1.is_none()) {
            return Err(self.expected("a count such as {2,5}"));
        }
        if counts.1.is_some_and(|most| most < counts.0) {
            return Err(self.syntax("a count that ends before it begins"));
        }
        Ok(counts)
    }

    fn count(&mut self) -> Result<Option<u32>, GbnfError> {
        self.skip(Lines::Stay);
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        self.skip(Lines::Stay);
        if digits.is_empty() {
            return Ok(None);
        }
        match digits.parse::<u32>() {
            Ok(count) if count <= MAX_REPETITIONS => Ok(Some(count)),
            _ => Err(GbnfError::TooLarge("2000 repetitions of one thing")),
        }
    }

    fn literal(&mut self) -> Result<Node, GbnfError> {
        self.bump();
        let mut text = String::new();
        loop {
            match self.character()? {
                Character::Plain('"') => return Ok(Node::Literal(text)),
                Character::Plain(c) | Character::Escaped(c) => text.push(c),
            }
        }
    }

    fn class(&mut self) -> Result<Node, GbnfError> {
        self.bump();
        let mut class = String::from(if self.takes("^") { "[^" } else { "[" });
        let empty = class.len();
        loop {
            let first = match self.character()? {
                Character::Plain(']') if class.len() == empty => {
                    return Err(self.syntax("an empty set of characters"));
                }
                Character::Plain(']') => break,
                Character::Plain(c) | Character::Escaped(c) => c,
            };
            let last = if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.bump();
                match self.character()? {
                    Character::Plain(c) | Character::Escaped(c) => c,
                }
            } else {
                first
            };
            if last < first {
                return Err(self.syntax("a range that ends before it begins"));
            }
            class += &format!(r"\x{{{:X}}}-\x{{{:X}}}", u32::from(first), u32::from(last));
        }
        class.push(']');
        Ok(Node::Class(class))
    }

    fn character(&mut self) -> Result<Character, GbnfError> {
        match self.bump() {
            None => Err(self.syntax("it ends in the middle of a text or a set")),
            Some('\\') => self.escape().map(Character::Escaped),
            Some(c) => Ok(Character::Plain(c)),
        }
    }

    fn escape(&mut self) -> Result<char, GbnfError> {
        let digits = match self.bump() {
            Some('x') => 2,
            Some('u') => 4,
            Some('U') => 8,
            Some('n') => return Ok('\n'),
            Some('r') => return Ok('\r'),
            Some('t') => return Ok('\t'),
            Some(c) if c.is_ascii_punctuation() => return Ok(c),
            _ => return Err(self.syntax("an escape that is not known")),
        };
        let hex = self.rest.get(..digits).and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let Some(c) = hex.and_then(char::from_u32) else {
            return Err(
                self.syntax(format!("an escape without its {digits} hexadecimal digits of a character"))
            );
        };
        self.rest = &self.rest[digits..];
        Ok(c)
    }

    fn name(&mut self) -> Result<String, GbnfError> {
        let length = self.rest.find(|c| !is_name(c)).unwrap_or(self.rest.len());
        if length == 0 {
            return Err(self.expected("the name of a rule"));
        }
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        Ok(name.to_owned())
    }

    /// White space and comments.
    fn skip(&mut self, lines: Lines) {
        while let Some(next) = self.rest.chars().next() {
            match next {
                ' ' | '\t' => {}
                '\n' | '\r' if lines == Lines::Cross => {}
                '#' => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                    continue;
                }
                _ => return,
            }
            self.bump();
        }
    }

    fn takes(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn bump(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let c = chars.next()?;
        self.rest = chars.as_str();
        self.line += usize::from(c == '\n');
        Some(c)
    }

    fn expected(&self, what: &str) -> GbnfError {
        let found = match self.rest.chars().next() {
            Some(c) => format!("{c:?}"),
            None => "the end".to_owned(),
        };
        self.syntax(format!("{what} is expected, not {found}"))
    }

    fn syntax(&self, what: impl Into<String>) -> GbnfError {
        GbnfError::Syntax { line: self.line, what: what.into() }
    }
}

enum Character {
    Plain(char),
    Escaped(char),
}

fn is_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}
