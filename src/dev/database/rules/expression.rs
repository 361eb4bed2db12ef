//! What a rule may say.

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Auth,
    Now,
    /// The data before the write: of everything, and of the rule's place.
    Root,
    Data,
    /// The data of the rule's place after the write.
    NewData,
    /// A `$variable`.
    Key(String),
    Not(Box<Expression>),
    Minus(Box<Expression>),
    Binary(Operator, Box<Expression>, Box<Expression>),
    Choice(Box<[Expression; 3]>),
    /// A part of `auth`, or the `length` of a text.
    Part(Box<Expression>, String),
    Call(Box<Expression>, Method, Vec<Expression>),
    /// Only as the argument of `hasChildren`.
    List(Vec<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Or,
    And,
    Equal,
    Different,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Plus,
    Minus,
    Times,
    Over,
    Modulo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Child,
    Parent,
    Val,
    Exists,
    HasChild,
    HasChildren,
    IsString,
    IsNumber,
    IsBoolean,
    Contains,
    BeginsWith,
    EndsWith,
    ToLowerCase,
    ToUpperCase,
}

impl Method {
    /// Its name, how many arguments it may take, and whether it asks a place (else a text).
    pub(super) const TABLE: [(&'static str, Self, [usize; 2], bool); 14] = [
        ("child", Self::Child, [1, 1], true),
        ("parent", Self::Parent, [0, 0], true),
        ("val", Self::Val, [0, 0], true),
        ("exists", Self::Exists, [0, 0], true),
        ("hasChild", Self::HasChild, [1, 1], true),
        ("hasChildren", Self::HasChildren, [0, 1], true),
        ("isString", Self::IsString, [0, 0], true),
        ("isNumber", Self::IsNumber, [0, 0], true),
        ("isBoolean", Self::IsBoolean, [0, 0], true),
        ("contains", Self::Contains, [1, 1], false),
        ("beginsWith", Self::BeginsWith, [1, 1], false),
        ("endsWith", Self::EndsWith, [1, 1], false),
        ("toLowerCase", Self::ToLowerCase, [0, 0], false),
        ("toUpperCase", Self::ToUpperCase, [0, 0], false),
    ];
}

/// Which names a rule knows: what is to be written does not exist when something is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    Read,
    Write,
}

/// A place of the data, as `data` or `root.child('a')`; only its methods make a value of it.
pub(super) fn is_place(expression: &Expression) -> bool {
    matches!(
        expression,
        Expression::Root
            | Expression::Data
            | Expression::NewData
            | Expression::Call(_, Method::Child | Method::Parent, _)
    )
}
