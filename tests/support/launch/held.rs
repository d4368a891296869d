//! A launcher that a test holds by its standard input: each line names a process that the test has ended and wants
//! back; the end of the input, which the kernel sees to however the test ends, ends everything.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;

use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;

use super::stack::Stack;

/// Starts what is asked for until the input, which is a pipe, ends. Each request is answered on standard output by one
/// line: `started` or why not.
///
/// # Errors
/// When standard input is no pipe.
pub async fn obey(stack: &mut Stack) -> anyhow::Result<()> {
    let input = io::stdin().as_fd().try_clone_to_owned()?;
    let mut lines = BufReader::new(pipe::Receiver::from_owned_fd(input)?).lines();
    while let Some(name) = lines.next_line().await? {
        let answer = match stack.start_again(&name).await {
            Ok(()) => stack.tell(json!({})).map(|_| "started".to_owned())?,
            Err(error) => format!("{error:#}").replace('\n', " "),
        };
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}
