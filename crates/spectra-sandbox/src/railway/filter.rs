//! The filter language of logs: `"quoted text"`, `word`, `@field:value`, `@field:>500`, `@field:500..599`, joined by
//! `AND` and `OR`, negated by `-`, grouped by parentheses. Two terms side by side mean `AND`, which binds tighter
//! than `OR`.
//!
//! What a log cannot answer is refused by name: a filter that was ignored would show lines nobody asked for.

use super::refusal::Refusal;

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Compared as a whole.
    Text,
    /// Compared as a number too.
    Number,
}

/// The fields that one sort of log has.
pub(crate) type Fields = &'static [(&'static str, Kind)];

/// The value of a field in one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Text(&'a str),
    Number(u64),
}

/// One row of a log.
pub(crate) trait Row {
    /// Whether free text is found in it.
    fn contains(&self, text: &str) -> bool;
    /// A field of the sort's [`Fields`]; nothing where the row has none.
    fn field(&self, name: &str) -> Option<Value<'_>>;
}

/// A filter that has been understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Filter {
    Words(String),
    Equals(&'static str, String),
    Between(&'static str, u64, u64),
    Not(Box<Filter>),
    All(Vec<Filter>),
    Any(Vec<Filter>),
}

/// How deep parentheses and negations may nest.
const DEPTH: usize = 32;

impl Filter {
    /// Reads `text`; nothing or only blanks lets every row through.
    pub(crate) fn parse(text: Option<&str>, fields: Fields) -> Result<Self, Refusal> {
        let mut parser = Parser { tokens: tokens(text.unwrap_or_default())?, at: 0, fields };
        if parser.tokens.is_empty() {
            return Ok(Self::All(Vec::new()));
        }
        let filter = parser.any(0)?;
        match parser.peek() {
            None => Ok(filter),
            Some(_) => Err(refuse("`)` closes nothing")),
        }
    }

    pub(crate) fn passes(&self, row: &impl Row) -> bool {
        match self {
            Self::Words(text) => row.contains(text),
            Self::Equals(field, wanted) => match row.field(field) {
                Some(Value::Text(text)) => text == wanted,
                Some(Value::Number(number)) => wanted.parse() == Ok(number),
                None => false,
            },
            Self::Between(field, low, high) => match row.field(field) {
                Some(Value::Number(number)) => (low..=high).contains(&&number),
                Some(Value::Text(_)) | None => false,
            },
            Self::Not(inner) => !inner.passes(row),
            Self::All(inner) => inner.iter().all(|filter| filter.passes(row)),
            Self::Any(inner) => inner.iter().any(|filter| filter.passes(row)),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Open,
    Close,
    Minus,
    And,
    Or,
    /// A text that was quoted is never a word of the language.
    Quoted(String),
    Word(String),
    Field(String, String),
}

/// The filter itself stays out of the message, which goes to the journal: people look for secrets too.
fn refuse(reason: &str) -> Refusal {
    Refusal::input(format!("Invalid filter: {reason}"))
}

fn tokens(text: &str) -> Result<Vec<Token>, Refusal> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let token = match first {
            '(' => Token::Open,
            ')' => Token::Close,
            '-' => Token::Minus,
            _ => {
                let (token, after) = word(rest)?;
                tokens.push(token);
                rest = after.trim_start();
                continue;
            }
        };
        tokens.push(token);
        rest = &rest[1..];
        if tokens.last() != Some(&Token::Minus) {
            rest = rest.trim_start();
        } else if rest.is_empty() || rest.starts_with(char::is_whitespace) {
            return Err(refuse("`-` negates nothing; quote it to look for it"));
        }
    }
    Ok(tokens)
}

/// One term and what follows it.
fn word(rest: &str) -> Result<(Token, &str), Refusal> {
    if let Some(inner) = rest.strip_prefix('"') {
        let (quoted, after) = quoted(inner)?;
        return Ok((Token::Quoted(quoted), after));
    }
    let end = |text: &str| text.find([' ', '\t', '\n', '\r', ')', '(']).unwrap_or(text.len());
    if let Some(field) = rest.strip_prefix('@') {
        let stop = end(field);
        let Some((name, _)) = field[..stop].split_once(':') else {
            return Err(refuse("a field is `@name:value`"));
        };
        let value = &field[name.len() + 1..];
        if let Some(inner) = value.strip_prefix('"') {
            let (quoted, after) = quoted(inner)?;
            return Ok((Token::Field(name.to_owned(), quoted), after));
        }
        let stop = end(value);
        return Ok((Token::Field(name.to_owned(), value[..stop].to_owned()), &value[stop..]));
    }
    let stop = end(rest);
    let token = match &rest[..stop] {
        "AND" => Token::And,
        "OR" => Token::Or,
        word if word.contains('"') => return Err(refuse("a quote begins in the middle of a word")),
        word => Token::Word(word.to_owned()),
    };
    Ok((token, &rest[stop..]))
}

/// What stands up to the closing quote; a backslash takes the next character as it is.
fn quoted(rest: &str) -> Result<(String, &str), Refusal> {
    let mut out = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((out, &rest[at + 1..])),
            '\\' => out.extend(chars.next().map(|(_, char)| char)),
            char => out.push(char),
        }
    }
    Err(refuse("a quote is not closed"))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    fields: Fields,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    fn any(&mut self, depth: usize) -> Result<Filter, Refusal> {
        let mut parts = vec![self.all(depth)?];
        while self.peek() == Some(&Token::Or) {
            self.at += 1;
            parts.push(self.all(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Any(parts) })
    }

    fn all(&mut self, depth: usize) -> Result<Filter, Refusal> {
        let mut parts = vec![self.one(depth)?];
        loop {
            match self.peek() {
                Some(Token::And) => self.at += 1,
                None | Some(Token::Or | Token::Close) => break,
                Some(_) => {}
            }
            parts.push(self.one(depth)?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::All(parts) })
    }

    fn one(&mut self, depth: usize) -> Result<Filter, Refusal> {
        if depth > DEPTH {
            return Err(refuse("it nests too deep"));
        }
        match self.take() {
            Some(Token::Minus) => Ok(Filter::Not(Box::new(self.one(depth + 1)?))),
            Some(Token::Open) => {
                let inner = self.any(depth + 1)?;
                match self.take() {
                    Some(Token::Close) => Ok(inner),
                    _ => Err(refuse("`(` is not closed")),
                }
            }
            Some(Token::Quoted(text) | Token::Word(text)) => Ok(Filter::Words(text)),
            Some(Token::Field(name, value)) => self.field(&name, value),
            Some(Token::Close) => Err(refuse("`)` closes nothing")),
            Some(Token::And | Token::Or) | None => Err(refuse("`AND` and `OR` stand between two terms")),
        }
    }

    fn field(&self, name: &str, value: String) -> Result<Filter, Refusal> {
        let Some((field, kind)) = self.fields.iter().find(|(field, _)| *field == name) else {
            let known: Vec<_> = self.fields.iter().map(|(field, _)| format!("`@{field}`")).collect();
            return Err(refuse(&format!(
                "these logs have no `@{name}`, the sandbox knows {}",
                known.join(", ")
            )));
        };
        if value.is_empty() {
            return Err(refuse(&format!("`@{name}:` has no value")));
        }
        if *kind == Kind::Text {
            if value.contains('*') {
                return Err(refuse("the sandbox knows no wildcards"));
            }
            return Ok(Filter::Equals(field, value));
        }
        let (low, high) = range(&value)
            .ok_or_else(|| refuse(&format!("`@{name}` takes 500, 500..599, >500, >=500, <500 or <=500")))?;
        Ok(Filter::Between(field, low, high))
    }
}

/// The whole numbers that a comparison lets through; `low` above `high` where there are none.
fn range(value: &str) -> Option<(u64, u64)> {
    let number = |text: &str| text.parse::<u64>().ok();
    if let Some(low) = value.strip_prefix(">=") {
        return Some((number(low)?, u64::MAX));
    }
    if let Some(high) = value.strip_prefix("<=") {
        return Some((0, number(high)?));
    }
    if let Some(low) = value.strip_prefix('>') {
        return Some((number(low)?.checked_add(1)?, u64::MAX));
    }
    if let Some(high) = value.strip_prefix('<') {
        return Some(number(high)?.checked_sub(1).map_or((1, 0), |high| (0, high)));
    }
    match value.split_once("..") {
        Some((low, high)) => Some((number(low)?, number(high)?)),
        None => number(value).map(|number| (number, number)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIELDS: Fields = &[("level", Kind::Text), ("path", Kind::Text), ("status", Kind::Number)];

    struct Sample(&'static str, &'static str, u64);

    impl Row for Sample {
        fn contains(&self, text: &str) -> bool {
            self.0.contains(text)
        }

        fn field(&self, name: &str) -> Option<Value<'_>> {
            match name {
                "level" => Some(Value::Text(self.1)),
                "status" => Some(Value::Number(self.2)),
                _ => None,
            }
        }
    }

    fn passes(text: &str) -> bool {
        Filter::parse(Some(text), FIELDS).unwrap().passes(&Sample("GET /a b 503", "error", 503))
    }

    #[test]
    fn what_it_lets_through() {
        for yes in [
            "",
            "  ",
            "GET",
            "\"/a b\"",
            "@level:error",
            "@level:\"error\"",
            "@status:503",
            "@status:500..599",
            "@status:>502 AND @status:<=503",
            "-@level:info",
            "-(@level:info OR POST)",
            "POST OR GET AND 503",
            "(POST OR GET) AND 503",
            "GET 503",
            "@path:/x OR GET",
            "-@path:/x",
            "--GET",
        ] {
            assert!(passes(yes), "{yes}");
        }
        for no in [
            "\"AND\"",
            "@level:info",
            "@status:<0",
            "@status:>503",
            "@status:504..599",
            "-GET",
            "GET AND POST",
            "POST OR GET AND 404",
            "GET -503",
            "@path:/x",
        ] {
            assert!(!passes(no), "{no}");
        }
    }

    #[test]
    fn what_it_does_not_understand_is_refused() {
        for wrong in [
            "@colour:red",
            "@level",
            "@level:",
            "@path:/api/*",
            "@status:5xx",
            "@status:>",
            "AND",
            "GET AND",
            "OR GET",
            "(GET",
            "GET)",
            "()",
            "- GET",
            "-",
            "\"open",
            "a\"b\"",
        ] {
            let refusal = Filter::parse(Some(wrong), FIELDS).unwrap_err();
            assert_eq!(refusal.code, Some("BAD_USER_INPUT"), "{wrong}");
        }
        let deep = "(".repeat(10_000);
        assert!(Filter::parse(Some(&deep), FIELDS).is_err());
        insta::assert_snapshot!(
            Filter::parse(Some("@colour:red"), FIELDS).unwrap_err().message,
            @"Invalid filter: these logs have no `@colour`, the sandbox knows `@level`, `@path`, `@status`"
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-()@:a\"<>=.0-9 ANDOR\\\\é]{0,40}") {
            let _ = Filter::parse(Some(&text), FIELDS);
        }

        #[test]
        fn quoted_text_is_found_as_it_stands(text in "\\PC{1,20}") {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
            let filter = Filter::parse(Some(&format!("\"{escaped}\"")), FIELDS).unwrap();
            prop_assert_eq!(filter, Filter::Words(text));
        }
    }
}
