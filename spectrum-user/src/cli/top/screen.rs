//! The terminal, while it is ours.

use std::{io::Write as _, mem::MaybeUninit};

/// A screen of its own, without a cursor. Whatever ends the program in an orderly way, or by a panic, gives the terminal
/// back as it was; its modes are never changed, so that even a killed program leaves one that works.
pub(super) struct Screen {
    bold: bool,
}

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_REST: &str = "\x1b[J";
/// Where the terminal does not say (ECMA-48's usual one).
const USUAL_SIZE: (usize, usize) = (24, 80);

impl Screen {
    pub(super) fn enter() -> Self {
        write(ENTER);
        Self { bold: std::env::var_os("NO_COLOR").is_none() }
    }

    /// Shows as many lines as fit, and of each as much as fits.
    pub(super) fn draw(&mut self, lines: &[String]) {
        let (rows, columns) = size().unwrap_or(USUAL_SIZE);
        let mut text = HOME.to_owned();
        for (number, line) in lines.iter().take(rows).enumerate() {
            if number > 0 {
                text += "\r\n";
            }
            let cut: String = line.chars().take(columns).collect();
            let heading = number == 0 || is_heading(&cut);
            let (begin, end) = if self.bold && heading { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
            text.extend([begin, &cut, end, CLEAR_LINE]);
        }
        write(&(text + CLEAR_REST));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        write(LEAVE);
    }
}

/// The first word of a heading is in capitals.
fn is_heading(line: &str) -> bool {
    let word = line.trim_start().split(' ').next().unwrap_or_default();
    word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase())
}

/// A terminal that is gone is no error of ours.
fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Rows and columns.
fn size() -> Option<(usize, usize)> {
    let mut size = MaybeUninit::<libc::winsize>::zeroed();
    // SAFETY: the request writes one `winsize` (ioctl_tty(2)), for which there is room.
    let answer = unsafe { libc::ioctl(libc::STDOUT_FILENO, libc::TIOCGWINSZ, size.as_mut_ptr()) };
    // SAFETY: zeros are a valid `winsize`, and the kernel writes valid ones.
    let size = unsafe { size.assume_init() };
    (answer == 0 && size.ws_row > 0 && size.ws_col > 0).then(|| (size.ws_row.into(), size.ws_col.into()))
}
