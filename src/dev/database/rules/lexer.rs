//! The words of a rule expression.

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    /// With the `$` of a variable.
    Name(String),
    Number(f64),
    Text(String),
    Sign(&'static str),
    End,
}

/// What is wrong with an expression, and at which of its characters, from 0.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) at: usize,
    pub(super) reason: String,
}

/// Longer ones first: the first that fits is taken.
const SIGNS: [&str; 24] = [
    "===", "!==", "==", "!=", "&&", "||", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?",
    ":", "(", ")", "[", "]", ".", ",",
];

/// Hands out tokens one by one: a word may forbid what would follow.
pub(super) struct Lexer<'a> {
    text: &'a str,
    /// In bytes.
    next: usize,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, next: 0 }
    }

    pub(super) fn token(&mut self) -> Result<(usize, Token), SyntaxError> {
        let rest = self.rest().trim_start();
        self.next = self.text.len() - rest.len();
        let start = self.next;
        let at = self.text[..start].chars().count();
        let Some(first) = rest.chars().next() else {
            return Ok((at, Token::End));
        };
        let token = if first.is_ascii_alphabetic() || matches!(first, '_' | '$') {
            let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$');
            Token::Name(self.take_while(word).to_owned())
        } else if first.is_ascii_digit() {
            let number = self.take_while(|c| c.is_ascii_digit() || c == '.');
            let parsed = number.parse().map_err(|_| SyntaxError {
                at,
                reason: format!("{number} is not a number"),
            });
            Token::Number(parsed?)
        } else if matches!(first, '\'' | '"') {
            Token::Text(self.quoted(first).ok_or_else(|| SyntaxError {
                at,
                reason: "the text does not end".to_owned(),
            })?)
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| SyntaxError {
                at,
                reason: format!("{first:?} has no meaning here"),
            })?;
            self.next += sign.len();
            Token::Sign(sign)
        };
        Ok((at, token))
    }

    fn rest(&self) -> &'a str {
        &self.text[self.next..]
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.next += end;
        &rest[..end]
    }

    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut text = String::new();
        let mut rest = self.rest().char_indices().skip(1);
        while let Some((at, c)) = rest.next() {
            if c == quote {
                self.next += at + c.len_utf8();
                return Some(text);
            }
            text.push(match c {
                '\\' => match rest.next()?.1 {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    c @ ('\\' | '\'' | '"' | '/') => c,
                    _ => return None,
                },
                c => c,
            });
        }
        None
    }
}
