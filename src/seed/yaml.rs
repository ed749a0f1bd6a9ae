//! Where in a YAML or JSON text a placeholder stands, as far as that decides what may be put there. No parser: it knows
//! quotes, comments, block scalars and flow collections, which is what a value could break out of.

use super::Language;

/// What surrounds a placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A text that means nothing to whoever parses it: a script, a block scalar.
    Raw,
    Comment,
    SingleQuoted,
    DoubleQuoted,
    /// YAML without quotes.
    Plain {
        /// Nothing of the scalar stands before it.
        begins: bool,
        /// Nothing of it follows.
        ends: bool,
        /// Between brackets or braces.
        flow: bool,
    },
    /// JSON outside of any string.
    JsonScalar,
}

impl Place {
    /// The value as it is written here; or why it cannot stand here, in words that follow "the value of …".
    pub(super) fn hold(self, value: &str) -> Result<String, String> {
        if value.chars().any(char::is_control) {
            return Err("has a line end or another control character".to_owned());
        }
        match self {
            Self::Raw | Self::Comment => Ok(value.to_owned()),
            Self::SingleQuoted => Ok(value.replace('\'', "''")),
            Self::DoubleQuoted => Ok(value.replace('\\', "\\\\").replace('"', "\\\"")),
            Self::JsonScalar => match serde_json::from_str::<serde_json::Value>(value) {
                Ok(parsed) if !parsed.is_object() && !parsed.is_array() && !parsed.is_string() => {
                    Ok(value.to_owned())
                }
                _ => Err("is no number and no truth value: put the placeholder between quotes".to_owned()),
            },
            Self::Plain { begins, ends, flow } => match ambiguous(value, begins, ends, flow) {
                None => Ok(value.to_owned()),
                Some(what) => Err(format!(
                    "has {what}, which means something to YAML: put the placeholder between quotes, where any value is safe"
                )),
            },
        }
    }
}

/// What a plain scalar cannot have.
fn ambiguous(value: &str, begins: bool, ends: bool, flow: bool) -> Option<&'static str> {
    const INDICATORS: &str = ",[]{}#&*!|>'\"%@`";
    let first = value.chars().next()?;
    let after_first = value.chars().nth(1);
    if begins && INDICATORS.contains(first) {
        return Some("a first character");
    }
    if begins && "-?:".contains(first) && after_first.is_none_or(|c| c == ' ') {
        return Some("a first character");
    }
    if begins && (value.starts_with("---") || value.starts_with("...")) {
        return Some("the mark of a document's end");
    }
    if value.contains(": ") || value.ends_with(':') {
        return Some("a colon");
    }
    if value.contains(" #") || (!begins && value.starts_with('#')) {
        return Some("the sign of a comment");
    }
    if flow && value.contains([',', '[', ']', '{', '}']) {
        return Some("a comma or a bracket");
    }
    if (begins && first == ' ') || (ends && value.ends_with(' ')) {
        return Some("a space at its edge");
    }
    None
}

/// Follows a text from its beginning. Values are not shown to it: they cannot change where it is.
#[derive(Debug)]
pub(super) struct Scanner {
    language: Language,
    state: State,
    /// Open brackets and braces.
    flow: u32,
    /// The next character begins a scalar.
    begins: bool,
    /// Column in the line.
    column: usize,
    /// Column of the scalar that began last in this line.
    token: usize,
    /// What stands there is a tag or an anchor: the scalar itself follows it.
    is_property: bool,
    /// Column of the key, or of the dash, that what comes next belongs to; less than 0: of nothing.
    parent: i64,
    previous: char,
    escaped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Plain,
    Single,
    Double,
    Comment,
    /// The rest of a line that announces a block scalar.
    BlockHeader,
    /// A block scalar; its lines are further in than this column.
    Block(i64),
}

impl Scanner {
    pub(super) fn new(language: Language) -> Self {
        Self {
            language,
            state: State::Plain,
            flow: 0,
            begins: true,
            column: 0,
            token: 0,
            is_property: false,
            parent: -1,
            previous: '\n',
            escaped: false,
        }
    }

    /// A line begins; what is in it is passed piece by piece.
    pub(super) fn begin_line(&mut self, line: &str) {
        self.column = 0;
        self.previous = '\n';
        match self.state {
            State::Comment => self.state = State::Plain,
            State::BlockHeader => self.state = State::Block(self.parent),
            _ => {}
        }
        if let State::Block(parent) = self.state {
            let indent = line.len() - line.trim_start_matches(' ').len();
            let is_inside =
                line.trim().is_empty() || i64::try_from(indent).is_ok_and(|indent| indent > parent);
            if is_inside {
                return;
            }
            self.state = State::Plain;
        }
        if self.state == State::Plain {
            self.begins = true;
            self.parent = -1;
        }
    }

    /// What stands here in the template.
    pub(super) fn pass(&mut self, text: &str) {
        for c in text.chars() {
            self.step(c);
            self.column += 1;
            self.previous = c;
        }
    }

    /// A value stands here.
    pub(super) fn passed_value(&mut self) {
        if self.begins {
            self.token = self.column;
        }
        self.begins = false;
        self.column += 1;
        self.previous = 'v';
        self.escaped = false;
    }

    /// What surrounds the placeholder that comes now; `rest` follows it.
    pub(super) fn place(&self, rest: &str) -> Place {
        match (self.language, self.state) {
            (Language::Text, _) => Place::Raw,
            (Language::Json, State::Double) => Place::DoubleQuoted,
            (Language::Json, _) => Place::JsonScalar,
            (Language::Yaml, State::Single) => Place::SingleQuoted,
            (Language::Yaml, State::Double) => Place::DoubleQuoted,
            (Language::Yaml, State::Comment | State::BlockHeader) => Place::Comment,
            (Language::Yaml, State::Block(_)) => Place::Raw,
            (Language::Yaml, State::Plain) => {
                Place::Plain { begins: self.begins, ends: rest.trim().is_empty(), flow: self.flow > 0 }
            }
        }
    }

    fn step(&mut self, c: char) {
        match (self.language, self.state) {
            (Language::Text, _) | (_, State::Comment | State::BlockHeader | State::Block(_)) => {}
            (_, State::Double) => match c {
                _ if self.escaped => self.escaped = false,
                '\\' => self.escaped = true,
                '"' => self.state = State::Plain,
                _ => {}
            },
            // The second of two quotes opens the text again.
            (_, State::Single) if c == '\'' => self.state = State::Plain,
            (_, State::Single) => {}
            (Language::Json, State::Plain) if c == '"' => self.state = State::Double,
            (Language::Json, State::Plain) => {}
            (Language::Yaml, State::Plain) => self.step_plain(c),
        }
    }

    fn step_plain(&mut self, c: char) {
        let column = i64::try_from(self.column).unwrap_or(i64::MAX);
        let is_blank = matches!(c, ' ' | '\n' | '\r' | '\t');
        let was_property = is_blank && std::mem::take(&mut self.is_property);
        match c {
            _ if is_blank => match self.previous {
                ':' => {
                    self.parent = i64::try_from(self.token).unwrap_or(i64::MAX);
                    self.begins = true;
                }
                '-' if self.token + 1 == self.column => {
                    self.parent = column - 1;
                    self.begins = true;
                }
                _ => self.begins |= was_property,
            },
            // Behind a key in quotes, as JSON has them, no blank is needed.
            ':' if self.flow > 0 && matches!(self.previous, '"' | '\'') => self.begins = true,
            '#' if matches!(self.previous, ' ' | '\t' | '\n') => self.state = State::Comment,
            '\'' if self.previous == '\'' && !self.begins => self.state = State::Single,
            '\'' if self.begins => self.open(State::Single),
            '"' if self.begins => self.open(State::Double),
            '|' | '>' if self.begins && self.flow == 0 => self.state = State::BlockHeader,
            '[' | '{' if self.begins || self.flow > 0 => {
                self.flow += 1;
                self.begins = true;
            }
            ']' | '}' if self.flow > 0 => {
                self.flow -= 1;
                self.begins = false;
            }
            ',' if self.flow > 0 => self.begins = true,
            _ => {
                if self.begins {
                    self.token = self.column;
                    self.is_property = matches!(c, '!' | '&');
                }
                self.begins = false;
            }
        }
    }

    fn open(&mut self, state: State) {
        self.token = self.column;
        self.begins = false;
        self.state = state;
    }
}
