//! What can go wrong, as text: one fault a line.
//!
//! ```text
//! FUNCTION|*  error 0x30 | delay 500 | hang | flip   [after N] [times N] [late] [until FUNCTION]
//! lose sessions | lose objects | lose login
//! ```

use std::str::FromStr;

use crate::module::NAMES;

/// Functions that `*` does not mean: without them nothing could be begun or ended.
const APART: &[&str] = &["C_Initialize", "C_Finalize", "C_GetInfo"];

/// A line that is not understood.
#[derive(Debug)]
pub struct Malformed(String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "not a fault: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// All that is set at once.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// In the order in which they are tried.
    pub(crate) lasting: Vec<Fault>,
    /// What happens at once, and once.
    pub(crate) losses: Vec<Loss>,
}

/// What is gone from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    Sessions,
    Objects,
    Login,
}

#[derive(Debug)]
pub(crate) struct Fault {
    /// An index of [`NAMES`]; `None` for all.
    function: Option<usize>,
    pub(crate) effect: Effect,
    after: u64,
    times: Option<u64>,
    /// Over when this function is called.
    pub(crate) until: Option<usize>,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It fails; `is_late`: after the real module has done it.
    Error { value: u64, is_late: bool },
    /// It begins so many milliseconds later.
    Delay(u64),
    /// It begins when this is no longer set.
    Hang,
    /// One bit of its output is wrong; of a token's flags: that its user has one try left.
    Flip,
}

impl Fault {
    /// Whether it is about this function.
    pub(crate) fn is_for(&self, function: usize) -> bool {
        match self.function {
            Some(own) => own == function,
            None => !APART.contains(&NAMES[function]),
        }
    }

    /// Whether it happens to this call, which is for its function.
    pub(crate) fn strikes(&mut self) -> bool {
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        match &mut self.times {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

impl FromStr for Faults {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Faults, Malformed> {
        let mut faults = Faults::default();
        for line in text.lines() {
            let malformed = || Malformed(line.to_owned());
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                [] => {}
                ["lose", what] => faults.losses.push(match *what {
                    "sessions" => Loss::Sessions,
                    "objects" => Loss::Objects,
                    "login" => Loss::Login,
                    _ => return Err(malformed()),
                }),
                [function, words @ ..] => {
                    let function = match *function {
                        "*" => None,
                        name => Some(named(name).ok_or_else(malformed)?),
                    };
                    faults
                        .lasting
                        .push(fault(function, words).ok_or_else(malformed)?);
                }
            }
        }
        Ok(faults)
    }
}

/// The index of a function.
pub(crate) fn named(name: &str) -> Option<usize> {
    NAMES.iter().position(|known| *known == name)
}

fn fault(function: Option<usize>, words: &[&str]) -> Option<Fault> {
    let (effect, mut options) = match words {
        ["error", value, options @ ..] => {
            let value = u64::from_str_radix(value.strip_prefix("0x")?, 16).ok()?;
            let is_late = false;
            (Effect::Error { value, is_late }, options)
        }
        ["delay", milliseconds, options @ ..] => {
            (Effect::Delay(milliseconds.parse().ok()?), options)
        }
        ["hang", options @ ..] => (Effect::Hang, options),
        ["flip", options @ ..] => (Effect::Flip, options),
        _ => return None,
    };
    let mut fault = Fault {
        function,
        effect,
        after: 0,
        times: None,
        until: None,
    };
    loop {
        options = match options {
            [] => return Some(fault),
            ["after", count, rest @ ..] => {
                fault.after = count.parse().ok()?;
                rest
            }
            ["times", count, rest @ ..] => {
                fault.times = Some(count.parse().ok()?);
                rest
            }
            ["until", name, rest @ ..] => {
                fault.until = Some(named(name)?);
                rest
            }
            ["late", rest @ ..] => {
                let Effect::Error { is_late, .. } = &mut fault.effect else {
                    return None;
                };
                *is_late = true;
                rest
            }
            _ => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_are_understood_or_refused() {
        for (text, is_right) in [
            ("", true),
            ("C_Sign error 0x30\n* delay 5 times 3\n\nlose login", true),
            (
                "C_Sign error 0xa0 late after 1 times 2 until C_Initialize",
                true,
            ),
            ("C_Sign", false),
            ("C_Sing hang", false),
            ("C_Sign error 30", false),
            ("C_Sign hang late", false),
            ("C_Sign flip until C_Initialise", false),
            ("lose everything", false),
        ] {
            assert_eq!(text.parse::<Faults>().is_ok(), is_right, "{text}");
        }
    }

    #[test]
    fn a_fault_strikes_after_some_calls_and_so_many_times() {
        let faults: Faults = "* flip after 2 times 1".parse().unwrap();
        let mut fault = faults.lasting.into_iter().next().unwrap();
        assert!(fault.is_for(named("C_Sign").unwrap()));
        assert!(!fault.is_for(named("C_Initialize").unwrap()));
        let struck: Vec<bool> = (0..4).map(|_| fault.strikes()).collect();
        assert_eq!(struck, [false, false, true, false]);
    }
}
