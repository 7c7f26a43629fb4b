//! Access rules that come and go while the daemon runs: whose they are, when they end, what is kept of them.
//!
//! The file's rules, those of operators and the daemon's own stand in one list, `DesiredState::rules`. Deliberately not
//! here: that list, the kernel's maps (`dataplane`), and when to look (`daemon`).

mod book;
mod object;
mod store;
mod written;

pub use self::{
    book::{Book, Facts, RuleSource},
    object::{Configuration, Extensions, RuleObject, RuleScope},
    store::{Kept, LeftOut, Loaded, RuleStoreError, again, pack, read, unpack, write},
    written::keys,
};
