//! What a rule says about the data at hand.

use super::Bindings;
use super::expression::{Expression, Method, Operator};
use crate::dev::database::path::Path;
use crate::dev::database::tree::child_at;
use crate::domain::time::UnixMillis;
use serde_json::{Number, Value};

/// All that an expression can see.
pub(super) struct Scope<'a> {
    pub(super) auth: &'a Value,
    pub(super) now: UnixMillis,
    /// The whole data before the write, and after it where there is one.
    pub(super) before: &'a Value,
    pub(super) after: Option<&'a Value>,
    /// The place of the rule.
    pub(super) keys: &'a [String],
    pub(super) bindings: &'a Bindings,
}

/// Something was asked of a value that it cannot do. Such a rule as a whole allows nothing, so
/// that a `!` cannot make a permission of a mistake.
struct TypeError;

type Evaluated<T> = Result<T, TypeError>;

/// A place in one of the two states of the data.
struct Place<'a> {
    root: &'a Value,
    keys: Vec<String>,
}

impl Place<'_> {
    fn value(&self) -> &Value {
        child_at(self.root, &self.keys)
    }
}

pub(super) fn allows(rule: &Expression, scope: &Scope<'_>) -> bool {
    matches!(scope.value(rule), Ok(Value::Bool(true)))
}

impl<'a> Scope<'a> {
    fn value(&self, expression: &Expression) -> Evaluated<Value> {
        Ok(match expression {
            Expression::Null => Value::Null,
            Expression::Bool(constant) => (*constant).into(),
            Expression::Number(number) => number_value(*number)?,
            Expression::Text(text) => text.as_str().into(),
            Expression::Auth => self.auth.clone(),
            Expression::Now => self.now.0.into(),
            Expression::Key(name) => {
                let bound = self.bindings.iter().find(|(known, _)| known == name);
                bound.ok_or(TypeError)?.1.as_str().into()
            }
            Expression::Not(inner) => (!self.bool(inner)?).into(),
            Expression::Minus(inner) => number_value(-self.number(inner)?)?,
            Expression::Binary(operator, left, right) => self.binary(*operator, left, right)?,
            Expression::Choice(parts) => {
                let [condition, yes, no] = &**parts;
                self.value(if self.bool(condition)? { yes } else { no })?
            }
            Expression::Part(of, name) => part(&self.value(of)?, name)?,
            Expression::Call(receiver, method, arguments) => {
                self.call(receiver, *method, arguments)?
            }
            Expression::Root | Expression::Data | Expression::NewData | Expression::List(_) => {
                return Err(TypeError);
            }
        })
    }

    fn bool(&self, expression: &Expression) -> Evaluated<bool> {
        self.value(expression)?.as_bool().ok_or(TypeError)
    }

    fn number(&self, expression: &Expression) -> Evaluated<f64> {
        self.value(expression)?.as_f64().ok_or(TypeError)
    }

    fn text(&self, expression: &Expression) -> Evaluated<String> {
        match self.value(expression)? {
            Value::String(text) => Ok(text),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => Err(TypeError),
        }
    }

    fn binary(
        &self,
        operator: Operator,
        left: &Expression,
        right: &Expression,
    ) -> Evaluated<Value> {
        Ok(match operator {
            Operator::Or => (self.bool(left)? || self.bool(right)?).into(),
            Operator::And => (self.bool(left)? && self.bool(right)?).into(),
            Operator::Equal => equal(&self.value(left)?, &self.value(right)?)?.into(),
            Operator::Different => (!equal(&self.value(left)?, &self.value(right)?)?).into(),
            Operator::Less => self.compare(left, right)?.is_lt().into(),
            Operator::LessOrEqual => self.compare(left, right)?.is_le().into(),
            Operator::Greater => self.compare(left, right)?.is_gt().into(),
            Operator::GreaterOrEqual => self.compare(left, right)?.is_ge().into(),
            Operator::Plus => plus(&self.value(left)?, &self.value(right)?)?,
            Operator::Minus => number_value(self.number(left)? - self.number(right)?)?,
            Operator::Times => number_value(self.number(left)? * self.number(right)?)?,
            Operator::Over => number_value(self.number(left)? / self.number(right)?)?,
            Operator::Modulo => number_value(self.number(left)? % self.number(right)?)?,
        })
    }

    fn compare(&self, left: &Expression, right: &Expression) -> Evaluated<std::cmp::Ordering> {
        match (self.value(left)?, self.value(right)?) {
            (Value::Number(a), Value::Number(b)) => {
                a.as_f64().partial_cmp(&b.as_f64()).ok_or(TypeError)
            }
            (Value::String(a), Value::String(b)) => Ok(a.cmp(&b)),
            _ => Err(TypeError),
        }
    }

    fn place(&self, expression: &Expression) -> Evaluated<Place<'a>> {
        let root = match expression {
            Expression::Root => (self.before, [].as_slice()),
            Expression::Data => (self.before, self.keys),
            Expression::NewData => (self.after.ok_or(TypeError)?, self.keys),
            Expression::Call(..) => return self.relative_place(expression),
            Expression::Null
            | Expression::Bool(_)
            | Expression::Number(_)
            | Expression::Text(_)
            | Expression::Auth
            | Expression::Now
            | Expression::Key(_)
            | Expression::Not(_)
            | Expression::Minus(_)
            | Expression::Binary(..)
            | Expression::Choice(_)
            | Expression::Part(..)
            | Expression::List(_) => return Err(TypeError),
        };
        Ok(Place {
            root: root.0,
            keys: root.1.to_vec(),
        })
    }

    fn relative_place(&self, expression: &Expression) -> Evaluated<Place<'a>> {
        let Expression::Call(receiver, method, arguments) = expression else {
            return Err(TypeError);
        };
        let mut place = self.place(receiver)?;
        if *method == Method::Child {
            let below = self.path(arguments.first())?;
            place.keys.extend_from_slice(below.keys());
        } else {
            place.keys.pop().ok_or(TypeError)?;
        }
        Ok(place)
    }

    fn path(&self, argument: Option<&Expression>) -> Evaluated<Path> {
        Path::parse(&self.text(argument.ok_or(TypeError)?)?).map_err(|_| TypeError)
    }

    fn call(
        &self,
        receiver: &Expression,
        method: Method,
        arguments: &[Expression],
    ) -> Evaluated<Value> {
        let first = arguments.first();
        let place = || self.place(receiver);
        let texts = || Ok((self.text(receiver)?, self.text(first.ok_or(TypeError)?)?));
        Ok(match method {
            Method::Child | Method::Parent => return Err(TypeError),
            Method::Val => place()?.value().clone(),
            Method::Exists => (!place()?.value().is_null()).into(),
            Method::IsString => place()?.value().is_string().into(),
            Method::IsNumber => place()?.value().is_number().into(),
            Method::IsBoolean => place()?.value().is_boolean().into(),
            Method::HasChild => {
                let path = self.path(first)?;
                (!child_at(place()?.value(), path.keys()).is_null()).into()
            }
            Method::HasChildren => self.has_children(&place()?, first)?.into(),
            Method::Contains => texts().map(|(a, b)| a.contains(&b))?.into(),
            Method::BeginsWith => texts().map(|(a, b)| a.starts_with(&b))?.into(),
            Method::EndsWith => texts().map(|(a, b)| a.ends_with(&b))?.into(),
            Method::ToLowerCase => self.text(receiver)?.to_lowercase().into(),
            Method::ToUpperCase => self.text(receiver)?.to_uppercase().into(),
        })
    }

    fn has_children(&self, place: &Place<'_>, list: Option<&Expression>) -> Evaluated<bool> {
        let Some(Expression::List(items)) = list else {
            return Ok(place.value().is_object());
        };
        for item in items {
            let path = self.path(Some(item))?;
            if child_at(place.value(), path.keys()).is_null() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// A part of `auth`; what is not there is null, so that `auth.uid` of nobody equals no uid.
fn part(of: &Value, name: &str) -> Evaluated<Value> {
    match of {
        Value::Null => Ok(Value::Null),
        Value::Object(parts) => Ok(parts.get(name).cloned().unwrap_or_default()),
        // As in JavaScript, in UTF-16 units.
        Value::String(text) if name == "length" => Ok(text.encode_utf16().count().into()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Err(TypeError),
    }
}

/// Values of two kinds are different; whole subtrees are not compared.
fn equal(a: &Value, b: &Value) -> Evaluated<bool> {
    match (a, b) {
        (Value::Null, Value::Object(_)) | (Value::Object(_), Value::Null) => Ok(false),
        (Value::Object(_) | Value::Array(_), _) | (_, Value::Object(_) | Value::Array(_)) => {
            Err(TypeError)
        }
        (Value::Number(a), Value::Number(b)) => Ok(a.as_f64() == b.as_f64()),
        (a, b) => Ok(a == b),
    }
}

fn plus(a: &Value, b: &Value) -> Evaluated<Value> {
    if let (Some(a), Some(b)) = (a.as_f64(), b.as_f64()) {
        return number_value(a + b);
    }
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(TypeError),
    };
    if a.is_string() || b.is_string() {
        return Ok(Value::String(text(a)? + &text(b)?));
    }
    Err(TypeError)
}

/// Whole numbers are written without a fraction, as in JavaScript.
fn number_value(number: f64) -> Evaluated<Value> {
    let number = Number::from_f64(number).ok_or(TypeError)?;
    Ok(Value::Number(crate::dev::database::tree::plain_number(
        &number,
    )))
}
