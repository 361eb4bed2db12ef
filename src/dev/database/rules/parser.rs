//! How a rule expression is read: precedence climbing, one token ahead.

use super::expression::{Allowed, Expression, Method, Operator, is_place};
use super::lexer::{Lexer, SyntaxError, Token};

/// A longer expression is refused, and one nested deeper.
const MAX_BYTES: usize = 8 * 1024;
const MAX_NESTING: usize = 64;

/// From loose to tight; the operators of one row are read from left to right.
const ROWS: [&[(&str, Operator)]; 6] = [
    &[("||", Operator::Or)],
    &[("&&", Operator::And)],
    &[
        ("==", Operator::Equal),
        ("===", Operator::Equal),
        ("!=", Operator::Different),
        ("!==", Operator::Different),
    ],
    &[
        ("<", Operator::Less),
        ("<=", Operator::LessOrEqual),
        (">", Operator::Greater),
        (">=", Operator::GreaterOrEqual),
    ],
    &[("+", Operator::Plus), ("-", Operator::Minus)],
    &[
        ("*", Operator::Times),
        ("/", Operator::Over),
        ("%", Operator::Modulo),
    ],
];

pub(super) fn parse(
    text: &str,
    allowed: Allowed,
    variables: &[String],
) -> Result<Expression, SyntaxError> {
    if text.len() > MAX_BYTES {
        return Err(SyntaxError {
            at: 0,
            reason: format!("longer than {MAX_BYTES} bytes"),
        });
    }
    let mut lexer = Lexer::new(text);
    let (at, token) = lexer.token()?;
    let mut parser = Parser {
        lexer,
        at,
        token,
        nesting: 0,
        allowed,
        variables,
    };
    let expression = parser.value()?;
    match parser.token {
        Token::End => Ok(expression),
        Token::Name(_) | Token::Number(_) | Token::Text(_) | Token::Sign(_) => {
            Err(parser.unexpected())
        }
    }
}

struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The token to look at, and where it stands.
    token: Token,
    at: usize,
    nesting: usize,
    allowed: Allowed,
    variables: &'a [String],
}

impl Parser<'_> {
    fn error<T>(&self, reason: impl Into<String>) -> Result<T, SyntaxError> {
        Err(SyntaxError {
            at: self.at,
            reason: reason.into(),
        })
    }

    fn unexpected(&self) -> SyntaxError {
        let reason = match &self.token {
            Token::Name(name) => format!("{name} is not expected here"),
            Token::Number(number) => format!("{number} is not expected here"),
            Token::Text(_) => "a text is not expected here".to_owned(),
            Token::Sign(sign) => format!("{sign} is not expected here"),
            Token::End => "the expression ends too early".to_owned(),
        };
        SyntaxError {
            at: self.at,
            reason,
        }
    }

    fn advance(&mut self) -> Result<Token, SyntaxError> {
        let (at, token) = self.lexer.token()?;
        self.at = at;
        Ok(std::mem::replace(&mut self.token, token))
    }

    fn take(&mut self, sign: &'static str) -> Result<bool, SyntaxError> {
        if self.token != Token::Sign(sign) {
            return Ok(false);
        }
        self.advance().map(|_| true)
    }

    fn expect(&mut self, sign: &'static str) -> Result<(), SyntaxError> {
        if self.take(sign)? {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    /// An expression that is a value, not a place.
    fn value(&mut self) -> Result<Expression, SyntaxError> {
        let at = self.at;
        let expression = self.choice()?;
        check_value(&expression, at)?;
        Ok(expression)
    }

    fn choice(&mut self) -> Result<Expression, SyntaxError> {
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.error("nested too deep");
        }
        let at = self.at;
        let mut expression = self.binary(0)?;
        if self.take("?")? {
            check_value(&expression, at)?;
            let yes = self.value()?;
            self.expect(":")?;
            let no = self.value()?;
            expression = Expression::Choice(Box::new([expression, yes, no]));
        }
        self.nesting -= 1;
        Ok(expression)
    }

    fn binary(&mut self, row: usize) -> Result<Expression, SyntaxError> {
        let Some(operators) = ROWS.get(row) else {
            return self.unary();
        };
        let mut at = self.at;
        let mut left = self.binary(row + 1)?;
        while let Token::Sign(sign) = self.token {
            let Some((_, operator)) = operators.iter().find(|(known, _)| *known == sign) else {
                break;
            };
            check_value(&left, at)?;
            self.advance()?;
            at = self.at;
            let right = self.binary(row + 1)?;
            check_value(&right, at)?;
            left = Expression::Binary(*operator, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expression, SyntaxError> {
        let make: fn(Box<Expression>) -> Expression = if self.token == Token::Sign("!") {
            Expression::Not
        } else if self.token == Token::Sign("-") {
            Expression::Minus
        } else {
            return self.postfix();
        };
        self.nesting += 1;
        if self.nesting > MAX_NESTING {
            return self.error("nested too deep");
        }
        self.advance()?;
        let at = self.at;
        let inner = self.unary()?;
        check_value(&inner, at)?;
        self.nesting -= 1;
        Ok(make(Box::new(inner)))
    }

    fn postfix(&mut self) -> Result<Expression, SyntaxError> {
        let mut expression = self.primary()?;
        loop {
            if self.take(".")? {
                let at = self.at;
                let Token::Name(name) = self.advance()? else {
                    return Err(SyntaxError {
                        at,
                        reason: "expected a name after the dot".to_owned(),
                    });
                };
                expression = if self.token == Token::Sign("(") {
                    self.call(expression, &name, at)?
                } else {
                    part(expression, name, at)?
                };
            } else if self.token == Token::Sign("[") {
                let at = self.at;
                self.advance()?;
                let Token::Text(name) = self.advance()? else {
                    return Err(SyntaxError {
                        at,
                        reason: "expected a text in the brackets".to_owned(),
                    });
                };
                self.expect("]")?;
                expression = part(expression, name, at)?;
            } else {
                return Ok(expression);
            }
        }
    }

    fn call(
        &mut self,
        receiver: Expression,
        name: &str,
        at: usize,
    ) -> Result<Expression, SyntaxError> {
        let error = |reason: String| Err(SyntaxError { at, reason });
        let known = Method::TABLE.iter().find(|(known, ..)| *known == name);
        let Some((_, method, arguments, of_place)) = known else {
            return error(format!("the stand-in does not know .{name}()"));
        };
        if is_place(&receiver) != *of_place {
            let receiver = if *of_place { "a place" } else { "a text" };
            return error(format!(".{name}() is for {receiver}"));
        }
        self.expect("(")?;
        let mut given = Vec::new();
        while !self.take(")")? {
            if !given.is_empty() {
                self.expect(",")?;
            }
            let lists = *method == Method::HasChildren && self.token == Token::Sign("[");
            given.push(if lists { self.list()? } else { self.value()? });
        }
        if !(arguments[0]..=arguments[1]).contains(&given.len()) {
            return error(format!(".{name}() has the wrong number of arguments"));
        }
        let listed = given
            .first()
            .is_none_or(|argument| matches!(argument, Expression::List(_)));
        if *method == Method::HasChildren && !listed {
            return error(".hasChildren() takes a list".to_owned());
        }
        Ok(Expression::Call(Box::new(receiver), *method, given))
    }

    fn list(&mut self) -> Result<Expression, SyntaxError> {
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.take("]")? {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(self.value()?);
        }
        if items.is_empty() {
            return self.error("the list is empty");
        }
        Ok(Expression::List(items))
    }

    fn primary(&mut self) -> Result<Expression, SyntaxError> {
        if self.take("(")? {
            let inner = self.choice()?;
            self.expect(")")?;
            return Ok(inner);
        }
        let expression = match &self.token {
            Token::Number(number) => Expression::Number(*number),
            Token::Text(text) => Expression::Text(text.clone()),
            Token::Name(name) => self.named(name)?,
            Token::Sign(_) | Token::End => return Err(self.unexpected()),
        };
        self.advance()?;
        Ok(expression)
    }

    fn named(&self, name: &str) -> Result<Expression, SyntaxError> {
        Ok(match name {
            "null" => Expression::Null,
            "true" => Expression::Bool(true),
            "false" => Expression::Bool(false),
            "auth" => Expression::Auth,
            "now" => Expression::Now,
            "root" => Expression::Root,
            "data" => Expression::Data,
            "newData" if self.allowed == Allowed::Write => Expression::NewData,
            _ if self.variables.iter().any(|known| known == name) => {
                Expression::Key(name.to_owned())
            }
            _ => return self.error(format!("unknown variable {name}")),
        })
    }
}

fn check_value(expression: &Expression, at: usize) -> Result<(), SyntaxError> {
    if is_place(expression) {
        let reason = "a place is not a value; ask its .val() or .exists()".to_owned();
        return Err(SyntaxError { at, reason });
    }
    Ok(())
}

fn part(of: Expression, name: String, at: usize) -> Result<Expression, SyntaxError> {
    let mut inner = &of;
    while let Expression::Part(deeper, _) = inner {
        inner = deeper;
    }
    if *inner == Expression::Auth || (name == "length" && !is_place(&of)) {
        return Ok(Expression::Part(Box::new(of), name));
    }
    let reason = format!("only auth and its parts have a .{name}");
    Err(SyntaxError { at, reason })
}
